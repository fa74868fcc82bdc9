"""A subject's last exits, read from its trace ring in the target's memory when nobody can be asked."""

from __future__ import annotations

from touchstone.machine.symbols import MemoryReader, Symbols

DESCRIPTION = "veneer_trace_description"
"""Symbol of the variable that tells where the rings are and how they are laid out."""


def read_exits(memory: MemoryReader, symbols: Symbols) -> list[str]:
    """The last exits of every CPU, newest last; none if the image has no trace ring."""
    if symbols.find(DESCRIPTION) is None:
        return []
    return []
