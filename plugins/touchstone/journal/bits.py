"""In which bits two values of a register differ, as differences tell them."""

from __future__ import annotations

import re
from collections.abc import Sequence

MOST_RANGES = 4
"""Ranges of bits that are named one by one."""
_REGISTER = re.compile(r"(\w+)(?:\[(\d+)(?::(\d+))?\])?")
_HEX = re.compile(r"0x[0-9a-f]+")


def differing_bits(what: str, expected: str, measured: str) -> list[int]:
    """The bits of a register in which two values differ, the lowest first; none where they are no numbers.

    ``what``: ``rbx``, or a part of it: ``rbx[63:32]``.
    """
    place, wanted, found = _REGISTER.fullmatch(what), _HEX.match(expected), _HEX.match(measured)
    if place is None or wanted is None or found is None:
        return []
    differ = (int(wanted[0], 16) ^ int(found[0], 16)) << int(place[3] or place[2] or 0)
    return [bit for bit in range(differ.bit_length()) if differ >> bit & 1]


def as_ranges(bits: Sequence[int]) -> str:
    """Bits in words: ``5``, ``63:32``, ``31:28, 5``; ``of 63:32`` where they are all over that part."""
    ranges: list[list[int]] = []
    for bit in reversed(bits):
        if ranges and ranges[-1][-1] == bit + 1:
            ranges[-1].append(bit)
        else:
            ranges.append([bit])
    if len(ranges) > MOST_RANGES:
        low = 32 if bits[0] >= 32 else 0
        return f"of {63 if bits[-1] >= 32 else 31}:{low}"
    return ", ".join(f"{one[0]}:{one[-1]}" if len(one) > 1 else str(one[0]) for one in ranges)
