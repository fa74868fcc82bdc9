"""What a check says of loading and unloading: the keys ``at-load``, ``at-unload`` and ``then``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from yaml.nodes import MappingNode, Node, ScalarNode

from touchstone.suite.model import Transition
from touchstone.suite.positions import Document, kind_of
from touchstone.words import Phase

AT: Mapping[str, Transition] = {"at-load": "load", "at-unload": "unload"}
"""The keys of the state in which the CPUs are when something happens, and what that is."""
TRANSITIONS: tuple[Transition, ...] = ("load", "unload")
LEADS_TO: Mapping[Transition, Phase] = {"load": "loaded", "unload": "unloaded"}
STEP_KEYS = ("given", "handle", "run", "expect")
MOST = 8
"""Steps that one ``then`` may have."""

Keys = Mapping[str, tuple[ScalarNode, Node]]


@dataclass(frozen=True)
class RunStep:
    """A step of ``then`` that runs a body."""

    keys: Keys
    number: int
    """Position in ``then``, from 1."""


def phase_of(doc: Document, keys: Keys, phase: Phase) -> Phase:
    """The phase of a check, of which ``phase`` was said; problems if its other keys do not agree."""
    given = [name for name in (*AT, "then") if name in keys]
    for name in given[1:]:
        doc.wrong(keys[name][0], f"a check has {given[0]} or {name}, not both; `then` can say either")
    for name, transition in AT.items():
        if name not in keys:
            continue
        leads_to = LEADS_TO[transition]
        if "phase" in keys and phase != leads_to:
            doc.wrong(keys["phase"][1], f"with {name}, the body runs {leads_to}; leave `phase` out")
        return leads_to
    if "then" in keys and phase == "native":
        node = keys["phase"][1] if "phase" in keys else keys["then"][0]
        doc.wrong(node, "a check with `then` begins loaded or unloaded; before loading it is as unloaded")
    return phase


def steps(doc: Document, node: Node, phase: Phase) -> list[Transition | RunStep]:
    """The steps of ``then``, of a check whose body runs in ``phase``."""
    found: list[Transition | RunStep] = []
    items = doc.items(node, "then")
    if len(items) > MOST:
        doc.wrong(node, f"{len(items)} steps in then; a check has at most {MOST}")
    where = phase
    for number, item in enumerate(items, start=1):
        if isinstance(item, MappingNode):
            keys = doc.take(item, "a step of then", STEP_KEYS)
            if "run" not in keys:
                doc.wrong(item, "the step has no 'run'; a step is load, unload, or a mapping with run")
            else:
                found.append(RunStep(keys, number))
            continue
        if not isinstance(item, ScalarNode):
            doc.wrong(item, f"a step of then is load, unload, or a mapping with run, not {kind_of(item)}")
            continue
        word = doc.choice(item, "a step of then without run", TRANSITIONS)
        transition = next((one for one in TRANSITIONS if one == word), None)
        if transition is None:
            continue
        if LEADS_TO[transition] == where:
            doc.wrong(item, f"the hypervisor is {where} already when this step is reached")
        where = LEADS_TO[transition]
        found.append(transition)
    if items and not _states_something(found):
        doc.wrong(node, "then must end with a step that has run and expect: what must hold in the end")
    return found


def _states_something(found: Sequence[Transition | RunStep]) -> bool:
    return bool(found) and isinstance(found[-1], RunStep) and "expect" in found[-1].keys
