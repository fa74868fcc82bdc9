"""From how a check ended to its verdict, with the target's known deviations taken into account."""

from __future__ import annotations

import datetime

from touchstone.config.waivers import Waiver
from touchstone.engine.outcomes import Autopsied, Finding, Improved, NotJudged, Unsupported
from touchstone.engine.records import CheckRecord
from touchstone.machine.driver import AgentRefused
from touchstone.words import Verdict

FAILURES = (Verdict.DEVIATION, Verdict.CRASH, Verdict.HANG, Verdict.IMPROVED)
ERRORS = (Verdict.BLOCKED, Verdict.INFRASTRUCTURE)
_WAIVABLE = (Verdict.DEVIATION, Verdict.CRASH, Verdict.HANG)


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


def excused_by(record: CheckRecord, today: datetime.date | None = None) -> Waiver | None:
    """The known deviation for which a check that did not hold is no failure; None: it is one.

    Where the bare machine was asked the same, its answer decides, and not what is expected of it.
    """
    of_machine = None if record.blame_measured else record.waiver
    for waiver in (record.own_waiver, of_machine):
        if waiver is not None and not waiver.expired(today or datetime.date.today()):
            return waiver
    return None


def with_waiver(record: CheckRecord, verdict: Verdict, today: datetime.date | None = None) -> Verdict:
    """The verdict of a check that did not hold, if a known deviation covers it."""
    if verdict not in _WAIVABLE or excused_by(record, today) is None:
        return verdict
    return Verdict.KNOWN_DEVIATION


def demand_no_waiver(record: CheckRecord) -> None:
    """Improved if a known deviation covers a check that holds, unless the bare machine still breaks it."""
    of_machine = None if record.blame_measured else record.waiver
    for waiver, file in ((record.own_waiver, "the subject's file"), (of_machine, "the inventory")):
        if waiver is not None:
            raise Improved(
                f"it holds now, and {waiver.where} says that it does not ({waiver.reason}): "
                f"take the known deviation out of {file}"
            )
