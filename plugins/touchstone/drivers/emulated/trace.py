"""A subject's last exits, read from its trace rings in the target's memory when its agent cannot be asked.

The layout is that of ``struct subject_trace`` in ``targets/bare/subject.h``.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from touchstone.machine.symbols import MemoryReader, Symbols

DESCRIPTION = "subject_trace"
"""Symbol of the variable that tells where the rings are and how they are laid out."""
SHOWN = 8
"""Exits per CPU that a report has room for."""
_DESCRIPTION = struct.Struct("<7Q")
_ENTRY = struct.Struct("<Q3I")
_MOST_CPUS = 1024
_MOST_ENTRIES = 4096


@dataclass(frozen=True)
class Exit:
    """One exit, as the subject has noted it."""

    cpu: int
    number: int
    """From 1, of this CPU."""
    code: int
    """The architecture's."""
    rip: int
    """Of the guest."""
    eax: int
    ecx: int
    place: str
    """Where that is in the image; else the address."""

    def __str__(self) -> str:
        values = f"eax={self.eax:08x} ecx={self.ecx:08x}"
        return f"CPU {self.cpu} #{self.number}: exit {self.code:#x} at {self.place} {values}"


@dataclass(frozen=True)
class _Rings:
    version: int
    cpus: int
    cpu_count: int
    exits_offset: int
    ring_offset: int
    entries: int
    entry_size: int


def read_exits(memory: MemoryReader, symbols: Symbols) -> list[Exit]:
    """The last exits of every CPU, newest last; none without trace rings, or with no subject loaded."""
    description = symbols.find(DESCRIPTION)
    if description is None:
        return []
    rings = _Rings(*_DESCRIPTION.unpack(memory(description.address, _DESCRIPTION.size)))
    count = _number(memory, rings.cpu_count, 4)
    if rings.version != 1 or not 0 < count <= _MOST_CPUS or not 0 < rings.entries <= _MOST_ENTRIES:
        return []
    pointers = struct.unpack(f"<{count}Q", memory(_number(memory, rings.cpus, 8), 8 * count))
    found: list[Exit] = []
    for cpu, pointer in enumerate(pointers):
        found += _read_ring(memory, symbols, rings, cpu, pointer)
    return found


def _number(memory: MemoryReader, address: int, size: int) -> int:
    return int.from_bytes(memory(address, size), "little")


def _read_ring(memory: MemoryReader, symbols: Symbols, rings: _Rings, cpu: int, pointer: int) -> list[Exit]:
    exits = _number(memory, pointer + rings.exits_offset, 8)
    ring = memory(pointer + rings.ring_offset, rings.entries * rings.entry_size)
    found = []
    for index in range(max(0, exits - min(SHOWN, rings.entries)) + 1, exits + 1):
        rip, code, eax, ecx = _ENTRY.unpack_from(ring, index % rings.entries * rings.entry_size)
        where = symbols.describe(rip) if symbols.is_code(rip) else f"{rip:#x}"
        found.append(Exit(cpu, index, code, rip, eax, ecx, where))
    return found
