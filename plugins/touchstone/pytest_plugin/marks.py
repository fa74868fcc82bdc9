"""What pytest's items know of checks: which one an item is, its marks, and which one follows it at once."""

from __future__ import annotations

from functools import cache

import pytest

from touchstone.engine.records import CheckOnTarget
from touchstone.suite.model import Check
from touchstone.words import AREAS, LEVELS, PHASES

CHECK = pytest.StashKey[CheckOnTarget]()
"""In the stash of every item that is a check, YAML or Python."""


_SELECTING = ("skip", "skipif", "xfail")


def check_that_follows(item: pytest.Item, following: pytest.Item | None) -> CheckOnTarget | None:
    """The check that follows an item at once: one of a suite, with no fixture or mark between the two."""
    if following is None or following.path.suffix == ".py":
        return None
    found = following.stash.get(CHECK, None)
    if found is None or any(getattr(one, "fixturenames", None) for one in (item, following)):
        return None
    if not found.check.cases:  # it runs a machine of its own
        return None
    return None if any(following.get_closest_marker(name) for name in _SELECTING) else found


def register_words(config: pytest.Config, check: Check) -> None:
    """Register a check's tags and requirements as markers, which ``--strict-markers`` demands."""
    known: set[str] = config.stash.setdefault(_WORDS, {*AREAS, *LEVELS, *PHASES})
    for word in (*check.tags, *check.proves):
        if word not in known:
            known.add(word)
            config.addinivalue_line("markers", f"{word}: tag or requirement of checks (touchstone)")


def mark_item(item: pytest.Item, check: Check, skip: str | None) -> None:
    """Give an item the marks that ``-m`` and ``-k`` select by, and one to skip it if there is a reason."""
    for word in dict.fromkeys((check.area, check.level, check.phase, *check.tags, *check.proves)):
        item.add_marker(_mark(word))
    if skip is not None:
        item.add_marker(pytest.mark.skip(reason=skip))


@cache
def _mark(word: str) -> pytest.MarkDecorator:
    mark: pytest.MarkDecorator = getattr(pytest.mark, word)
    return mark


_WORDS = pytest.StashKey[set[str]]()
