"""A case with steps: its bodies, and what loads and unloads the subject between them."""

from __future__ import annotations

from collections.abc import Callable

from touchstone.engine.oracle import Planned
from touchstone.engine.outcomes import Autopsied, Deviation, infrastructure
from touchstone.engine.records import CheckRecord
from touchstone.engine.session import TargetSession
from touchstone.machine.driver import AgentRefused, InfrastructureError, TargetError
from touchstone.suite.model import Transition


def judge_sequence(
    session: TargetSession, record: CheckRecord, one: Planned, judge_probe: Callable[[Planned], object]
) -> None:
    """Take a target through the steps of a case, and judge each body with ``judge_probe``.

    What the bodies have left on the CPUs is undone in any case; the target is lost if that cannot be done.
    """
    session.reach(record.check.phase, record)
    session.keep_what_is_left()
    try:
        for step in (one, *one.then):
            if isinstance(step, Planned):
                judge_probe(step)
            else:
                _change(session, record, step)
    except BaseException:
        _undo_if_alive(session)
        raise
    try:
        session.undo()
    except Autopsied as error:
        record.target_failed(error.autopsy)
        raise error.finding(f"{error.autopsy.reason} (when what the check left was undone)") from error
    except TargetError as error:
        session.lose()
        raise infrastructure(error, f"what the check left was not undone: {error}") from error


def _change(session: TargetSession, record: CheckRecord, transition: Transition) -> None:
    name = record.target.name
    try:
        session.change(transition)
    except AgentRefused as error:
        raise Deviation(f"{transition}ing {session.subject.title} on {name} was refused: {error}") from None
    except Autopsied as error:
        record.target_failed(error.autopsy)
        reason = error.autopsy.reason
        raise error.finding(
            f"{name} did not survive {transition}ing {session.subject.title}: {reason}"
        ) from error
    except InfrastructureError as error:
        raise infrastructure(error) from error


def _undo_if_alive(session: TargetSession) -> None:
    if session.phase is None:
        return
    try:
        session.undo()
    except (Autopsied, TargetError):
        session.lose()
