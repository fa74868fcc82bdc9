"""From how a check ended to its verdict, with the target's known deviations taken into account."""

from __future__ import annotations

import datetime

from touchstone.config.inventory import Waiver
from touchstone.engine.outcomes import Autopsied, Finding, Improved, NotJudged, Unsupported
from touchstone.machine.driver import AgentRefused
from touchstone.words import Verdict

FAILURES = (Verdict.DEVIATION, Verdict.CRASH, Verdict.HANG, Verdict.IMPROVED)
ERRORS = (Verdict.BLOCKED, Verdict.INFRASTRUCTURE)
_WAIVABLE = (Verdict.CONFORMANT, Verdict.DEVIATION, Verdict.CRASH, Verdict.HANG)


def verdict_of(error: BaseException | None) -> Verdict:
    """The verdict that an exception stands for, before waivers; None is a check that holds."""
    match error:
        case None:
            return Verdict.CONFORMANT
        case Finding() | NotJudged() | Unsupported():
            return error.verdict
        case Autopsied():
            return error.finding.verdict
        case AssertionError() | AgentRefused():
            return Verdict.DEVIATION
    return Verdict.INFRASTRUCTURE  # a mistake in the check itself says nothing about the subject


def with_waiver(waiver: Waiver | None, verdict: Verdict, today: datetime.date | None = None) -> Verdict:
    """The verdict of a check that a known deviation of the inventory covers."""
    if waiver is None or verdict not in _WAIVABLE:
        return verdict
    if verdict is Verdict.CONFORMANT:
        return Verdict.IMPROVED
    return verdict if waiver.expired(today or datetime.date.today()) else Verdict.KNOWN_DEVIATION


def demand_no_waiver(waiver: Waiver | None) -> None:
    """Improved if a known deviation covers a check that holds."""
    if waiver is not None:
        raise Improved(
            f"it holds now, and {waiver.where} says that it does not ({waiver.reason}): "
            "take the known deviation out of the inventory"
        )
