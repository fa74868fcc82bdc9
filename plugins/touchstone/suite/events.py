"""The events that a check expects, ``expect.events``, and whether they came."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from msgspec.structs import replace
from yaml.nodes import MappingNode, Node, ScalarNode

from touchstone.machine.probe import ProbeEvent, ProbeResult
from touchstone.suite import counts, show
from touchstone.suite.code import Code
from touchstone.suite.fields import field_expectations
from touchstone.suite.handle import DB, name_of, vector_of
from touchstone.suite.judge_field import FieldJudge, address
from touchstone.suite.judgement import Demand, Row
from touchstone.suite.model import Expectation, ExpectedEvent, ExpectedEvents, FieldExpectation, Value
from touchstone.suite.operands import operand
from touchstone.suite.positions import Document


def expected_events(doc: Document, node: Node) -> ExpectedEvents:
    """``native``, ``[nmi: behind, {"#DB": end, dr6: {bs: 1}}]``, or counts: ``{nmi: 2, "#DB": native}``."""
    source = doc.at(node)
    if isinstance(node, ScalarNode):
        if doc.scalar(node, "events") != "native":
            doc.wrong(node, "events is `native`, a list ([nmi: end]) or counts ({nmi: 2})")
        return ExpectedEvents(native=True, source=source)
    if isinstance(node, MappingNode):
        found: dict[int, tuple[int, int | None] | None] = {}
        for name, key, value in doc.entries(node, "events"):
            vector = _vector(doc, key)
            text = doc.scalar(value, f"events.{name}")
            if vector is not None and text is not None:
                found[vector] = None if text == "native" else counts.count(doc, value, f"events.{name}")
        return ExpectedEvents(counts=found, source=source)
    listed = [event for item in node.value if (event := _event(doc, item)) is not None]
    return ExpectedEvents(listed=tuple(listed), source=source)


def _vector(doc: Document, key: Node) -> int | None:
    parsed = vector_of(key.value) if isinstance(key, ScalarNode) else "an event is nmi, #DB or vector 0x50"
    if isinstance(parsed, str):
        doc.wrong(key, parsed)
        return None
    return parsed[0]


def _event(doc: Document, node: Node) -> ExpectedEvent | None:
    if not isinstance(node, MappingNode):
        doc.wrong(node, "an event of the list says where it arrives: {nmi: label}, {vector 0x50: any}")
        return None
    vector: int | None = None
    rip: Value | None = None
    fields: list[FieldExpectation] = []
    for name, key, value in doc.entries(node, "an event"):
        if name == "dr6":
            fields += field_expectations(doc, key, value)
        elif vector is not None:
            doc.wrong(key, "an entry of the list is one event; begin the next one with its own braces")
        else:
            vector = _vector(doc, key)
            text = doc.scalar(value, f"the place of {name}")
            rip = operand(text) if text not in (None, "any") else None
            if text not in (None, "any") and (rip is None or getattr(rip, "base", "start") != "start"):
                doc.wrong(value, f"{name} arrives at a label, start+N, end or any, not at '{text}'")
    if fields and vector not in (None, DB):
        doc.wrong(node, "DR6 is measured at #DB only")
    if vector is None:
        if not fields and not node.value:
            doc.wrong(node, "an event of the list says where it arrives: {nmi: label}")
        return None
    return ExpectedEvent(vector, rip, tuple(fields))


def rows(
    expect: Expectation,
    code: Code,
    result: ProbeResult,
    native: ProbeResult | None,
    judge_of: Callable[[ProbeResult], FieldJudge],
) -> Iterator[Row]:
    """The lines of the table that are about events. ``judge_of`` makes the judge of a result's fields."""
    events = expect.events or ExpectedEvents(native=expect.native, source=expect.source)
    found = _texts(result, code)
    if events.listed is not None:
        wanted = ", ".join(f"{name_of(one.vector)} at {one.rip or 'any'}" for one in events.listed) or "none"
        fits = len(events.listed) == result.noted and all(
            one.vector == event.vector and one.rip in (None, _place(one.rip, code, result, event))
            for one, event in zip(events.listed, result.events, strict=False)
        )
        yield Row("events", ("", wanted, found), fits, events.source)
        for number, (one, event) in enumerate(zip(events.listed, result.events, strict=False), 1):
            for field in one.fields:
                row = judge_of(replace(result, dr6=event.dr6)).row(field)
                yield Row(f"event {number}: {row.name}", row.cells, row.ok, row.source, row.demand)
    elif events.native:
        if native is None:
            yield Row("events", ("", "as native, but there is no native answer", found), False, events.source)
        else:
            cells = "", f"{_texts(native, code)}, native", found
            yield Row("events", cells, _relative(result) == _relative(native), events.source, Demand.NATIVE)
    elif result.events:
        yield Row("events", ("", "", found), None)
    for vector, bounds in events.counts.items():
        count = sum(event.vector == vector for event in result.events)
        if bounds is None:
            least = most = sum(event.vector == vector for event in native.events) if native else -1
        else:
            least, most = bounds[0], bounds[1] if bounds[1] is not None else count
        wanted = str(least) if least == most else f"{least} or more"
        ok = least <= count <= most
        yield Row(f"events: {name_of(vector)}", ("", wanted, str(count)), ok, events.source)


def _place(value: Value | None, code: Code, result: ProbeResult, event: ProbeEvent) -> Value | None:
    """The value if the event arrived there."""
    return value if value is not None and address(value, code, result) == event.rip else None


def _relative(result: ProbeResult) -> list[tuple[int, int, int | None]]:
    return [(event.vector, event.rip - result.start, event.dr6) for event in result.events]


def _texts(result: ProbeResult, code: Code) -> str:
    texts = []
    for event in result.events:
        dr6 = f" ({show.register('dr6', event.dr6, result)})" if event.dr6 is not None else ""
        where = show.register("rip", event.rip, result, code=code)
        texts.append(f"{name_of(event.vector)} at {where}{dr6}")
    if result.noted > len(result.events):
        texts.append(f"{result.noted - len(result.events)} more")
    return ", ".join(texts) or "none"
