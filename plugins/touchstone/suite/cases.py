"""The runs of one check: every combination of what ``each`` lists, and of the bodies of ``run``."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from yaml.nodes import MappingNode, Node, ScalarNode

from touchstone.machine.probe import CALL_RFLAGS, Operand
from touchstone.suite import body as bodies
from touchstone.suite import each, more_registers, place
from touchstone.suite import sweep as sweeps
from touchstone.suite.expect import expect
from touchstone.suite.given import IF, KEEP, given
from touchstone.suite.handle import handlers, handles_interrupts
from touchstone.suite.model import (
    Body,
    Case,
    Expectation,
    Given,
    LabelAddress,
    Prepared,
    Requirement,
    Source,
    Transition,
)
from touchstone.suite.numeral import number
from touchstone.suite.positions import Document, plain
from touchstone.suite.problems import did_you_mean
from touchstone.suite.random_probes import random_probes
from touchstone.suite.registers import TABLES
from touchstone.suite.request import expected_msrs
from touchstone.suite.run import VENDORS, bodies_of_vendors
from touchstone.suite.steps import AT, Keys, RunStep, steps
from touchstone.suite.variables import VARIABLE, replaced
from touchstone.words import Phase

MOST = 256
"""Cases that one check may have. More are a mistake, or should be several checks."""

DR7_GD = 1 << 13
NOT_IN_CALLS = IF | 1 << 10
"""IF and DF are clear when a function of a hypervisor is called."""
PREPARED_ON = ("every-cpu", "first", "last")
"""CPUs on which ``at-load`` and ``at-unload`` can prepare a state."""
_ENDS = Expectation(rip_at_end=True)
"""What a body without ``expect`` must do: come to its end."""


@dataclass(frozen=True)
class Part:
    """A body of a check with what is said of it: the check's own, or that of a step of ``then``."""

    keys: Keys
    number: int
    """Position of the step in ``then``; 0: the check's own."""

    @property
    def title(self) -> str:
        """What tells it from the other parts."""
        return f"step {self.number}" if self.number else ""


@dataclass(frozen=True)
class _Read:
    """One body of a part, as values."""

    vendor: str | None
    body: Body
    start: Given
    end: Expectation


