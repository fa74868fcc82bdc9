"""One check on one target: requirements, phase, probes, and the verdict on their answers."""

from __future__ import annotations

from touchstone.engine.ahead import Answers, Attempt, results_in
from touchstone.engine.blame import accused, holds_natively, natively
from touchstone.engine.counting import OF_THE_AGENT, questions, take_counted, without_the_agents_own
from touchstone.engine.oracle import Planned
from touchstone.engine.outcomes import (
    Autopsied,
    Crash,
    Deviation,
    Hang,
    Infrastructure,
    MachineDeviates,
    NoStatement,
    Unsupported,
    infrastructure,
)
from touchstone.engine.records import CaseRun, CheckOnTarget, CheckRecord, ExitCounts
from touchstone.engine.send_ahead import attempt, end_check, find_gone, ruled_out, unmet
from touchstone.engine.sequence import judge_sequence
from touchstone.engine.session import TargetSession
from touchstone.engine.standing import offsets_in_probe
from touchstone.engine.vacuous import vacuous
from touchstone.machine.driver import AgentRefused, InfrastructureError, TargetError
from touchstone.suite import judge
from touchstone.suite.bit_names import differing
from touchstone.suite.judgement import Demand
from touchstone.suite.model import Check
from touchstone.words import Phase

SHOWN_CPUS = 4
"""CPUs whose last exits are fetched as evidence."""
RECOUNTS = 20
"""How often exits are counted again on a running OS."""


def begin(session: TargetSession, check_on_target: CheckOnTarget) -> CheckRecord:
    """Start the record of a check and bring its target to the phase that it needs.

    Unsupported if what was measured on the way says that the check cannot be judged there. Raises what
    ``TargetSession.reach`` raises as well.
    """
    record = check_on_target.begin(session.subject)
    check = record.check
    first: Phase = "loaded" if session.known.as_found else "native"
    if session.phase is None and session.known.cpu is None:
        session.reach(first, record)
    record.is_covered_by(
        record.target.known_deviation(check.id, session.emulator, session.known.facts),
        session.subject.known_deviation(check.id, session.emulator, session.known.facts),
    )
    if reason := ruled_out(session, check):
        raise Unsupported(reason)
    if session.phase is None:  # it was lost; what is known of it has not changed
        session.reach(first, record)
    known_before = session.known.guest_measured
    # A Python check may load by itself, or leave a machine behind that is not as it was.
    session.reach(check.phase, record, oracles=not check.cases, prepared=check.prepared)
    if session.known.guest_measured != known_before and (reason := ruled_out(session, check)):
        raise Unsupported(reason)
    record.target_is(session.describe())
    return record


def judge_check(session: TargetSession, check_on_target: CheckOnTarget) -> None:
    """Judge a check of a suite. Returns if it holds; ``engine.verdicts`` tells what exceptions mean."""
    try:
        _judge_and_look(session, begin(session, check_on_target))
    except (Deviation, Crash, Hang, NoStatement) as error:
        record = check_on_target.record
        assert record is not None
        wrong = [run.case for run in record.runs if run.case and (run.differences or not run.results)]
        needs = [(*record.check.requires, *case.requires) for case in wrong] or [record.check.requires]
        session.hardware.test_without_os(one for each in needs for one in each)
        reasons = [session.known.ignores(one) for one in needs]
        if reasons[0] is not None and None not in reasons:
            raise Unsupported(f"{reasons[0]}; without it: {error}") from error
        raise


def _judge_and_look(session: TargetSession, record: CheckRecord) -> None:
    """Judge a check; a subject that is gone behind it has done more than the check is about."""
    try:
        _judge(session, record)
    except (Deviation, MachineDeviates, NoStatement) as error:
        try:
            gone = find_gone(session, record)
        except (Autopsied, TargetError):
            raise error from None  # the target is lost; the check is told what was measured before
        if gone is not None:
            raise Deviation(f"{gone}; before that: {error}") from error
        raise


