"""Registers that are measured only if a check names them: descriptor tables, and those around a call.

``idtr``, ``gdtr``, ``ldtr`` and ``tr`` are measured at the start and at the end of the probe. ``returned``
are those with which the subject's code came back, when the OS last called it to load or to unload it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from yaml.nodes import MappingNode, Node, ScalarNode

from touchstone.machine.probe import CALL_GPRS, CALL_REGISTERS, CALL_RFLAGS
from touchstone.suite import registers
from touchstone.suite.fields import MeasuredField, expectation, is_set, parts
from touchstone.suite.model import FieldExpectation
from touchstone.suite.positions import Document
from touchstone.suite.problems import did_you_mean_or_all

RETURNED = "returned"
TABLES = {"idtr": ("base", "limit"), "gdtr": ("base", "limit"), "ldtr": (), "tr": ()}
"""The registers of descriptor tables, and their parts."""
_WIDTHS = {"base": 64, "limit": 16}
_SELECTOR = 16
_KEY = re.compile(rf"({'|'.join([*TABLES, RETURNED])})(?:\.(.*))?")
_CALL = {name: bit for name, bit in registers.TABLES["rflags"].items() if CALL_RFLAGS >> bit.low & 1}


def is_one(name: str) -> bool:
    """Whether a key of ``expect`` names such a register."""
    return _KEY.fullmatch(name) is not None


def of_tables(fields: Iterable[FieldExpectation]) -> bool:
    """Whether there is one of the descriptor tables among what is expected."""
    return any(field.register.partition(".")[0] in TABLES for field in fields)


def of_call(fields: Iterable[FieldExpectation]) -> FieldExpectation | None:
    """One of ``returned`` among what is expected, if there is one."""
    return next((field for field in fields if field.register.startswith(f"{RETURNED}.")), None)


def expectations(doc: Document, key: ScalarNode, value: Node) -> list[FieldExpectation]:
    """What one entry of ``expect`` states: ``idtr: {limit: 0xfff}``, ``returned: unchanged``."""
    parsed = _KEY.fullmatch(key.value)
    assert parsed
    name, part = parsed[1], parsed[2]
    if part is not None:
        known = CALL_REGISTERS if name == RETURNED else TABLES[name]
        if part not in known:
            doc.wrong(key, f"{name} has no '{part}'{did_you_mean_or_all(part, known)}")
            return []
        return _call(doc, part, value) if name == RETURNED else _of_table(doc, name, part, value)
    if name == RETURNED:
        return _returned(doc, value)
    known = TABLES[name]
    if not known or not isinstance(value, MappingNode):
        return [one for field in known or ("",) for one in _of_table(doc, name, field, value)]
    found: list[FieldExpectation] = []
    for field, field_key, wanted in doc.entries(value, name):
        if field in known:
            found += _of_table(doc, name, field, wanted)
        else:
            doc.wrong(field_key, f"{name} has no '{field}'{did_you_mean_or_all(field, known)}")
    return found


def _of_table(doc: Document, name: str, part: str, value: Node) -> list[FieldExpectation]:
    register = f"{name}.{part}" if part else name
    whole = MeasuredField(register, register, 0, _WIDTHS.get(part, _SELECTOR))
    if isinstance(value, MappingNode) and not is_set(value):
        doc.wrong(value, f"{register} is a number, an address, unchanged or native; it has no parts")
        return []
    wanted = expectation(doc, whole, value)
    return [] if wanted is None else [wanted]


def _returned(doc: Document, node: Node) -> list[FieldExpectation]:
    if not isinstance(node, MappingNode):
        return [one for name in CALL_REGISTERS for one in _call(doc, name, node)]
    found: dict[str, list[FieldExpectation]] = {}
    others: Node | None = None
    for name, key, value in doc.entries(node, RETURNED):
        if name == "gprs":
            others = value if doc.choice(value, "gprs", ("unchanged",)) else None
        elif name in CALL_REGISTERS:
            found[name] = _call(doc, name, value)
        else:
            doc.wrong(
                key,
                f"returned has no '{name}': a function need not keep it"
                f"{did_you_mean_or_all(name, ('gprs', *CALL_REGISTERS))}",
            )
    for name in CALL_GPRS if others else ():
        if name not in found and others:
            found[name] = _call(doc, name, others)
    return [one for fields in found.values() for one in fields]


def _call(doc: Document, name: str, value: Node) -> list[FieldExpectation]:
    register = f"{RETURNED}.{name}"
    bits = _CALL if name == "rflags" else None
    width = _SELECTOR if name == "ss" else 64
    return parts(doc, MeasuredField(register, register, 0, width, bits, register), value)
