"""From how an item ended to its verdict, with the target's waivers taken into account."""

from __future__ import annotations

import datetime

import pytest

from touchstone.engine.outcomes import Finding, Improved, NotJudged
from touchstone.engine.records import CheckRecord
from touchstone.engine.session import Autopsied
from touchstone.machine.driver import AgentRefused
from touchstone.words import Verdict

FAILURES = (Verdict.DEVIATION, Verdict.CRASH, Verdict.HANG, Verdict.IMPROVED)
ERRORS = (Verdict.BLOCKED, Verdict.INFRASTRUCTURE)


def verdict_of(error: BaseException | None) -> Verdict:
    """The verdict that an exception stands for, before waivers; None is a check that holds."""
    match error:
        case None:
            return Verdict.CONFORMANT
        case Finding() | NotJudged():
            return error.verdict
        case Autopsied():
            return error.finding.verdict
        case pytest.skip.Exception():
            return Verdict.UNSUPPORTED
        case AssertionError() | pytest.fail.Exception() | AgentRefused():
            return Verdict.DEVIATION
    return Verdict.INFRASTRUCTURE  # a mistake in the check itself says nothing about the subject


def apply_waiver(record: CheckRecord, verdict: Verdict, today: datetime.date | None = None) -> Verdict:
    """The verdict with the inventory's known deviations taken into account, and why, in the record."""
    waiver = record.waiver
    if waiver is None or verdict not in (Verdict.CONFORMANT, Verdict.DEVIATION, Verdict.CRASH, Verdict.HANG):
        return verdict
    if verdict is Verdict.CONFORMANT:
        return Verdict.IMPROVED
    if waiver.expired(today or datetime.date.today()):
        return verdict
    record.reason = str(waiver)
    return Verdict.KNOWN_DEVIATION


def improved(record: CheckRecord) -> Improved:
    """What a check raises that holds although it is known not to."""
    waiver = record.waiver
    assert waiver is not None
    return Improved(
        f"it holds now, and {waiver.where} says that it does not ({waiver.reason}): "
        "take the known deviation out of the inventory"
    )