def _judge(session: TargetSession, record: CheckRecord) -> None:
    check = record.check
    found = session.ahead.take(check.id) or attempt(session, check)
    if not found.planned:
        raise Unsupported(f"none of its cases applies to this target{_why_none(session, check)}")
    _judge_cases(session, record, found)
    _demand_machine_as_before(session)
    _demand_counters(record)
    wrong = [case for case in record.runs if case.differences]
    if wrong:
        cpus = dict.fromkeys(cpu for case in wrong for cpu in case.request.cpus)
        session.gather_evidence(record, list(cpus)[:SHOWN_CPUS], found.serial_position)
        lacking = "".join(f"; not judged: {text}" for text in _not_judged(found))
        _demand_somebody_accused(record, lacking)
        raise Deviation(summary(record) + lacking)
    if record.waiver is not None and not session.subject.absent and holds_natively(found.planned) is False:
        record.was_compared()  # it holds although the machine breaks it
    _demand_a_statement(record, found)
    end_check(session, record)
    if not found.possible:
        raise Unsupported(
            f"{session.target.name} has no such state to start from: {found.planned[0].refused}"
        )


def _why_none(session: TargetSession, check: Check) -> str:
    """Which requirement of the first case is not met."""
    reasons = [reason for case in check.cases if (reason := unmet(session, case.requires)) is not None]
    return f": {reasons[0]}" if reasons else ""


def _judge_cases(session: TargetSession, record: CheckRecord, found: Attempt) -> None:
    """Judge all cases that can be judged; their exits once more where other programs may have had them."""
    refused: list[str] = []
    counted: list[tuple[Planned, CaseRun]] = []
    for one in found.ready:
        if one.then:
            judge_sequence(session, record, one, lambda step: _judge_probe(session, record, step))
            continue
        try:
            case = _judge_case(session, record, one, found.answers, counting=found.counting)
        except AgentRefused as error:
            record.forget_run()
            who = "the agent" if session.known.ring0 else "an ordinary program"
            refused.append(f"{who} cannot run it: {error}")
            continue
        if found.counting:
            counted.append((one, case))
    for one, case in counted:  # not before: the target has been sent what follows a case
        _count_again(session, record, one, case)
    if refused and not record.runs:
        raise Unsupported(refused[0])


def _count_again(session: TargetSession, record: CheckRecord, one: Planned, case: CaseRun) -> None:
    """Take the agent's own exits out of those of a case, and run it again if others may have had the rest."""
    _without_the_agents_own(session, one, case)
    for _ in range(RECOUNTS):
        if not _may_be_exits_of_others(session, case):
            break
        answers = session.ask_many(questions(case.request, counting=True))
        case = _judge_case(session, record, one, answers, counting=True, instead_of=case)
        _without_the_agents_own(session, one, case)


def _judge_probe(session: TargetSession, record: CheckRecord, one: Planned) -> None:
    """Run one probe of a sequence, and judge it."""
    _judge_case(session, record, one, session.run_many([one.request(session.cpus)]))


def _demand_machine_as_before(session: TargetSession) -> None:
    """Infrastructure if a check of the native phase does not leave the bare machine as it was."""
    if session.phase != "native":
        return
    try:
        changes = session.bare.changes()
    except Autopsied as error:
        raise Infrastructure(f"the bare machine does not survive it: {error.autopsy.reason}") from error
    except InfrastructureError as error:
        raise infrastructure(error) from error
    if changes is not None:
        session.lose()
        raise Infrastructure(f"it does not leave the bare machine as it was: {changes}")


def _demand_counters(record: CheckRecord) -> None:
    """Unsupported if the subject has not all the exit counters that the check is about."""
    missing = {
        name
        for run in record.runs
        if run.case is not None and run.exits
        for name in run.case.expect.exits
        if not all(name in counts for counts in run.exits.values())
    }
    if missing:
        raise Unsupported(f"{record.subject.name} counts no exits as {', '.join(sorted(missing))}")


def _demand_somebody_accused(record: CheckRecord, lacking: str) -> None:
    """MachineDeviates if the bare machine breaks all that does not hold, and in the same way."""
    wrong = [case for case in record.runs if case.differences]
    if all(case.natively is not None for case in wrong):
        record.was_compared()
    if not any(case.accused for case in wrong):
        case, first = next((case, one) for case in wrong for one in case.differences)
        count = sum(len(case.differences) for case in wrong) - 1
        more = f" (and {count} more)" if count else ""
        raise MachineDeviates(f"{_named(case.label)}{first}, as on the bare machine{more}{lacking}")


def _not_judged(found: Attempt) -> list[str]:
    """The cases that cannot be judged, each with the reason."""
    return [f"{_named(one.case.label)}{one.lacks_oracle}" for one in found.lacking]


