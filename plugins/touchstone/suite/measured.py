"""Where in a result a named register, bit-field or piece of memory is."""

from __future__ import annotations

from touchstone.machine.probe import ProbeResult
from touchstone.suite.model import FieldExpectation

MASK64 = 2**64 - 1
RF = 1 << 16
MSR = "msr "
"""Begins the name of a field's register that is an MSR: ``msr 0x1d9``."""


def register(result: ProbeResult, name: str) -> int | None:
    """Value of a register at the end; None if it was not measured.

    CR2 is after #PF only, DR6 after #DB, and an MSR if it could be read.
    """
    value = result.registers.get(name)
    if value is not None:
        return value
    if name == "rflags":
        return result.rflags
    if name == "rip":
        return result.rip
    if name == "cr2":
        return result.cr2
    if name == "dr7":
        return result.dr7
    if name.startswith(MSR):
        return result.msrs.get(int(name.removeprefix(MSR), 0))
    if name in result.more:
        return result.more[name][1]
    return result.dr6 if name == "dr6" else None


def rf_left(native: ProbeResult | None) -> int:
    """RF, if the bare machine has it set though the code ended without an exception; else 0.

    Each instruction but IRET and task switches clears RF when it is done (SDM 3B 17.3.1.1, APM2 3.1.6).
    QEMU 10 pushes RF with an interrupt, and keeps it behind the IRET until its translated block ends, as it
    does at an exit. A subject that clears RF there is right.
    """
    return native.rflags & RF if native is not None and native.vector is None else 0


def ones(field: FieldExpectation) -> int:
    """A number with as many bits set as the field has."""
    bits: int = 2 ** (8 * field.width if field.register == "memory" else field.width) - 1
    return bits


def mask(field: FieldExpectation) -> int:
    """The field's bits within its register."""
    return ones(field) << field.low


def field(what: FieldExpectation, result: ProbeResult, first: int | None) -> int | None:
    """Value of a field at the end; memory as a little-endian number.

    ``first`` is the offset in the scratch area of the memory that was brought back.
    """
    if what.register == "memory":
        assert first is not None
        piece = result.memory[what.low - first : what.low - first + what.width]
        return int.from_bytes(piece, "little") if len(piece) == what.width else None
    value = register(result, what.register)
    return None if value is None else value >> what.low & ones(what)
