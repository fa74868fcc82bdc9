"""A check that the lab has failed, or in which a guest hung or deviated, is judged again.

The lab's target is switched off and on before that; a guest is followed by others.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import TypeVar

from touchstone.engine.outcomes import Deviation, Hang, LabFailed, NotRepeated
from touchstone.engine.records import CheckOnTarget, CheckRecord
from touchstone.engine.session import TargetSession
from touchstone.engine.verdicts import excused_by
from touchstone.pytest_plugin.run import Run

T = TypeVar("T")

OTHERS = 3
"""Guests behind the first that a check is judged with at most, on an emulated processor."""
HOLD = 2
"""So many of them must hold all that the check demands."""


def with_second_chance(run: Run, one: CheckOnTarget, judge: Callable[[], T]) -> T:
    """Do something for a check, and again if the lab fails, or a guest hangs or deviates."""
    try:
        return judge()
    except (LabFailed, Hang, Deviation) as error:
        return again(run, one, error, judge)


def again(run: Run, one: CheckOnTarget, error: LabFailed | Hang | Deviation, judge: Callable[[], T]) -> T:
    """Do it again. Raises ``error`` if it is the target's own, or expected."""
    if isinstance(error, Hang | Deviation):
        return _with_other_guests(run, one, error, judge)
    session = run.session(one.target)
    run.note_retry(one, str(error))
    session.try_again()
    try:
        return judge()
    except LabFailed as second:
        session.failed_twice(str(second))
        raise


def _with_other_guests(run: Run, one: CheckOnTarget, first: Hang | Deviation, judge: Callable[[], T]) -> T:
    """Judge the check with others, until two of them agree; NotRepeated if no two do.

    Under a guest are a kernel and a processor, often an emulated one, that other programs use as well. That
    it stops is held against the subject if another one stops at the same place, and is not only slow; what
    an emulated processor measured, if it does so twice.
    """
    session, before = run.session(one.target), one.record
    if not _is_doubted(session, first) or (before is not None and excused_by(before) is not None):
        raise first
    wrong: list[tuple[Hang | Deviation, int]] = [(first, _begun(before))]
    held, why = 0, str(first)
    for _ in range(_others(session)):
        run.note_retry(one, why)
        session.lose()  # a guest that hung when it was started counts: after the second, there is no third
        hung = any(isinstance(error, Hang) for error, _ in wrong)
        try:
            with session.waiting_in_full() if hung else nullcontext():
                judged = judge()
        except (Hang, Deviation) as error:
            if isinstance(error, Deviation) and _counts(error, wrong, held):
                raise
            if isinstance(error, Hang) and (same := _hung_there(_begun(one.record), wrong)) is not None:
                raise Hang(f"{error}; the guest before it hung as well: {same}") from error
            wrong.append((error, _begun(one.record)))
            why = str(error)
        else:
            held += 1
            if held == HOLD:
                return judged
            why = _disagreement(wrong)
        finally:
            if one.record is not None and one.record is not before:
                one.record.follows(before)
    if isinstance(first, Deviation):
        one.record = before  # which has what was measured
    raise NotRepeated(_disagreement(wrong)) from first


def _counts(error: Deviation, wrong: list[tuple[Hang | Deviation, int]], held: int) -> bool:
    """Whether it is a second one, or nothing says that it comes and goes."""
    return not held or any(isinstance(before, Deviation) for before, _ in wrong)


def _hung_there(begun: int, wrong: list[tuple[Hang | Deviation, int]]) -> Hang | None:
    """The guest that hung at this place before."""
    return next((error for error, at in wrong if isinstance(error, Hang) and at == begun), None)


def _disagreement(wrong: list[tuple[Hang | Deviation, int]]) -> str:
    if len(wrong) > 1:
        said = "; ".join(str(error) for error, _ in wrong)
        return f"{len(wrong)} guests hung or deviated, each in another case: {said}"
    did = "hung" if isinstance(wrong[0][0], Hang) else "deviated"
    return f"a guest {did}, and another one did not, asked the same: {wrong[0][0]}"


def _others(session: TargetSession) -> int:
    """How many guests a check is judged with behind the first.

    What an emulated processor does wrong now and then, it does to many checks of a run, one after the other.
    """
    return OTHERS if session.emulator is not None else 1


def _is_doubted(session: TargetSession, first: Hang | Deviation) -> bool:
    """Whether something else than the subject may have done it.

    An emulated processor may answer otherwise when its host interrupts it elsewhere; a real one does not.
    """
    return session.is_guest and (isinstance(first, Hang) or session.emulator is not None)


def _begun(record: CheckRecord | None) -> int:
    """How many probes of a check were begun. A guest hung in the last of them; at its start if none was."""
    return 0 if record is None else len(record.runs)
