"""One check on one target: requirements, phase, probes, and what is made of their answers."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import pytest

from touchstone.engine.oracle import Planned
from touchstone.engine.outcomes import Deviation, Infrastructure
from touchstone.engine.records import CaseRun, CheckOnTarget, CheckRecord
from touchstone.engine.send_ahead import attempt, no_oracle, ruled_out, send_ahead
from touchstone.engine.session import Autopsied, TargetSession
from touchstone.machine.driver import AgentRefused, InfrastructureError
from touchstone.machine.probe import ProbeResult
from touchstone.suite import judge

if TYPE_CHECKING:
    from touchstone.pytest_plugin.run import Run

SHOWN_CPUS = 4
"""CPUs whose last exits are fetched as evidence."""
RECOUNTS = 20
"""How often exits are counted again on a running OS."""


def begin(run: Run, place: CheckOnTarget) -> CheckRecord:
    """A new record of a check; a check that is run again gets another one."""
    place.record = CheckRecord(place.check, place.target, run.subject)
    return place.record


def enter(session: TargetSession, record: CheckRecord) -> None:
    """Reach the phase that a check needs, or skip it because of what was measured on the way."""
    check = record.check
    if session.phase is None:
        session.reach("native", record)
    record.waiver = record.target.known_deviation(check.id, session.emulator)
    if reason := ruled_out(session, check):
        raise pytest.skip.Exception(reason)
    # A Python check may load by itself, or leave a machine behind that is not as it was.
    session.reach(check.phase, record, oracles=not check.cases)
    record.description = session.describe()


def judge_check(run: Run, place: CheckOnTarget) -> None:
    """Judge a check of a suite. Returns if it holds; ``engine.verdicts`` tells what exceptions mean."""
    record = begin(run, place)
    session = run.session(place.target)
    enter(session, record)
    found = session.take_ahead(place.check.id) or attempt(run, session, place)
    if not found.planned:
        raise pytest.skip.Exception("none of its cases applies to this target")
    for one in found.ready:
        _judge_case(session, record, one, found.outcomes)
        for _ in range(RECOUNTS):
            if found.outcomes is not None or not _may_be_others(session, record.runs[-1]):
                break
            record.runs.pop()
            _judge_case(session, record, one, None)
    if len(found.ready) < len(found.possible):
        raise Infrastructure(no_oracle(found.possible[len(found.ready)]))
    wrong = [case for case in record.runs if case.differences]
    if wrong:
        cpus = dict.fromkeys(cpu for case in wrong for cpu in case.request.cpus)
        session.evidence(record, list(cpus)[:SHOWN_CPUS], found.mark)
        raise Deviation(summary(record))
    send_ahead(run, session, run.following)
    if not found.possible:
        raise pytest.skip.Exception(
            f"{session.target.name} has no such state to start from: {found.planned[0].refused}"
        )


def _judge_case(
    session: TargetSession,
    record: CheckRecord,
    one: Planned,
    outcomes: Iterator[list[ProbeResult] | AgentRefused] | None,
) -> None:
    """Take the outcome of one case, or run it between two readings of the exit counters, and judge it.

    A target that did not survive ends the check.
    """
    request = one.request(session.cpus)
    case = CaseRun(one.case.label, one.code.data, request, one.case, oracle=one.answers, start=time.time())
    record.runs.append(case)
    before: Mapping[int, Mapping[str, int]] = {}
    after: Mapping[int, Mapping[str, int]] = {}
    try:
        if outcomes is None:
            before = _exits(session, request.cpus)
            case.results = session.run(request)
            after = _exits(session, request.cpus)
        else:
            outcome = next(outcomes)
            if isinstance(outcome, AgentRefused):
                raise outcome
            case.results = outcome
    except AgentRefused as error:
        case.refused = str(error)
        raise Deviation(
            f"the start state can be had on the bare machine, and not now: {error}"
            if one.needed
            else f"the agent refused the probe: {error}"
        ) from None
    except Autopsied as error:
        case.ended = error.finding.verdict.value
        record.autopsy = error.autopsy
        raise error.finding(f"{error.autopsy.reason}{_where(one)}") from error
    except InfrastructureError as error:
        raise Infrastructure(str(error)) from error
    finally:
        case.stop = time.time()
    case.exits = {
        cpu: {name: count - before[cpu].get(name, 0) for name, count in counts.items()}
        for cpu, counts in after.items()
    }
    case.judgement = judge.judge(
        one.case,
        one.code,
        case.results,
        case.oracle,
        None if outcomes is not None else case.exits,
        session.subject.claims,
    )


def _may_be_others(session: TargetSession, case: CaseRun) -> bool:
    """Whether all that is wrong are exits, which on a running OS other programs have as well.

    Every program executes CPUID when it starts, and a counter does not tell whose exits it counts.
    """
    wrong = case.differences
    running = session.info is not None and session.info.os != "bare"
    return running and bool(wrong) and all(one.what.startswith("exits.") for one in wrong)


def _exits(session: TargetSession, cpus: Sequence[int]) -> Mapping[int, Mapping[str, int]]:
    """The subject's exit counters."""
    with session.watched():
        return {cpu: session.driver.exits(cpu) for cpu in cpus}


def _where(one: Planned) -> str:
    return f" ({one.case.label})" if one.case.label else ""


def summary(record: CheckRecord) -> str:
    """The first difference, and how many there are."""
    found = [(case, one) for case in record.runs for one in case.differences]
    case, first = found[0]
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    where = f"{case.label}: " if case.label else ""
    return f"{where}{first}{more}"