def cases(doc: Document, entry: MappingNode, keys: Keys, phase: Phase) -> tuple[Case, ...]:
    """All cases of a check; what is said of its state, its body and its end is read here."""
    before = len(doc.problems)
    if "random" in keys:
        for name in (
            "run",
            "each",
            "sweep",
            "given",
            "handle",
            "then",
            "expect",
            "bits",
            "mode",
            "at-load",
            "at-unload",
        ):
            if name in keys:
                doc.wrong(keys[name][0], f"a check with random makes its probes by itself, without {name}")
        asked = random_probes(doc, keys["random"][1])
        return asked.cases() if asked else ()
    axes = each.axes(doc, keys["each"][1]) if "each" in keys else []
    every = {"bits": each.bits, "mode": place.mode}
    of_all = {name: read(doc, keys[name][1]) for name, read in every.items() if name in keys}
    for name in of_all:
        if any(name in axis.keys for axis in axes):
            doc.wrong(keys[name][0], f"{name} is given in each as well; keep one of the two")
    if _are_of_each_other(doc, axes):
        return ()
    wanted = sweeps.sweep(doc, keys["sweep"][1]) if "sweep" in keys else None
    if "sweep" in keys:
        sweeps.problems(doc, keys)
        if wanted is None:
            return ()
    then = steps(doc, keys["then"][1], phase) if "then" in keys else []
    needed = ("run",) if "then" in keys else ("run", "expect")
    for name in needed:
        if name not in keys:
            doc.wrong(entry, f"the check has no '{name}'")
    if not set(needed) <= set(keys):
        return ()
    parts = [Part(keys, 0), *(Part(step.keys, step.number) for step in then if isinstance(step, RunStep))]
    total = 1
    for axis in axes:
        total *= len(axis.choices)
    if total > MOST:
        doc.wrong(keys["each"][1], f"each makes {total} cases; a check has at most {MOST}: split it")
        return ()
    used: set[str] = set()
    read: dict[tuple[int, ...], list[tuple[str | None, list[_Read]]]] = {}
    found: list[Case] = []
    for combination in itertools.product(*(axis.choices for axis in axes)):
        nodes = {name: node for choice in combination for name, node in choice.items()}
        chosen = {name: plain(node.value) for name, node in nodes.items()}
        scope = {name: node for name, node in nodes.items() if name not in each.FIXED}
        values = tuple(map(id, scope.values()))
        if values not in read:
            read[values] = _by_vendor(
                doc, parts, [_read(doc, part.keys, keys, scope, used) for part in parts]
            )
        cpl: Literal[0, 3] = 3 if chosen.get("cpl") == "3" else 0
        on = each.ON_OF.get(chosen.get("on", ""), "first")
        mode = place.MODE_OF.get(chosen.get("mode") or of_all.get("mode") or "", "long")
        bits = place.code_bits(mode, chosen.get("bits") or of_all.get("bits"))
        label = ", ".join([f"{name}={value}" for name, value in chosen.items()])
        for vendor, chosen_bodies in read[values]:
            starts = [one.start for one in chosen_bodies]
            needs = tuple(
                dict.fromkeys(
                    one for start in starts for one in place.needs(mode, bits, start, doc.at(entry))
                )
            )
            words = label
            if vendor:
                needs = (Requirement(f"vendor == {vendor}", doc.at(keys["run"][1])), *needs)
                words = f"{label}, vendor={vendor}" if label else f"vendor={vendor}"
            made = []
            for part, one in zip(parts, chosen_bodies, strict=True):
                body = one.body if bits == one.body.code_bits else replace(one.body, code_bits=bits)
                title = f"{words}, {part.title}" if words and part.number else words or part.title
                made.append(Case(title, cpl, on, body, one.start, one.end, needs, mode))
                place.check(doc, made[-1], doc.at(_place_of(part.keys, entry)))
                if on in ("first", "last"):
                    _one_cpu(doc, one.end)
            _returns(doc, keys, then, made)
            bodies_left = iter(made)
            first = next(bodies_left)
            after = tuple(step if isinstance(step, str) else next(bodies_left) for step in then)
            whole = replace(first, then=after)
            found += sweeps.cases_of(wanted, whole) if wanted else [whole]
    if len(doc.problems) == before:
        _unused(doc, axes, used)
    if wanted and len(found) > MOST:
        doc.wrong(keys["sweep"][1], f"this sweep needs {len(found)} probes; a check has at most {MOST}")
    if len(found) == 1 and wanted is None:
        return (_unlabelled(found[0], parts),)
    return tuple(found)


def _returns(doc: Document, keys: Keys, then: Sequence[Transition | RunStep], made: Sequence[Case]) -> None:
    """``returned`` is for a body behind a loading or unloading."""
    behind = [any(name in keys for name in AT)]
    for before, step in pairwise(["", *then]):
        if isinstance(step, RunStep):
            behind.append(isinstance(before, str) and before != "")
    for case, changed in zip(made, behind, strict=True):
        one = more_registers.of_call(case.expect.fields)
        if one is not None and not changed and one.source:
            doc.problems.add(
                one.source,
                "returned is for the body behind at-load or at-unload, or behind load or unload in `then`",
            )


def _are_of_each_other(doc: Document, axes: Sequence[each.Axis]) -> bool:
    """Whether values of ``each`` name a key of ``each``, which is a problem."""
    before = len(doc.problems)
    names = {name for axis in axes for name in axis.keys if name not in each.FIXED}
    for node in [node for axis in axes for choice in axis.choices for node in choice.values()]:
        if "{" in node.value and (used := names.intersection(VARIABLE.findall(node.value))):
            doc.wrong(node, f"a value of each cannot be made of others: it has {{{min(used)}}} in it")
    return len(doc.problems) > before


def _place_of(keys: Mapping[str, tuple[ScalarNode, Node]], entry: Node) -> Node:
    """Where problems with a check's mode and place are shown."""
    return next((keys[name][1] for name in ("mode", "given", "bits", "each") if name in keys), entry)


def _unlabelled(only: Case, parts: Sequence[Part]) -> Case:
    """The only case of a check; its steps are told apart by their place alone."""
    titles = iter(part.title for part in parts[1:])
    then = tuple(step if isinstance(step, str) else replace(step, label=next(titles)) for step in only.then)
    return replace(only, label="", then=then)


