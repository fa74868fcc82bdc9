"""Exits around a probe: how far each counter rose, and what of it is the agent's own doing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from touchstone.engine.ahead import Answers, results_in
from touchstone.engine.outcomes import Autopsied, Deviation, infrastructure
from touchstone.engine.records import CaseRun, ExitCounts
from touchstone.engine.session import TargetSession
from touchstone.machine.driver import AgentRefused, CountsOf, InfrastructureError, Question
from touchstone.machine.probe import ProbeRequest

OF_THE_AGENT = ("cr-access", "rdmsr", "wrmsr")
"""Counters of what the agent accesses around each probe to save the state of a CPU, and to restore it."""
NOTHING = b"\x90"
WRMSR = b"\x0f\x30"
NOTHING_AND_WRMSR = b"\xeb\x02" + WRMSR
"""Jumps over a WRMSR: for a probe that holds one, the agent reads EFER (targets/agent/PROTOCOL.md)."""


def questions(request: ProbeRequest, *, counting: bool) -> list[Question]:
    """What is asked for a case: its probe; ``counting``: between two readings of its CPUs' exit counters."""
    counts = [CountsOf(cpu) for cpu in request.cpus] if counting else []
    return [*counts, request, *counts]


def counts_in(answers: Answers, case: CaseRun) -> ExitCounts:
    """The subject's exit counters of a case's CPUs, which come next. Deviation if it does not tell them."""
    counts = {}
    for cpu in case.request.cpus:
        answer = next(answers)
        if isinstance(answer, AgentRefused):
            case.was_refused(answer)
            raise Deviation(f"its exits on CPU {cpu} cannot be read: {answer}")
        assert isinstance(answer, Mapping)
        counts[cpu] = answer
    return counts


def take_counted(answers: Answers, case: CaseRun) -> None:
    """Take what comes of a case's ``questions``, and count its exits. AgentRefused if its probe is."""
    before = counts_in(answers, case)
    outcome = results_in(next(answers))
    if not isinstance(outcome, AgentRefused):
        case.answered(outcome)
    after = counts_in(answers, case)
    if isinstance(outcome, AgentRefused):
        raise outcome
    case.counted(rise(before, after))


def rise(before: ExitCounts, after: ExitCounts) -> ExitCounts:
    """How much each counter has risen."""
    return {
        cpu: {name: count - before[cpu].get(name, 0) for name, count in counts.items()}
        for cpu, counts in after.items()
    }


def without_the_agents_own(session: TargetSession, case: CaseRun) -> ExitCounts:
    """The exits of a probe less those of a probe that does nothing from the same state.

    Where an access to CR3 exits, as it does on each processor without "true" VMX controls (SDM 3D A.3.2), so
    do those of the agent, and no check is about them.
    """
    if case.request.leave or case.request.undo:
        return case.exits  # another probe from the same state would not leave what this one has left
    code = NOTHING_AND_WRMSR if WRMSR in case.code else NOTHING
    nothing = CaseRun(case.label, code, replace(case.request, code=code, handlers={}))
    try:
        take_counted(session.ask_many(questions(nothing.request, counting=True)), nothing)
    except AgentRefused:
        return case.exits
    except Autopsied as error:
        raise error.finding(f"{error.autopsy.reason} (under a probe that does nothing)") from error
    except InfrastructureError as error:
        raise infrastructure(error) from error
    return {
        cpu: {
            name: max(count - nothing.exits[cpu].get(name, 0), 0) if name in OF_THE_AGENT else count
            for name, count in counts.items()
        }
        for cpu, counts in case.exits.items()
    }
