"""The names of a kernel's functions, from the table that it keeps of them for its own reports (kallsyms).

A distribution's kernel has no symbols, and Debian's package none beside it. The table is part of its memory;
scripts/kallsyms.c of the kernel's sources writes it: number of symbols, names, markers, token table, token
index, and before or behind these the offsets and their base. Nothing says where, so each part is looked for,
and has to fit the others.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from functools import cached_property
from io import BytesIO
from itertools import accumulate, pairwise

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from touchstone.drivers.linux_image.vmlinux import decompress
from touchstone.machine.driver import InfrastructureError
from touchstone.machine.symbols import Symbol, Symbols

_TOKENS, _DIGITS = 256, b"".join(bytes((digit, 0)) for digit in b"0123456789")
_FIRST_DIGIT = ord("0")
_PER_MARKER = 256
_ALIGNED = 8
_KERNEL = 0xFFFF_FFFF_8000_0000
"""Where the kernel's own code begins (Documentation/arch/x86/x86_64/mm.rst)."""
_LAST_NAMES = _PER_MARKER * 64
"""Bytes that the names behind one marker take at most."""
_FEWEST, _MOST = 10_000, 600_000
"""Symbols of a kernel."""


def read_kallsyms(memory: bytes) -> list[tuple[int, str]]:
    """Address and name of each function, ascending; empty if no table is found.

    ``memory``: of a kernel, or its ELF file.
    """
    at = memory.find(_DIGITS)
    while at >= 0:
        found = _read_at(memory, at)
        if found:
            return found
        at = memory.find(_DIGITS, at + 1)
    return []


def _read_at(memory: bytes, digits: int) -> list[tuple[int, str]]:
    """The table whose tokens for the ten digits are there; empty if they are something else."""
    table = digits
    for _ in range(_FIRST_DIGIT):
        table = memory.rfind(b"\0", 0, table - 1) + 1
    tokens = memory[table : table + _TOKENS * 16].split(b"\0")[:_TOKENS]
    starts = [0, *accumulate(len(token) + 1 for token in tokens)]
    if len(tokens) < _TOKENS or starts[-1] > 0xFFFF:
        return []
    expected = struct.pack(f"<{_TOKENS}H", *starts[:-1])
    index = memory.find(expected, table + starts[-1], table + starts[-1] + _ALIGNED + len(expected))
    if index < 0:
        return []
    for markers_at, markers in _markers(memory, table):
        for names_at in range(
            _down(markers_at - markers[-1]), max(0, markers_at - markers[-1] - _LAST_NAMES), -_ALIGNED
        ):
            (count,) = struct.unpack_from("<I", memory, names_at - _ALIGNED)
            if (count - 1) // _PER_MARKER != len(markers) - 1:
                continue
            names = list(_names(memory[names_at:markers_at], tokens, count, markers))
            if len(names) == count:
                behind, before = _up(index + len(expected)), names_at - 2 * _ALIGNED - _up(4 * count)
                addresses = _addresses_at(memory, behind, count) or _addresses_at(memory, before, count)
                return sorted(
                    (address, name[1:].decode("ascii", "replace"))
                    for address, name in zip(addresses, names, strict=False)
                    if name[:1] in b"tTwW" and address >= _KERNEL
                )
    return []


def _markers(memory: bytes, table: int) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Where markers may begin in front of the token table, and what they are: ascending, from 0 on.

    Between the two, some kernels have three bytes for each symbol, its place in alphabetical order.
    """
    for per_symbol in (0, 3):
        for count in range(_FEWEST, _MOST, _PER_MARKER if per_symbol == 0 else 1):
            number = -(-count // _PER_MARKER)
            at = table - _up(per_symbol * count) - _up(4 * number)
            if at < 0:
                break
            first, second = struct.unpack_from("<2I", memory, at)
            if first or not _PER_MARKER <= second < _LAST_NAMES:
                continue
            markers = struct.unpack_from(f"<{number}I", memory, at)
            if all(one < other for one, other in pairwise(markers)):
                yield at, markers


def _names(names: bytes, tokens: list[bytes], count: int, markers: Sequence[int]) -> Iterator[bytes]:
    """Each name, its type in front; they end early where they do not fit the markers."""
    at = 0
    for number in range(count):
        if at + 2 > len(names) or (number % _PER_MARKER == 0 and markers[number // _PER_MARKER] != at):
            return
        length = names[at]
        at += 1
        if length & 0x80:
            length = length & 0x7F | names[at] << 7
            at += 1
        yield b"".join(tokens[token] for token in names[at : at + length])
        at += length


def _addresses_at(memory: bytes, at: int, count: int) -> list[int]:
    """The addresses, if offsets are there with their base behind them; empty otherwise."""
    if at < 0 or _up(at + 4 * count) + 8 > len(memory):
        return []
    offsets = struct.unpack_from(f"<{count}i", memory, at)
    (base,) = struct.unpack_from("<Q", memory, _up(at + 4 * count))
    if base < _KERNEL:
        return []
    # Positive ones are absolute, of per-CPU variables.
    return [base - 1 - offset if offset < 0 else offset for offset in offsets]


def _up(offset: int) -> int:
    return -(-offset // _ALIGNED) * _ALIGNED


def _down(offset: int) -> int:
    return offset // _ALIGNED * _ALIGNED


class KernelSymbols(Symbols):
    """Of a stock kernel that runs where it was linked to: its code, and the names that it has for itself."""

    @cached_property
    def _elf(self) -> ELFFile | None:
        return ELFFile(BytesIO(self._memory)) if self._memory else None

    @cached_property
    def _memory(self) -> bytes:
        """The kernel's ELF file; empty if there is none."""
        try:
            assert self.path is not None
            memory = decompress(self.path.read_bytes())
            ELFFile(BytesIO(memory))
        except (OSError, ValueError, ELFError, InfrastructureError) as error:
            self.problem = f"{self.path}: {error}"
            return b""
        return memory

    @cached_property
    def _code_symbols(self) -> tuple[list[int], list[Symbol]]:
        found = [Symbol(name, address, 0) for address, name in read_kallsyms(self._memory)]
        return [symbol.address for symbol in found], found
