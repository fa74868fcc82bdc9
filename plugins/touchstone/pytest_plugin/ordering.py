"""The order of a run: each target goes through its phases once; tests that are no checks are not moved.

Behind the phases come the checks that load and unload the subject once more: first those that prepare a state
for it, with all checks of the same state together, then those that do so between their probes. What is loaded
in an unusual state is loaded anew for the checks that expect a usual one, so these come first.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from touchstone.suite.model import Check
from touchstone.words import PHASES

T = TypeVar("T")
_PREPARED, _SEQUENCES = len(PHASES), len(PHASES) + 1


@dataclass(frozen=True)
class Stage:
    """Where in a run a check has its place."""

    part: int
    """Of the run: the index of a phase, or ``_PREPARED``, ``_SEQUENCES``."""
    group: Hashable
    """Checks of one part and group need one loading or unloading in all."""
    late: bool
    """Comes behind the other groups of its part."""


def stage_of(check: Check) -> Stage:
    """The place of a check."""
    if check.prepared is not None:
        return Stage(_PREPARED, check.prepared.key, check.prepared.before == "load")
    if any(case.then for case in check.cases):
        return Stage(_SEQUENCES, check.id, check.phase == "loaded")
    return Stage(PHASES.index(check.phase), check.phase, late=False)


def ordered(
    items: Sequence[T], check_of: Callable[[T], tuple[str, Check] | None], targets: Sequence[str]
) -> list[T]:
    """Items by target, then by stage; those of the same target and stage keep their order.

    ``check_of`` says target and check of an item, None for any other test: such a test keeps its index.
    """
    found = [check_of(item) for item in items]
    stages = {index: stage_of(one[1]) for index, one in enumerate(found) if one is not None}
    turns = {stage: turn for turn, stage in enumerate(dict.fromkeys(stages.values()))}
    checks = [
        (
            targets.index(one[0]),
            stages[index].part,
            stages[index].late,
            turns[stages[index]],
            index,
        )
        for index, one in enumerate(found)
        if one is not None
    ]
    source = iter(sorted(checks))
    return [item if one is None else items[next(source)[-1]] for item, one in zip(items, found, strict=True)]
