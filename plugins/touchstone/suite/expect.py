"""What must hold when a probe has ended: the ``expect`` of a check."""

from __future__ import annotations

import re

from yaml.nodes import MappingNode, Node, ScalarNode

from touchstone.suite import exceptions, memory
from touchstone.suite.fields import field_expectations
from touchstone.suite.model import Expectation, FieldExpectation, LabelAddress, Value
from touchstone.suite.numeral import number
from touchstone.suite.operands import operand
from touchstone.suite.positions import Document

_COUNT = re.compile(r"(>=|<=)?\s*(\w+)(?:\.\.(\w+))?")
_COUNTER = re.compile(r"[a-z0-9][a-z0-9_.-]*")


def expect(doc: Document, node: Node) -> Expectation:
    """Read ``expect``; what is wrong goes to the document's problems."""
    source = doc.at(node)
    if isinstance(node, ScalarNode):
        text = doc.scalar(node, "expect")
        if text not in (None, "native"):
            doc.wrong(
                node,
                f"expect is `native` or a mapping ({{exception: \"#UD\"}}), not '{text}'",
            )
        return Expectation(native=True, source=source)
    native = native_end = gprs_unchanged = rip_at_end = False
    exception: str | None = None
    vector = error_code = None
    rip: Value | None = None
    found: list[FieldExpectation] = []
    exits: dict[str, tuple[int, int | None]] = {}
    if isinstance(node, MappingNode) and not node.value:
        doc.wrong(
            node, "expect is empty; if the probe must only end without an exception, say {exception: none}"
        )
    for name, key, value in doc.entries(node, "expect"):
        if name == "native":
            native = doc.boolean(value, "native") or False
        elif name == "exception":
            native_end = isinstance(value, ScalarNode) and value.value == "native"
            exception, vector, error_code = (None, None, None) if native_end else _exception(doc, value)
        elif name == "rip" and isinstance(value, ScalarNode) and value.value != "native":
            rip_at_end, rip = _rip(doc, value)
        elif name == "gprs":
            text = doc.choice(value, "gprs", ("unchanged",))
            gprs_unchanged = text == "unchanged"
        elif name == "memory":
            found += memory.expected(doc, value)
        elif name == "exits":
            exits = _exits(doc, value)
        else:
            found += field_expectations(doc, key, value)
    _overlaps(doc, node, found)
    completes = not native_end and vector is None
    if not native and completes and rip is None and not any(item.register == "rip" for item in found):
        rip_at_end = True
    return Expectation(
        native,
        exception,
        vector,
        error_code,
        native_end,
        rip,
        rip_at_end,
        gprs_unchanged,
        tuple(found),
        exits,
        source,
    )


def _exception(doc: Document, node: Node) -> tuple[str | None, int | None, int | None]:
    text = doc.scalar(node, "exception")
    if text is None:
        return None, None, None
    if text == "none":
        return text, None, None
    parsed = exceptions.parse(text)
    if isinstance(parsed, str):
        doc.wrong(node, parsed)
        return None, None, None
    return parsed


def _rip(doc: Document, node: Node) -> tuple[bool, Value | None]:
    text = doc.scalar(node, "rip")
    if text is None:
        return False, None
    value = operand(text)
    if value == LabelAddress("end"):
        return True, None
    if value is None or (not isinstance(value, LabelAddress) and value.base in ("scratch", "stack")):
        doc.wrong(node, f"rip must be start, start+N, end, or a label of the body, not '{text}'")
        return False, None
    return False, value


def _exits(doc: Document, node: Node) -> dict[str, tuple[int, int | None]]:
    exits: dict[str, tuple[int, int | None]] = {}
    for name, key, value in doc.entries(node, "exits"):
        if not _COUNTER.fullmatch(name):
            doc.wrong(key, f"'{name}' is no name of an exit counter; they are lower case: cpuid, rdmsr")
            continue
        text = doc.scalar(value, f"exits.{name}")
        parts = _COUNT.fullmatch(text) if text is not None else None
        first = number(parts[2]) if parts else None
        last = number(parts[3]) if parts and parts[3] else None
        if text is None:
            continue
        if parts is None or first is None or (parts[3] and (last is None or parts[1] or last < first)):
            doc.wrong(value, f'exits.{name} must be a count: 1, ">=1", "<=3" or "1..3", not \'{text}\'')
        elif parts[1] == ">=":
            if first == 0:
                doc.wrong(value, f'exits.{name}: ">=0" always holds')
            exits[name] = (first, None)
        elif parts[1] == "<=":
            exits[name] = (0, first)
        else:
            exits[name] = (first, last if last is not None else first)
    return exits


def _overlaps(doc: Document, node: Node, found: list[FieldExpectation]) -> None:
    """Two statements about the same bits: one of them is a mistake."""
    if len(found) < 2:
        return
    seen: dict[str, list[FieldExpectation]] = {}
    for item in found:
        for other in seen.setdefault(item.register, []):
            if item.low < other.low + other.width and other.low < item.low + item.width and item.source:
                doc.problems.add(item.source, f"'{item.what}' and '{other.what}' speak of the same bits")
        seen[item.register].append(item)
