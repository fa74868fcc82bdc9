"""The order of the run: each target goes through its phases once, and everything else stays where it was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from touchstone.words import PHASES, Phase

T = TypeVar("T")


def ordered(
    items: Sequence[T], place: Callable[[T], tuple[str, Phase] | None], targets: Sequence[str]
) -> list[T]:
    """Items by target, then by phase; those of the same target and phase keep their order.

    ``place`` says target and phase of a check, None for any other test: such a test keeps its index.
    """
    places = [place(item) for item in items]
    checks = [
        (targets.index(where[0]), PHASES.index(where[1]), index)
        for index, where in enumerate(places)
        if where is not None
    ]
    source = iter(sorted(checks))
    return [
        item if where is None else items[next(source)[2]] for item, where in zip(items, places, strict=True)
    ]
