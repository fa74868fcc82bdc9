"""Numbers and addresses as a suite writes them."""

from __future__ import annotations

import re
from functools import lru_cache

from touchstone.machine.probe import Operand
from touchstone.suite.model import Place, Value

_NUMBER = re.compile(
    r"-?(?:0[xX][0-9a-fA-F]+(?:_[0-9a-fA-F]+)*|0[bB][01]+(?:_[01]+)*|0|[1-9][0-9]*(?:_[0-9]+)*)"
)
_ADDRESS = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?:\s*([+-])\s*(\S+))?")
BASES = ("scratch", "start", "stack")
"""Bases of addresses that do not depend on the body; ``end`` and the body's labels do."""


@lru_cache(4096)
def number(text: str) -> int | None:
    """Value of ``12``, ``0xff``, ``0b1``, ``1_000`` or the negative of one; None if it is no number."""
    return int(text, 0) if _NUMBER.fullmatch(text) else None


def operand(text: str) -> Value | None:
    """``5``, ``scratch+8``, ``end-1``, ``label``; None if it is none of them. Labels are not looked up."""
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
    if name == "scratch":
        return Operand("scratch", offset)
    if name == "start":
        return Operand("start", offset)
    if name == "stack":
        return Operand("stack", offset)
    return Place(name, offset)
