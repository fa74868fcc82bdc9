"""Handlers of the body's own: the ``handle`` of a check."""

from __future__ import annotations

from collections.abc import Mapping

from yaml.nodes import Node

from touchstone.machine.probe import HandlerKind
from touchstone.suite import exceptions
from touchstone.suite.model import LabelAddress, Value
from touchstone.suite.operands import operand
from touchstone.suite.positions import Document

MOST = 8
"""Vectors that one request can handle (``targets/agent/PROTOCOL.md``)."""
DB = 1
NMI = 2
FIRST_INTERRUPT = 32
KINDS: tuple[HandlerKind, ...] = ("return", "no-gate", "not-present")
_REFUSED = {3: "#BP ends a probe, so the body cannot handle it", 18: "#MC is the agent's"}


def handles_interrupts(handlers: Mapping[int, object]) -> bool:
    """Whether one of the vectors is an interrupt's."""
    return any(vector >= FIRST_INTERRUPT for vector in handlers)


def vector_of(name: str) -> tuple[int, int | None] | str:
    """(vector, error code or None) of ``"#DB"``, ``nmi``, ``vector 0x50``; else what is wrong."""
    parsed = (NMI, None) if name == "nmi" else exceptions.parse(name)
    return f"{parsed}, or nmi" if isinstance(parsed, str) and "write none" in parsed else parsed


def name_of(vector: int) -> str:
    """``nmi``, ``#DB``, ``vector 0x50``."""
    return "nmi" if vector == NMI else exceptions.name(vector)


def handlers(doc: Document, node: Node) -> dict[int, Value | HandlerKind]:
    """``{"#DB": label, nmi: return, vector 0x50: label}``, as vector to address or kind."""
    found: dict[int, Value | HandlerKind] = {}
    for name, key, value in doc.entries(node, "handle"):
        parsed = vector_of(name)
        if isinstance(parsed, str):
            doc.wrong(key, parsed)
            continue
        vector, error_code = parsed
        if error_code is not None or vector in _REFUSED or vector in found:
            doc.wrong(
                key,
                _REFUSED.get(vector)
                or (
                    f"a handler gets every error code; write {exceptions.name(vector)}"
                    if error_code is not None
                    else f"'{name}' is vector {vector}, which is handled already"
                ),
            )
            continue
        text = doc.scalar(value, f"the handler of {name}")
        kind = next((kind for kind in KINDS if kind == text), None)
        if kind == "return" and vector not in (DB, NMI) and vector < FIRST_INTERRUPT:
            doc.wrong(value, f"return from {name} would raise it again; it is for #DB, nmi and interrupts")
        if kind is not None:
            found[vector] = kind
            continue
        address = None if text is None else operand(text)
        if isinstance(address, LabelAddress) or (address is not None and address.base == "start"):
            found[vector] = address
        elif text is not None:
            doc.wrong(
                value,
                f"the handler of {name} is a label of the body, start+N, or {', '.join(KINDS)}, not '{text}'",
            )
    if len(found) > MOST:
        doc.wrong(node, f"{len(found)} vectors to handle; a probe can handle {MOST}")
    return found
