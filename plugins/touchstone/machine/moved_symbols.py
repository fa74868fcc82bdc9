"""Symbols of several images in one machine, and of one that lies elsewhere than it was linked to."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from touchstone.machine.symbols import Symbol, Symbols


class MovedSymbols(Symbols):
    """Of a subject's image, ``by`` bytes above where it was linked to."""

    def __init__(self, path: Path, by: int) -> None:
        super().__init__(path)
        self._by = by

    @cached_property
    def _by_name(self) -> dict[str, Symbol]:
        return {
            name: Symbol(name, one.address + self._by, one.size) for name, one in super()._by_name.items()
        }

    @cached_property
    def _text(self) -> list[tuple[int, int, bytes]]:
        return [(begin + self._by, end + self._by, content) for begin, end, content in super()._text]

    @cached_property
    def _lines(self) -> tuple[list[int], list[str]]:
        addresses, lines = super()._lines
        return [address + self._by for address in addresses], lines

    def is_subjects(self, address: int) -> bool:
        """See Symbols: all of it is."""
        return self.is_code(address)


class SeveralSymbols(Symbols):
    """Of images whose code is at different addresses. A name is that of the first one that has it."""

    def __init__(self, images: Sequence[Symbols]) -> None:
        """Of one image at least."""
        super().__init__(images[0].path)
        self._images = images
        self.problem = ""

    def _of(self, address: int) -> Symbols:
        return next((one for one in self._images if one.is_code(address)), self._images[0])

    def find(self, name: str) -> Symbol | None:
        """See Symbols."""
        return next((found for one in self._images if (found := one.find(name)) is not None), None)

    def is_code(self, address: int) -> bool:
        """See Symbols."""
        return any(one.is_code(address) for one in self._images)

    def is_subjects(self, address: int) -> bool:
        """See Symbols."""
        return any(one.is_subjects(address) for one in self._images)

    def code(self, address: int, length: int) -> bytes:
        """See Symbols."""
        return self._of(address).code(address, length)

    def function(self, address: int) -> Symbol | None:
        """See Symbols."""
        return self._of(address).function(address)

    def line(self, address: int) -> str:
        """See Symbols."""
        return self._of(address).line(address)
