"""The names of the bits in which a measured value differs: of CPUID leaves, MSRs and control registers.

What a register holds at the end is known where the body's last line is a CPUID, an RDMSR, or a MOV from a
control or debug register, and the check gives the number of the leaf or of the MSR.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from touchstone.machine.probe import Operand
from touchstone.suite import show
from touchstone.suite.cpuid import leaf_names
from touchstone.suite.model import Case
from touchstone.suite.msrs import MSRS
from touchstone.suite.registers import MSR_TABLES, SUB_REGISTERS, BitField, table

_HEX = re.compile(r"0x[0-9a-f]+")
_MOVE = re.compile(r"mov\s+(\w+)\s*,\s*(cr[04]|dr[67])")
_Held = tuple[str, Mapping[str, BitField], int, int]
"""Name and fields of a leaf or register, its lowest bit that is held, and how many bits of it are."""
_PARTS = {"rax": "eax", "rbx": "ebx", "rcx": "ecx", "rdx": "edx"}


def differing(case: Case, what: str, expected: str, measured: str) -> str:
    """``cpuid.1.ecx: vmx, hypervisor``; empty where the bits have no names.

    ``what`` is the row's name: a register, or a part of one; ``expected`` and ``measured`` are as shown.
    """
    wanted, found = _HEX.match(expected), _HEX.match(measured)
    place = SUB_REGISTERS.get(what)
    if wanted is None or found is None or place is None or place[1] != 0:
        return ""
    source = _source(case, place[0])
    if source is None:
        return ""
    name, fields, shift, width = source
    differ = (int(wanted[0], 16) ^ int(found[0], 16)) & ((1 << width) - 1)
    if differ == 0:
        return ""
    names, known = [], 0
    for field, (low, size) in fields.items():
        mask = ((1 << size) - 1) << low >> shift if low >= shift else 0
        known |= mask
        if mask & differ & ((1 << place[2]) - 1):
            names.append(field)
    nameless = [bit + shift for bit in range(64) if differ & ~known & 1 << bit]
    if nameless:
        names.append(f"bit{'s' * (len(nameless) > 1)} {show.ranges(nameless)}")
    return f"{name}: {', '.join(names)}"


def _source(case: Case, register: str) -> _Held | None:
    """What a register holds at the end."""
    last = case.body.lines[-1].strip().lower() if case.body.lines else ""
    if last == "cpuid" and register in _PARTS:
        return _of_leaf(case, _PARTS[register])
    if last == "rdmsr" and register in ("rax", "rdx"):
        number = _given(case, "rcx")
        name = next((name for name, one in MSRS.items() if one == number), None)
        if number is None or name is None:
            return None
        fields = table(MSR_TABLES[number]) if number in MSR_TABLES else None
        return name, fields or {}, 0 if register == "rax" else 32, 32
    move = _MOVE.fullmatch(last)
    if move is not None and SUB_REGISTERS.get(move[1], ("",))[0] == register:
        fields = table(move[2])
        return (move[2], fields, 0, 64) if fields is not None else None
    return None


def _of_leaf(case: Case, register: str) -> _Held | None:
    leaf = _given(case, "rax")
    subleaf = _given(case, "rcx") or 0
    if leaf is None:
        return None
    for name in (f"cpuid.{leaf:#x}.{subleaf}.{register}", f"cpuid.{leaf:#x}.{register}"):
        if name in leaf_names() and (fields := table(name)) is not None:
            return name, fields, 0, 32
    return None


def _given(case: Case, register: str) -> int | None:
    value = case.given.registers.get(register)
    plain = isinstance(value, Operand) and value.base == "number"
    return value.offset & 0xFFFFFFFF if plain and isinstance(value, Operand) else None
