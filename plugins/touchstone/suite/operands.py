"""Addresses and named numbers as a suite writes them."""

from __future__ import annotations

import re

from touchstone.machine.probe import Operand
from touchstone.suite.constants import CONSTANTS
from touchstone.suite.model import Place, Value
from touchstone.suite.numeral import number

_ADDRESS = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?:\s*([+-])\s*(\S+))?")
BASES = ("scratch", "start", "stack")
"""Bases of addresses that do not depend on the body; ``end`` and the body's labels do."""


def operand(text: str) -> Value | None:
    """``5``, ``IA32_LSTAR``, ``scratch+8``, ``end-1``, any label, looked up or not; None for the rest."""
    value = number(text)
    if value is not None:
        return Operand("number", value & (2**64 - 1))
    parts = _ADDRESS.fullmatch(text)
    if not parts:
        return None
    name, sign, distance = parts.groups()
    offset = number(distance) if distance else 0
    if offset is None or (distance and distance.startswith("-")):
        return None
    if sign == "-":
        offset = -offset
    if name in CONSTANTS:
        return Operand("number", (CONSTANTS[name] + offset) & (2**64 - 1))
    if name == "scratch":
        return Operand("scratch", offset)
    if name == "start":
        return Operand("start", offset)
    if name == "stack":
        return Operand("stack", offset)
    return Place(name, offset)
