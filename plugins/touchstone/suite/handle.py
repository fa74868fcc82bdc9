"""Handlers of the body's own: the ``handle`` of a check."""

from __future__ import annotations

from yaml.nodes import Node

from touchstone.suite import exceptions
from touchstone.suite.model import LabelAddress, Value
from touchstone.suite.operands import operand
from touchstone.suite.positions import Document

MOST = 8
"""Vectors that one request can handle (``targets/agent/PROTOCOL.md``)."""
NMI = 2
_REFUSED = {3: "#BP ends a probe, so the body cannot handle it", 18: "#MC is the agent's"}


def handlers(doc: Document, node: Node) -> dict[int, Value]:
    """``{"#DB": label, nmi: label, vector 0x50: label}``, as vector to address."""
    found: dict[int, Value] = {}
    for name, key, value in doc.entries(node, "handle"):
        parsed = (NMI, None) if name == "nmi" else exceptions.parse(name)
        if isinstance(parsed, str):
            doc.wrong(key, f"{parsed}, or nmi" if "write none" in parsed else parsed)
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
        address = None if text is None else operand(text)
        if isinstance(address, LabelAddress) or (address is not None and address.base == "start"):
            found[vector] = address
        elif text is not None:
            doc.wrong(value, f"the handler of {name} must be a label of the body, or start+N, not '{text}'")
    if len(found) > MOST:
        doc.wrong(node, f"{len(found)} vectors to handle; a probe can handle {MOST}")
    return found
