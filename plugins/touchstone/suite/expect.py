"""What must hold when a probe has ended: the ``expect`` of a check."""

from __future__ import annotations

import re

from yaml.nodes import MappingNode, Node, ScalarNode

from touchstone.machine.probe import GPRS
from touchstone.suite import exceptions, memory, more_registers
from touchstone.suite.claims import unknown_counter
from touchstone.suite.counts import count
from touchstone.suite.events import expected_events
from touchstone.suite.fields import field_expectations, msr_expectations
from touchstone.suite.model import (
    Expectation,
    ExpectedEnd,
    ExpectedEvents,
    FieldExpectation,
    LabelAddress,
    Value,
)
from touchstone.suite.operands import operand
from touchstone.suite.positions import Document

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
    native = gprs_unchanged = rip_at_end = False
    native_end = False
    ends: tuple[ExpectedEnd, ...] = ()
    rip: Value | None = None
    found: list[FieldExpectation] = []
    events: ExpectedEvents | None = None
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
            ends = () if native_end else _ends(doc, value)
        elif name == "rip" and isinstance(value, ScalarNode) and value.value not in ("native", "any"):
            rip_at_end, rip = _rip(doc, value)
        elif name == "gprs":
            text = doc.choice(value, "gprs", ("unchanged",))
            gprs_unchanged = text == "unchanged"
        elif name == "memory":
            found += memory.expected(doc, value)
        elif name == "msrs":
            found += msr_expectations(doc, value)
        elif name == "events":
            events = expected_events(doc, value)
        elif name == "exits":
            exits = _exits(doc, value)
        elif more_registers.is_one(name):
            found += more_registers.expectations(doc, key, value)
        else:
            found += field_expectations(doc, key, value)
    _overlaps(doc, node, found)
    _any(doc, found, native, gprs_unchanged)
    completes = not native_end and all(end.vector is None for end in ends)
    if not native and completes and rip is None and not any(item.register == "rip" for item in found):
        rip_at_end = True
    return Expectation(
        native, ends, native_end, rip, rip_at_end, gprs_unchanged, tuple(found), events, exits, source
    )


def _ends(doc: Document, node: Node) -> tuple[ExpectedEnd, ...]:
    """The value of ``exception``, ``native`` apart: one end, or those of ``{in: [...]}``."""
    if not isinstance(node, MappingNode):
        one = _end(doc, node)
        return () if one is None else (one,)
    keys = doc.take(node, "exception", ("in",))
    if "in" not in keys:
        return ()
    found: list[ExpectedEnd] = []
    for item in doc.items(keys["in"][1], "'in'"):
        one = _end(doc, item, "; it stands alone: exception: native")
        if one in found:
            doc.wrong(item, f"{exceptions.end(one.vector, one.error_code)} is listed twice")
        elif one is not None:
            found.append(one)
    return tuple(found)


def _end(doc: Document, node: Node, native: str = "") -> ExpectedEnd | None:
    text = doc.scalar(node, "exception")
    if text is None:
        return None
    if text == "none":
        return ExpectedEnd()
    parsed = exceptions.parse(text)
    if isinstance(parsed, str):
        doc.wrong(node, f"'native' is no exception{native}" if text == "native" else parsed)
        return None
    return ExpectedEnd(*parsed)


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
        if (problem := unknown_counter(name)) is not None:
            doc.wrong(key, problem)
            continue
        found = count(doc, value, f"exits.{name}")
        if found is not None:
            exits[name] = found
    return exits


def _any(doc: Document, found: list[FieldExpectation], native: bool, gprs_unchanged: bool) -> None:
    """``any`` is an exception to a statement about all registers; without one it says nothing."""
    for item in found:
        if (
            item.kind == "any"
            and not native
            and not (gprs_unchanged and item.register in GPRS)
            and item.source
        ):
            doc.problems.add(
                item.source,
                f"any of {item.what} says nothing here: it takes bits out of `native: true`, and"
                " registers out of `gprs: unchanged`",
            )


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
