"""What an item carries: its check, its target, and the record of how it went."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import pytest

from touchstone.inventory import Target
from touchstone.outcomes import CheckRecord
from touchstone.plugin import LEVELS
from touchstone.suite.model import AREAS, PHASES, Check


@dataclass
class CheckOnTarget:
    """One check on one target."""

    check: Check
    target: Target
    record: CheckRecord | None = None
    """None until it begins; stays None for one that is skipped at collection."""


CHECK = pytest.StashKey[CheckOnTarget]()
"""In the stash of every item that is a check, YAML or Python."""


def register_words(config: pytest.Config, check: Check) -> None:
    """Register a check's tags and requirements as markers, which ``--strict-markers`` demands."""
    known = config.stash.setdefault(_WORDS, {*AREAS, *LEVELS, *PHASES})
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
