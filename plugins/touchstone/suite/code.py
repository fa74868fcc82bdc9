"""What the assembler makes of a body."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from touchstone.machine.probe import CodeBits

Text = tuple[CodeBits, tuple[str, ...]]
"""What decides the bytes of a body: the size of its code, and its lines."""


@dataclass(frozen=True)
class Code:
    """A body as bytes."""

    data: bytes
    labels: Mapping[str, int]
    """The body's own labels, as offsets from its first byte."""
    lines: tuple[int, ...]
    """Offset of the first byte of every line of the body."""
    code_bits: CodeBits = 64
    """See ``Body.code_bits``."""

    def line_of(self, offset: int) -> int | None:
        """Index of the body's line that the byte at ``offset`` comes from; None outside of the body."""
        if not 0 <= offset < len(self.data):
            return None
        return max(index for index, start in enumerate(self.lines) if start <= offset)