def _by_vendor(
    doc: Document, parts: Sequence[Part], read: Sequence[list[_Read]]
) -> list[tuple[str | None, list[_Read]]]:
    """For every vendor that has bodies of its own, or for both at once, the body of each part."""
    if not all(read):
        return []
    vendors: list[str | None] = [
        vendor for vendor in VENDORS if any(one.vendor == vendor for part in read for one in part)
    ]
    found: list[tuple[str | None, list[_Read]]] = []
    for vendor in vendors or [None]:
        chosen = []
        for part, ones in zip(parts, read, strict=True):
            fitting = [one for one in ones if one.vendor in (None, vendor)]
            if not fitting:
                doc.wrong(part.keys["run"][1], f"another body of this check is for {vendor}; this one is not")
            chosen += fitting
        if len(chosen) == len(parts):
            found.append((vendor, chosen))
    return found


def prepared(doc: Document, keys: Keys) -> Prepared | None:
    """The state that ``at-load`` or ``at-unload`` describes; None without one, or after a problem."""
    name = next((name for name in AT if name in keys), None)
    if name is None:
        return None
    before = len(doc.problems)
    node = keys[name][1]
    if not isinstance(node, MappingNode):
        doc.wrong(node, f"{name} must be a mapping of what is as in given: {{cr4: {{osxsave: 0}}}}")
        return None
    if doc.uses_variables(node):
        doc.wrong(node, f"{name} is the same for all cases of a check: it cannot use variables of each")
        return None
    own = {key.value: value for key, value in node.value if key.value in ("on", "run", "handle")}
    if "handle" in own:
        doc.wrong(own["handle"], f"{name} has no handlers; its body must end without an exception")
    pairs = [pair for pair in node.value if pair[0].value not in own]
    if not pairs and "run" not in own:
        doc.wrong(node, f"{name} is empty; say what is not as usual: {{cr4: {{osxsave: 0}}}}")
        return None
    rest = MappingNode(node.tag, pairs, node.start_mark, node.end_mark, node.flow_style)
    word = doc.choice(own["on"], "on", PREPARED_ON) if "on" in own else "every-cpu"
    start = given(doc, rest, name)
    run = own.get("run") or ScalarNode("", "nop", node.start_mark, node.end_mark)
    _few_msrs(doc, node, start, _ENDS)
    if other := start.rflags & ~(CALL_RFLAGS & ~NOT_IN_CALLS) & ~2:
        names = [bit for bit, (low, width) in TABLES["rflags"].items() if other >> low & (2**width - 1)]
        doc.wrong(
            _value_of(node, "rflags"),
            f"rflags.{names[0] if names else other}: the hypervisor's code is called with iopl, nt, ac and id"
            " as they are given here, and with the other flags clear",
        )
    dr7 = start.debug.get("dr7")
    if isinstance(dr7, Operand) and dr7.base == "number" and dr7.offset & DR7_GD:
        doc.wrong(node, "DR7.GD does not stay, because the framework itself accesses the debug registers")
    body = doc.body(run)
    if body is None or len(doc.problems) > before:
        return None
    doc.problems.extend(bodies.check(body))
    _labels(doc, node, None, None, body, start, _ENDS)
    on = each.ON_OF.get(word or "", "every-cpu")
    case = Case(name, 0, on, body, start, _ENDS)
    key = repr((on, body.lines, sorted(vars(start).items(), key=str)))
    return Prepared(AT[name], case, key)


def _unused(doc: Document, axes: Sequence[each.Axis], used: set[str]) -> None:
    for axis in axes:
        for name, key in axis.keys.items():
            if name not in each.FIXED and name not in used:
                doc.wrong(key, f"each.{name} is used nowhere: write {{{name}}} in run, given or expect")


def _one_cpu(doc: Document, end: Expectation) -> None:
    for item in end.fields:
        if item.kind == "same-on-every-cpu" and item.source:
            doc.problems.add(
                item.source,
                f"same-on-every-cpu of {item.what} says nothing on one CPU; add each: {{on: [every-cpu]}}",
            )


