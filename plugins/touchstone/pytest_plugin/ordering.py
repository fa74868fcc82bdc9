"""The order of a run: each target goes through its phases once; tests that are no checks are not moved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from touchstone.words import PHASES, Phase

T = TypeVar("T")


def ordered(
    items: Sequence[T], stage: Callable[[T], tuple[str, Phase] | None], targets: Sequence[str]
) -> list[T]:
    """Items by target, then by phase; those of the same target and phase keep their order.

    ``stage`` says target and phase of a check, None for any other test: such a test keeps its index.
    """
    stages = [stage(item) for item in items]
    checks = [
        (targets.index(found[0]), PHASES.index(found[1]), index)
        for index, found in enumerate(stages)
        if found is not None
    ]
    source = iter(sorted(checks))
    return [
        item if found is None else items[next(source)[2]] for item, found in zip(items, stages, strict=True)
    ]
