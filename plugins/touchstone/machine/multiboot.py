"""Multiboot programs (Multiboot Specification 0.6.96), as a boot loader reads them: ELF files of 32 bits."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

MAX_BYTES = 16 << 20
"""Of a program's file."""
SEARCHED = 8192
"""Bytes at the beginning of a file in which the header must lie (3.1)."""
_MAGIC = 0x1BADB002
_UNKNOWN = 0xFFFF & ~0b111
"""Flags that a loader must refuse if it does not know them (3.1.2): pages, memory and video mode we know."""
_ELF = struct.Struct("<16xHHIIIIIHHHHHH")
_PROGRAM_HEADER = struct.Struct("<IIIIIIII")
_LOAD = 1


class NotMultiboot(ValueError):
    """Why a file is not a program that can be loaded."""


@dataclass(frozen=True)
class Segment:
    """Memory that is filled from the file, and with zeros behind that."""

    address: int
    size: int
    data: bytes


@dataclass(frozen=True)
class Program:
    """A Multiboot program."""

    entry: int
    segments: tuple[Segment, ...]


def read_elf(path: Path) -> Program:
    """The segments of an ELF file of 32 bits. NotMultiboot if it is none, OSError if it cannot be read."""
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if data[:4] != b"\x7fELF":
        raise NotMultiboot("it is no ELF file")
    if len(data) > MAX_BYTES:
        raise NotMultiboot(f"it has more than {MAX_BYTES >> 20} MiB")
    if data[4:6] != b"\x01\x01":
        raise NotMultiboot(
            "it is no ELF file of 32 bits, which Multiboot asks for (objcopy -O elf32-i386 makes one)"
        )
    try:
        _, _, _, entry, headers, _, _, _, size, count, *_ = _ELF.unpack_from(data)
        segments = []
        for index in range(count):
            kind, offset, _, address, file_size, memory_size, *_ = _PROGRAM_HEADER.unpack_from(
                data, headers + index * size
            )
            if kind != _LOAD or not memory_size:
                continue
            if offset + file_size > len(data) or file_size > memory_size:
                raise NotMultiboot(f"its segment {index} is not in the file")
            segments.append(Segment(address, memory_size, data[offset : offset + file_size]))
    except struct.error:
        raise NotMultiboot("its headers are not in the file") from None
    if not segments:
        raise NotMultiboot("it has nothing to load")
    return Program(entry, tuple(segments))


def read_program(path: Path) -> Program:
    """A Multiboot program. NotMultiboot if it is none, OSError if it cannot be read."""
    program = read_elf(path)
    flags = header_flags(path)
    if flags is None:
        raise NotMultiboot(f"it has no Multiboot header in its first {SEARCHED} bytes")
    if flags & _UNKNOWN:
        raise NotMultiboot(f"its Multiboot header demands what we cannot do (flags {flags:#x})")
    return program


def is_multiboot(path: Path) -> bool:
    """Whether a file looks like a Multiboot program. OSError if it cannot be read."""
    with path.open("rb") as file:
        elf = file.read(4) == b"\x7fELF"
    return elf and header_flags(path) is not None


def header_flags(path: Path) -> int | None:
    """The flags of a file's Multiboot header; None: it has none."""
    with path.open("rb") as file:
        data = file.read(SEARCHED)
    for at in range(0, len(data) - 11, 4):
        magic, flags, checksum = struct.unpack_from("<III", data, at)
        if magic == _MAGIC and (magic + flags + checksum) & 0xFFFFFFFF == 0:
            return int(flags)
    return None