def _read(
    doc: Document, keys: Keys, every: Keys, scope: Mapping[str, ScalarNode], used: set[str]
) -> list[_Read]:
    """Every body of one part of a check with ``every`` key, with the variables of ``scope`` replaced.

    The names of the variables that are used go to ``used``.
    """
    before = len(doc.problems)
    given_node = replaced(doc, keys["given"][1], scope, used) if "given" in keys else None
    expect_node = replaced(doc, keys["expect"][1], scope, used) if "expect" in keys else None
    if len(doc.problems) > before:
        return []  # everything that follows from an unknown variable would be reported as well
    start = given(doc, given_node) if given_node else Given()
    handle_node = replaced(doc, keys["handle"][1], scope, used) if "handle" in keys else None
    if handle_node:
        start = replace(start, handlers=handlers(doc, handle_node))
    if given_node and start.rflags & IF and not handles_interrupts(start.handlers):
        doc.wrong(
            _value_of(given_node, "rflags"),
            "rflags.if can be set only if `handle` has an interrupt: nothing else may interrupt a probe",
        )
    end = expect(doc, expect_node) if expect_node else _ENDS
    if end.events and end.events.source and "return" not in start.handlers.values():
        doc.problems.add(end.events.source, "nothing notes events: handle: {nmi: return}")
    _few_msrs(doc, given_node or expect_node or keys["run"][1], start, end)
    if end.exits and "then" in every and end.source:
        doc.problems.add(end.source, "exits cannot be counted in a check with `then`")
    found = []
    for vendor, body in bodies_of_vendors(doc, keys["run"][1], scope, used):
        doc.problems.extend(bodies.check(body))
        _raises(doc, body, start)
        _labels(doc, given_node, handle_node, expect_node, body, start, end)
        found.append(_Read(vendor, body, start, end))
    return found


def _few_msrs(doc: Document, node: Node, start: Given, end: Expectation) -> None:
    kept = {*start.keep, *start.msrs, *expected_msrs(end)}
    if len(kept) > KEEP:
        doc.wrong(node, f"{len(kept)} MSRs to keep, to set or to read; a probe can have {KEEP}")


def _labels(
    doc: Document,
    given_node: Node | None,
    handle_node: Node | None,
    expect_node: Node | None,
    body: Body,
    start: Given,
    end: Expectation,
) -> None:
    """Report labels that ``given``, ``handle`` or ``expect`` names and the body does not have."""
    places: list[tuple[LabelAddress, Source]] = []
    for name, value in (*start.registers.items(), *start.debug.items()):
        if isinstance(value, LabelAddress) and given_node:
            places.append((value, doc.at(_value_of(given_node, name))))
    for handler in start.handlers.values():
        if isinstance(handler, LabelAddress) and handle_node:
            places.append((handler, doc.at(handle_node)))
    for event in (end.events.listed or ()) if end.events else ():
        if isinstance(event.rip, LabelAddress) and end.events and end.events.source:
            places.append((event.rip, end.events.source))
    for name, placed in place.values(start):
        if isinstance(placed, LabelAddress) and given_node:
            places.append((placed, doc.at(_value_of(given_node, name))))
    for msr in start.msrs.values():
        if isinstance(msr, LabelAddress) and given_node:
            places.append((msr, doc.at(_value_of(given_node, "msrs"))))
    if isinstance(end.rip, LabelAddress) and expect_node:
        places.append((end.rip, doc.at(_value_of(expect_node, "rip"))))
    for item in end.fields:
        for wanted in (item.value, *item.values):
            if isinstance(wanted, LabelAddress) and item.source:
                places.append((wanted, item.source))
    if not places:
        return
    known = ["end", *bodies.labels(body)]
    for one, source in places:
        if one.label not in known:
            hint = did_you_mean(one.label, [*known, "start", "scratch", "stack"]) or (
                f"; it has {', '.join(known[1:])}" if known[1:] else "; words are start, end, scratch, stack"
            )
            doc.problems.add(source, f"the body has no label '{one.label}'{hint}")


def _raises(doc: Document, body: Body, start: Given) -> None:
    """What a body raises must have a handler, for which the agent prepares the local APIC."""
    for item in bodies.raises(body):
        name, event = item.tokens[0].lower(), "".join(item.tokens[1:]).split(",")[0].strip()
        vector = 2 if event == "nmi" else number(event)
        if vector is not None and vector not in start.handlers:
            shown = "nmi" if vector == 2 else f"vector {vector:#x}"
            doc.problems.add(body.sources[item.line], f"{name} {event}: `handle` has no {shown}")


def _value_of(node: Node, name: str) -> Node:
    """The value of a key of a mapping, else the mapping."""
    pairs = node.value if isinstance(node, MappingNode) else ()
    return next((value for key, value in pairs if key.value == name), node)
