"""An autopsy while it is being made: registers, backtraces, last exits."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

from touchstone.drivers.emulated.backtrace import backtrace, parse_registers
from touchstone.drivers.emulated.emulator import Emulator
from touchstone.drivers.emulated.trace import Exit, read_exits
from touchstone.machine.symbols import Symbols


@dataclass
class Evidence:
    """What was found so far."""

    registers: dict[int, str] = field(default_factory=dict)
    frames: dict[int, tuple[str, ...]] = field(default_factory=dict)
    exits: list[Exit] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    cause: str = ""
    """See Autopsy."""

    @contextlib.contextmanager
    def gathering(self) -> Iterator[None]:
        """An error ends the block with a note: failing to gather evidence must not change the verdict."""
        try:
            yield
        except Exception as error:
            self.notes.append(f"the autopsy broke off: {type(error).__name__}: {error}")

    def examine(self, emulator: Emulator, symbols: Symbols) -> None:
        """Stop the machine, if its emulator still runs, and look into it."""
        if emulator.ended:
            self._examine_remains(emulator, symbols)
            return
        for cpu, text in emulator.registers():
            self.registers[cpu] = text
            memory = partial(emulator.read_memory, cpu=cpu)
            self.frames[cpu] = backtrace(parse_registers(text), memory, symbols)
        self.exits += read_exits(emulator.read_memory, symbols)

    def interrupted(
        self, cpu: int, registers: Mapping[str, int], emulator: Emulator, symbols: Symbols
    ) -> None:
        """A CPU's backtrace begins where an exception was raised, and not where the OS halted it then."""
        memory = _no_memory if emulator.ended else partial(emulator.read_memory, cpu=cpu)
        self.frames[cpu] = backtrace(registers, memory, symbols)

    def _examine_remains(self, emulator: Emulator, symbols: Symbols) -> None:
        self.registers.update(emulator.last_registers())
        missing = "no callers, no exits" if self.registers else "no registers, no backtrace"
        self.notes.append(f"{emulator.title} is gone, and the machine's memory with it: {missing}")
        for cpu, text in self.registers.items():
            self.frames[cpu] = backtrace(parse_registers(text), _no_memory, symbols)


def _no_memory(address: int, length: int) -> bytes:
    raise OSError(f"{length} bytes at {address:#x}: the machine's memory is gone")
