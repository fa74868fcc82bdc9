"""Where in a module of the kernel an address is: by the module's file, and where the kernel has put it."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path

Sections = Mapping[str, Mapping[str, int]]
"""Module to its sections of code to their addresses."""

# The kernel shows them to root only, and whole: who reads byte by byte, as a shell does, gets EINVAL behind
# the first one (kernel/module/sysfs.c). Names begin with a dot, which `*` leaves out.
_SECTIONS = "/sys/module/{name}/sections/.*text*"
_SECTION = re.compile(r"/([^/\s]+)/sections/([^/:\s]+):0x([0-9a-f]{1,16})$", re.MULTILINE)


def sections_script(modules: Sequence[str]) -> str:
    """A shell script that prints where the sections of modules are, and does not fail if they are nowhere."""
    files = " ".join(_SECTIONS.format(name=name) for name in modules)
    return f"grep -H . {files} 2>/dev/null; :" if modules else ":"


def read_sections(said: str) -> Sections:
    """What the script has printed, among other lines."""
    found: dict[str, dict[str, int]] = {}
    for module, section, at in _SECTION.findall(said):
        found.setdefault(module, {})[section] = int(at, 16)
    return found


def module_name(file: Path) -> str:
    """The kernel's name for a module: with _ for -, as make builds it."""
    return file.stem.replace("-", "_")


@dataclass(frozen=True)
class _Function:
    address: int
    end: int
    """Of its section."""
    name: str


class ModuleCode:
    """The functions of one module. The file is read when one is asked for; OSError or ELFError then."""

    def __init__(self, file: Path, sections: Mapping[str, int]) -> None:
        self.file = file
        self._sections = sections

    @cached_property
    def _functions(self) -> list[_Function]:
        from elftools.elf.elffile import ELFFile  # noqa: PLC0415 - as in touchstone.machine.symbols
        from elftools.elf.sections import SymbolTableSection  # noqa: PLC0415

        elf = ELFFile(BytesIO(self.file.read_bytes()))
        begin = {
            number: (self._sections[one.name], one["sh_size"])
            for number, one in enumerate(elf.iter_sections())
            if one.name in self._sections
        }
        found = [
            _Function(at + symbol["st_value"], at + size, symbol.name)
            for table in elf.iter_sections()
            if isinstance(table, SymbolTableSection)
            for symbol in table.iter_symbols()
            if symbol.name and symbol["st_info"]["type"] in ("STT_FUNC", "STT_NOTYPE")
            for at, size in [begin.get(symbol["st_shndx"], (0, 0))]
            if size
        ]
        return sorted(found, key=lambda one: one.address)

    def find(self, address: int) -> tuple[str, int] | None:
        """The function that an address is in, and how far; None outside of the module's code."""
        index = bisect_right(self._functions, address, key=lambda one: one.address) - 1
        if index < 0 or address >= self._functions[index].end:
            return None
        function = self._functions[index]
        return function.name, address - function.address


def located(
    backtraces: Mapping[int, tuple[str, ...]], modules: Sequence[ModuleCode]
) -> tuple[dict[int, tuple[str, ...]], str]:
    """Backtraces with the places of their innermost frames, and the functions that those are in.

    A loop is one function, at whichever of its instructions it was stopped.
    """
    frames, found = dict(backtraces), set()
    for cpu, its in backtraces.items():
        if not its:
            continue
        address = int(its[0].split(maxsplit=1)[0], 16)
        for module in modules:
            if (place := module.find(address)) is not None:
                name, offset = place
                frames[cpu] = (f"{address:#x} {name}+{offset:#x} ({module.file.name})", *its[1:])
                found.add(f"in {name} ({module.file.name})")
    return frames, "; ".join(sorted(found))
