"""A check that the lab has failed is judged once more, after its target was switched off and on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from touchstone.engine.outcomes import LabFailed
from touchstone.engine.records import CheckOnTarget
from touchstone.pytest_plugin.run import Run

T = TypeVar("T")


def with_second_chance(run: Run, one: CheckOnTarget, judge: Callable[[], T]) -> T:
    """Do something for a check, and once more if the lab fails; nothing else is tried again."""
    try:
        return judge()
    except LabFailed as error:
        return again(run, one, error, judge)


def again(run: Run, one: CheckOnTarget, error: LabFailed, judge: Callable[[], T]) -> T:
    """Do it once more, with a target that is switched off and on first."""
    session = run.session(one.target)
    run.note_retry(one, str(error))
    session.try_again()
    try:
        return judge()
    except LabFailed as second:
        session.failed_twice(str(second))
        raise
