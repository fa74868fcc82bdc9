"""Exits around a probe: how far each counter rose, and what of it is the agent's own doing."""

from __future__ import annotations

from dataclasses import replace

from touchstone.engine.outcomes import Autopsied, Deviation, infrastructure
from touchstone.engine.records import CaseRun, ExitCounts
from touchstone.engine.session import TargetSession
from touchstone.machine.driver import AgentRefused, InfrastructureError

OF_THE_AGENT = ("cr-access", "rdmsr", "wrmsr")
"""Counters of what the agent accesses around each probe to save the state of a CPU, and to restore it."""
NOTHING = b"\x90"
WRMSR = b"\x0f\x30"
NOTHING_AND_WRMSR = b"\xeb\x02" + WRMSR
"""Jumps over a WRMSR: for a probe that holds one, the agent reads EFER (targets/agent/PROTOCOL.md)."""


def read_exits(session: TargetSession, case: CaseRun) -> ExitCounts:
    """The subject's exit counters. Deviation if it does not tell them."""
    counts = {}
    with session.asking() as driver:
        for cpu in case.request.cpus:
            try:
                counts[cpu] = driver.exits(cpu)
            except AgentRefused as error:
                case.was_refused(error)
                raise Deviation(f"its exits on CPU {cpu} cannot be read: {error}") from None
    return counts


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
    try:
        before = read_exits(session, case)
        session.run(replace(case.request, code=code, handlers={}))
        own = rise(before, read_exits(session, case))
    except AgentRefused:
        return case.exits
    except Autopsied as error:
        raise error.finding(f"{error.autopsy.reason} (under a probe that does nothing)") from error
    except InfrastructureError as error:
        raise infrastructure(error) from error
    return {
        cpu: {
            name: max(count - own[cpu].get(name, 0), 0) if name in OF_THE_AGENT else count
            for name, count in counts.items()
        }
        for cpu, counts in case.exits.items()
    }
