"""Names and source lines for addresses of an image, from its ELF symbols and DWARF lines."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elftools.elf.elffile import ELFFile

MemoryReader = Callable[[int, int], bytes]
"""(address, length in bytes) -> the target's memory; OSError or TargetError where it cannot be read."""


@dataclass(frozen=True)
class Symbol:
    """A function or a variable."""

    name: str
    address: int
    size: int
    """In bytes; 0 if the assembler was not told."""


class Symbols:
    """Symbols of one ELF file, read when they are first asked for. A missing or broken file has none."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.problem = "" if path else "no file with symbols was named"
        """Why there are none, once somebody has asked."""

    @cached_property
    def _elf(self) -> ELFFile | None:
        if self.path is None:
            return None
        # Imported late: it takes 70 ms, and a run without a crash does not need it.
        from elftools.common.exceptions import ELFError  # noqa: PLC0415
        from elftools.elf.elffile import ELFFile  # noqa: PLC0415

        try:
            return ELFFile(BytesIO(self.path.read_bytes()))  # whole: a new build must not change it meanwhile
        except (OSError, ELFError) as error:
            self.problem = f"{self.path}: {error}"
            return None

    @cached_property
    def _by_name(self) -> dict[str, Symbol]:
        if self._elf is None:
            return {}
        from elftools.elf.sections import SymbolTableSection  # noqa: PLC0415

        found: dict[str, Symbol] = {}
        for section in self._elf.iter_sections():
            if isinstance(section, SymbolTableSection):
                for symbol in section.iter_symbols():
                    named = symbol.name and symbol["st_shndx"] not in ("SHN_UNDEF", "SHN_ABS")
                    if named and symbol["st_info"]["type"] in ("STT_FUNC", "STT_OBJECT", "STT_NOTYPE"):
                        found[symbol.name] = Symbol(symbol.name, symbol["st_value"], symbol["st_size"])
        return found

    @cached_property
    def _text(self) -> list[tuple[int, int, bytes]]:
        """Executable sections: address, end, content."""
        if self._elf is None:
            return []
        return [
            (section["sh_addr"], section["sh_addr"] + section["sh_size"], section.data())
            for section in self._elf.iter_sections()
            if section["sh_flags"] & 4 and section["sh_type"] == "SHT_PROGBITS"  # SHF_EXECINSTR
        ]

    @cached_property
    def _code_symbols(self) -> tuple[list[int], list[Symbol]]:
        named = (symbol for symbol in self._by_name.values() if not symbol.name.startswith("."))
        symbols = [symbol for symbol in named if self.is_code(symbol.address)]
        symbols.sort(key=lambda s: (s.address, s.size > 0, s.name))
        return [s.address for s in symbols], symbols

    @cached_property
    def _lines(self) -> tuple[list[int], list[str]]:
        """Addresses, ascending, and the line that begins at each (empty: a gap)."""
        if self._elf is None or not self._elf.has_dwarf_info():
            return [], []
        from elftools.common.exceptions import ELFError  # noqa: PLC0415

        rows: dict[int, str] = {}
        try:
            dwarf = self._elf.get_dwarf_info()
            for unit in dwarf.iter_CUs():
                program = dwarf.line_program_for_CU(unit)
                if program is None:
                    continue
                names = _file_names(program.header)
                for entry in program.get_entries():
                    state = entry.state
                    if state is None:
                        continue
                    if state.end_sequence:
                        rows.setdefault(state.address, "")
                    else:
                        rows[state.address] = f"{names.get(state.file, '?')}:{state.line}"
        except (ELFError, KeyError, ValueError) as error:
            self.problem = f"{self.path}: line numbers: {error}"
        addresses = sorted(rows)
        return addresses, [rows[address] for address in addresses]

    def find(self, name: str) -> Symbol | None:
        """The symbol of that name."""
        return self._by_name.get(name)

    def is_code(self, address: int) -> bool:
        """Whether an address is in one of the image's executable sections."""
        return any(begin <= address < end for begin, end, _ in self._text)

    def is_subjects(self, address: int) -> bool:
        """Whether an address is in the code of a subject that is linked into the image (bare/link.ld)."""
        begin, end = self.find("subject_text_start"), self.find("subject_text_end")
        return begin is not None and end is not None and begin.address <= address < end.address

    def code(self, address: int, length: int) -> bytes:
        """Bytes of the image's code, as the file has them; shorter at the border of its section."""
        for begin, end, content in self._text:
            if begin <= address < end:
                return bytes(content[address - begin : address - begin + length])
        return b""

    def function(self, address: int) -> Symbol | None:
        """The function that an address is in."""
        if not self.is_code(address):
            return None
        addresses, symbols = self._code_symbols
        index = bisect_right(addresses, address) - 1
        return symbols[index] if index >= 0 else None

    def line(self, address: int) -> str:
        """Source line of an address (``svm/exit.c:88``), or nothing."""
        if not self.is_code(address):
            return ""
        addresses, lines = self._lines
        index = bisect_right(addresses, address) - 1
        return lines[index] if index >= 0 else ""

    def describe(self, address: int, *, returns: bool = False) -> str:
        """``svm_exit+0x1c (svm/exit.c:88)``, or nothing for an address that is not in the image's code.

        ``returns``: it is a return address, so name and line are those of the call before it.
        """
        at = address - 1 if returns else address
        function = self.function(at)
        if function is None:
            return ""
        line = self.line(at)
        return f"{function.name}+{address - function.address:#x}" + (f" ({line})" if line else "")

    def read(self, memory: MemoryReader, name: str) -> bytes | None:
        """The bytes of a variable in a target's memory; None if the image has no such variable."""
        symbol = self.find(name)
        return None if symbol is None else memory(symbol.address, symbol.size)

    def read_integer(self, memory: MemoryReader, name: str) -> int | None:
        """A variable's value as an unsigned little-endian integer of its size."""
        data = self.read(memory, name)
        return None if data is None else int.from_bytes(data, "little")


def _file_names(header: Any) -> dict[int, str]:
    """File numbers of a line program to short paths: a file and the directory it is in."""
    modern = header["version"] >= 5
    directories = [_text(name) for name in header["include_directory"]]
    names = {}
    for index, entry in enumerate(header["file_entry"], start=0 if modern else 1):
        path = PurePosixPath(_text(entry.name))
        directory = entry.dir_index if modern else entry.dir_index - 1
        if len(path.parts) == 1 and 0 <= directory < len(directories):
            path = PurePosixPath(directories[directory]) / path
        names[index] = "/".join(part for part in path.parts[-2:] if part not in ("/", ".", ".."))
    return names


def _text(value: Any) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
