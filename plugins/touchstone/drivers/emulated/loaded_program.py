"""Where a firmware has put a UEFI program: its headers are in front of it in memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from touchstone.machine.driver import TargetError
from touchstone.machine.symbols import MemoryReader

PAGE = 4096
# The PE format: the headers of MS-DOS, in which a word says where the others are; of these the firmware
# changes nothing in front of the optional header.
_DOS_HEADER = 0x40
_NEW_HEADER = 0x3C
_COFF_HEADER = 24
LARGEST = 16 << 20
"""Bytes of a program behind whose end nobody looks for its beginning."""


def find_program(file: Path, addresses: Iterable[int], memories: Sequence[MemoryReader]) -> int | None:
    """The address at which the program of a file begins, one of whose ``addresses`` is in it; None: nowhere.

    ``memories``: as CPUs see it, of which one may be in page tables that lack the headers. OSError for the
    file.
    """
    content = file.read_bytes()
    at = int.from_bytes(content[_NEW_HEADER : _NEW_HEADER + 4], "little")
    parts = {0: content[:_DOS_HEADER], at: content[at : at + _COFF_HEADER]}
    if content[:2] != b"MZ" or content[at : at + 4] != b"PE\0\0" or len(content) > LARGEST:
        return None
    pages = dict.fromkeys(
        page
        for address in addresses
        for page in range(address & -PAGE, max(0, address - len(content) - PAGE), -PAGE)
    )
    for memory in memories:
        for page in pages:
            if all(_is_there(memory, page + offset, part) for offset, part in parts.items()):
                return page
    return None


def _is_there(memory: MemoryReader, address: int, content: bytes) -> bool:
    try:
        return memory(address, len(content)) == content
    except (OSError, TargetError):
        return False