def _demand_a_statement(record: CheckRecord, found: Attempt) -> None:
    """NoStatement if a case could not be judged, or if the judgement of one says nothing."""
    wrong = _not_judged(found)
    wrong += [f"{_named(run.label)}vacuous: {run.vacuous}" for run in record.runs if run.vacuous is not None]
    if wrong:
        others = len(wrong) - 1
        more = f" (and {others} more case{'s' * (others > 1)})" if others else ""
        raise NoStatement(wrong[0] + more)


def _named(label: str) -> str:
    return f"{label}: " if label else ""


def _judge_case(
    session: TargetSession,
    record: CheckRecord,
    one: Planned,
    answers: Answers,
    *,
    counting: bool = False,
    instead_of: CaseRun | None = None,
) -> CaseRun:
    """Take the answers to the ``questions`` of one case, and judge it.

    A target that did not survive ends the check. AgentRefused on a machine that is judged as it is found:
    there it says what a program cannot do, and nothing of the subject.
    """
    request = one.request(session.cpus)
    run = CaseRun(one.case.label, one.code.data, request, one.case, one.answers)
    case = record.begin_run(run, instead_of)
    native = session.phase == "native"
    try:
        if counting:
            take_counted(answers, case)
        else:
            outcome = results_in(next(answers))
            if isinstance(outcome, AgentRefused):
                raise outcome
            case.answered(outcome)
    except AgentRefused as error:
        if session.known.as_found:
            raise
        case.was_refused(error)
        raise Deviation(
            f"the start state can be had on the bare machine, and not now: {error}"
            if one.answers is not None
            else f"the agent refused the probe: {error}"
        ) from None
    except Autopsied as error:
        case.not_survived(error.finding.verdict, offsets_in_probe(error.autopsy, session.info, request))
        record.target_failed(error.autopsy)
        where = f" ({one.case.label})" if one.case.label else ""
        if not session.subject.absent and one.comparable and (one.death is not None or native):
            raise MachineDeviates(f"{error.autopsy.reason}{where}: {_no_survivor(one, error)}") from error
        raise error.finding(f"{error.autopsy.reason}{where}") from error
    except InfrastructureError as error:
        raise infrastructure(error) from error
    finally:
        case.is_over()
    _compare(session, one, case, case.exits if counting else None)
    return case


def _without_the_agents_own(session: TargetSession, one: Planned, case: CaseRun) -> None:
    """Judge a case again without the exits that the agent has caused, if it has too many of such."""
    if any(row.demand is Demand.EXITS and row.what.endswith(OF_THE_AGENT) for row in case.differences):
        case.counted(without_the_agents_own(session, case))
        _compare(session, one, case, case.exits)


def _compare(session: TargetSession, one: Planned, case: CaseRun, counted: ExitCounts | None) -> None:
    """Compare what was measured with what the case expects, and with what the bare machine makes of it."""
    case.was_judged(
        judge.judge(one.case, one.code, case.results, case.oracle, counted, session.subject.claims),
        vacuous(one.case, one.code, case.results),
    )
    if case.differences and not session.subject.absent:
        native = session.phase == "native"
        found = case.judgement if native else natively(one)
        if found is not None and one.comparable:
            case.was_compared(found, [] if native else accused(case, found))


def _no_survivor(one: Planned, error: Autopsied) -> str:
    """What the bare machine made of a case that the target did not survive.

    The same end may look otherwise under a hypervisor: QEMU hangs at a reserved bit of CR4, and under one it
    refuses the next VM entry, which the hypervisor then reports. So both are told, and nobody is accused.
    """
    text = "the bare machine does not survive it"
    if one.death is None:  # it was asked now
        return text
    same = one.death == error.autopsy.reason
    return f"{text} either" + (", in the same way" if same else f", in another way: {one.death}")


def _may_be_exits_of_others(session: TargetSession, case: CaseRun) -> bool:
    """Whether all that is wrong are exits, which on a running OS other programs have as well.

    Every program executes CPUID when it starts, and a counter does not tell whose exits it counts.
    """
    wrong = case.differences
    running = session.info is not None and session.info.os != "bare"
    return running and bool(wrong) and all(one.demand is Demand.EXITS for one in wrong)


def summary(record: CheckRecord) -> str:
    """The first difference that the subject is accused of, and how many there are."""
    found = [(case, one) for case in record.runs for one in case.accused]
    case, first = found[0]
    bits = case.case and differing(case.case, first.what, first.expected, first.measured)
    named = f" ({bits})" if bits else ""
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return f"{_named(case.label)}{first}{named}{more}"
