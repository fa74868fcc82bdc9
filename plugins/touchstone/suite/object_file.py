"""Reads what the assembler has made of many bodies: numbered sections of an object file."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection
from elftools.elf.sections import SymbolTableSection

_SYMBOL = struct.Struct("<IBBHQQ")  # Elf64_Sym: name, info, other, section, value, size


@dataclass(frozen=True)
class Sections:
    """The sections with a number, by it."""

    data: Mapping[int, bytes]
    symbols: Mapping[int, Mapping[str, int]]
    """Those in a section, as offsets from its first byte."""
    relocations: Mapping[int, tuple[str, int]]
    """The first one of a section, if it has any: its symbol, and its offset."""


def read_sections(file: Path, prefix: str) -> Sections:
    """The sections whose names are ``prefix`` and a number. The file is one that GNU as has just written."""
    data: dict[int, bytes] = {}
    symbols: dict[int, dict[str, int]] = {}
    relocations: dict[int, tuple[str, int]] = {}
    with file.open("rb") as stream:
        elf = ELFFile(stream)
        headers: dict[int, int] = {}
        table = None
        for number, section in enumerate(elf.iter_sections()):
            name = section.name
            if name.startswith(prefix):
                index = int(name[len(prefix) :])
                headers[number] = index
                data[index] = section.data()
            elif isinstance(section, SymbolTableSection):
                table = section  # the only one
            elif isinstance(section, RelocationSection) and section.num_relocations():
                entry = section.get_relocation(0)
                linked = elf.get_section(section["sh_link"])
                assert isinstance(linked, SymbolTableSection)
                symbol = linked.get_symbol(entry["r_info_sym"]).name
                relocations[int(name.rpartition(prefix)[2])] = (symbol, entry["r_offset"])
        assert table is not None
        names = table.stringtable.data()
        for offset, _, _, header, value, _ in _SYMBOL.iter_unpack(table.data()):
            if header in headers:
                name = names[offset : names.index(b"\0", offset)].decode()
                symbols.setdefault(headers[header], {})[name] = value
    return Sections(data, symbols, relocations)
