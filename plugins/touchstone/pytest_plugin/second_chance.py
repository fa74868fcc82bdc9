"""A check that the lab has failed, or in which a guest hung or deviated, is judged once more.

The lab's target is switched off and on before that; a guest is followed by another one.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import NoReturn, TypeVar

from touchstone.engine.outcomes import Deviation, Hang, LabFailed, NotRepeated
from touchstone.engine.records import CheckOnTarget, CheckRecord
from touchstone.engine.session import TargetSession
from touchstone.engine.verdicts import excused_by
from touchstone.pytest_plugin.run import Run

T = TypeVar("T")


def with_second_chance(run: Run, one: CheckOnTarget, judge: Callable[[], T]) -> T:
    """Do something for a check, and once more if the lab fails, or a guest hangs or deviates."""
    try:
        return judge()
    except (LabFailed, Hang, Deviation) as error:
        return again(run, one, error, judge)


def again(run: Run, one: CheckOnTarget, error: LabFailed | Hang | Deviation, judge: Callable[[], T]) -> T:
    """Do it once more. Raises ``error`` if it is the target's own, or expected."""
    if isinstance(error, Hang | Deviation):
        _with_another_guest(run, one, error, judge)
    session = run.session(one.target)
    run.note_retry(one, str(error))
    session.try_again()
    try:
        return judge()
    except LabFailed as second:
        session.failed_twice(str(second))
        raise


def _with_another_guest(
    run: Run, one: CheckOnTarget, first: Hang | Deviation, judge: Callable[[], object]
) -> NoReturn:
    """NotRepeated if another guest is well, or hangs elsewhere; else what is wrong with that one.

    Under a guest are a kernel and a processor, often an emulated one, that other programs use as well. That
    it stops is held against the subject if the next one stops at the same place, and is not only slow; what
    an emulated processor measured, if it does so twice.
    """
    session, before = run.session(one.target), one.record
    if not _is_doubted(session, first) or (before is not None and excused_by(before) is not None):
        raise first
    did = "hung" if isinstance(first, Hang) else "deviated"
    run.note_retry(one, str(first))
    session.lose()  # a guest that hung when it was started counts: after the second, there is no third
    try:
        with session.waiting_in_full() if isinstance(first, Hang) else nullcontext():
            judge()
    except Hang as second:
        if isinstance(first, Deviation):
            raise NotRepeated(f"a guest deviated, and another one hung: {first}; {second}") from second
        if _begun(before) == _begun(one.record):
            raise Hang(f"{second}; the guest before it hung as well: {first}") from second
        raise NotRepeated(f"two guests hung, each at another place: {first}; {second}") from second
    finally:
        if one.record is not None and one.record is not before:
            one.record.follows(before)
    if isinstance(first, Deviation):
        one.record = before  # which has what was measured
    raise NotRepeated(f"a guest {did}, and another one did not, asked the same: {first}") from first


def _is_doubted(session: TargetSession, first: Hang | Deviation) -> bool:
    """Whether something else than the subject may have done it.

    An emulated processor may answer otherwise when its host interrupts it elsewhere; a real one does not.
    """
    return session.is_guest and (isinstance(first, Hang) or session.emulator is not None)


def _begun(record: CheckRecord | None) -> int:
    """How many probes of a check were begun. A guest hung in the last of them; at its start if none was."""
    return 0 if record is None else len(record.runs)
