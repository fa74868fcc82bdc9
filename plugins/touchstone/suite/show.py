"""Measured values as people read them: an address by its area, flags by their names."""

from __future__ import annotations

import re
from collections.abc import Sequence

from touchstone.machine.probe import (
    CODE_OFFSET,
    CODE_SIZE,
    SCRATCH_OFFSET,
    SCRATCH_SIZE,
    STACK_END,
    ProbeResult,
    address_mask,
)
from touchstone.suite import exceptions
from touchstone.suite.code import Code
from touchstone.suite.registers import TABLES

_STACK_SIZE = 0x1000
_SLOT_ADDRESS = re.compile(r"0x[0-9a-f]+ \(((?:start|end|scratch|stack)[^)]*)\)")
_NAMED = ("rflags", "dr6", "dr7")


def address(value: int, result: ProbeResult, code: Code | None = None) -> str | None:
    """``start+0x2``, ``end``, ``scratch+0x8``, ``stack-0x100``; None outside of the CPU's slot."""
    offset = value - result.slot
    if code is not None:
        distance = (value - result.start) & address_mask(result.code_bits)
        if distance <= len(code.data):
            return "end" if distance == len(code.data) else _relative("start", distance)
    elif result.slot == 0:
        return None  # in real mode every small number would be an address
    if CODE_OFFSET <= offset < CODE_OFFSET + CODE_SIZE:
        return _relative("start", value - result.start)
    if SCRATCH_OFFSET <= offset <= SCRATCH_OFFSET + SCRATCH_SIZE:
        return _relative("scratch", offset - SCRATCH_OFFSET)
    if STACK_END - _STACK_SIZE <= offset <= STACK_END:
        return _relative("stack", offset - STACK_END)
    return None


def _relative(base: str, distance: int) -> str:
    return f"{base}{'-' if distance < 0 else '+'}{abs(distance):#x}" if distance else base


def register(name_: str, value: int, result: ProbeResult, width: int = 64, code: Code | None = None) -> str:
    """A register, or a field of ``width`` bits of one."""
    text = f"{value:#x}"
    kind = name_.rpartition(".")[2]
    if width == 64 and kind in _NAMED:
        table = TABLES[kind]
        set_ = [bit for bit, (low, size) in table.items() if size == 1 and value >> low & 1]
        return f"{text} ({' '.join(set_)})" if set_ else text
    if width == 64:
        area = address(value, result, code if name_ == "rip" else None)
        if area:
            return f"{text} ({area})"
    return text


def without_slot(text: str) -> str:
    """A shown value without the numbers of addresses in a CPU's slot, which differ from CPU to CPU."""
    return _SLOT_ADDRESS.sub(r"\1", text)


def end(result: ProbeResult) -> str:
    """How a probe ended: ``no exception``, ``#GP(0x0)``."""
    return exceptions.end(result.vector, result.error_code)


def data(value: bytes) -> str:
    """``48 8b 05``."""
    return value.hex(" ")


def ranges(numbers: Sequence[int]) -> str:
    """``0-3, 5, 7-9`` of ascending numbers."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]}" if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
