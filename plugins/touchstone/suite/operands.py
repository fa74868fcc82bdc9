"""Numbers, constants and addresses as a suite writes them."""

from __future__ import annotations

import re

from touchstone.machine.probe import Operand
from touchstone.suite.constants import CONSTANTS
from touchstone.suite.model import LabelAddress, Value
from touchstone.suite.numeral import number

_SUM = re.compile(r"([A-Za-z0-9_]+)(?:\s*([+-])\s*(\S+))?")
BASES = ("scratch", "start", "stack")
"""Bases of addresses that do not depend on the body; ``end`` and the body's labels do."""


def operand(text: str) -> Value | None:
    """``5``, ``IA32_LSTAR``, ``0xff00 + 5``, ``scratch+8``, ``end-1``, a label; None for anything else.

    Whether the body has the label is not looked up.
    """
    value = number(text)
    if value is not None:
        return Operand("number", value & (2**64 - 1))
    parts = _SUM.fullmatch(text)
    if not parts:
        return None
    name, sign, distance = parts.groups()
    offset = _number(distance) if distance else 0
    if offset is None or offset >= 2**64 or (distance and distance.startswith("-")):
        return None
    if sign == "-":
        offset = -offset
    value = _number(name)
    if value is not None:
        total = value + offset
        return Operand("number", total & (2**64 - 1)) if -(2**63) <= total < 2**64 else None
    if name[0].isdigit():
        return None
    if name == "scratch":
        return Operand("scratch", offset)
    if name == "start":
        return Operand("start", offset)
    if name == "stack":
        return Operand("stack", offset)
    return LabelAddress(name, offset)


def _number(text: str) -> int | None:
    """Value of a number or of a named constant."""
    return CONSTANTS[text] if text in CONSTANTS else number(text)
