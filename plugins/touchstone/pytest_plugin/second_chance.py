"""A check that the lab has failed, or in which a guest has hung, is judged once more.

The lab's target is switched off and on before that; a guest is followed by another one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn, TypeVar

from touchstone.engine.outcomes import Hang, HungOnce, LabFailed
from touchstone.engine.records import CheckOnTarget, CheckRecord
from touchstone.engine.verdicts import excused_by
from touchstone.pytest_plugin.run import Run

T = TypeVar("T")


def with_second_chance(run: Run, one: CheckOnTarget, judge: Callable[[], T]) -> T:
    """Do something for a check, and once more if the lab fails or a guest hangs, and for nothing else."""
    try:
        return judge()
    except (LabFailed, Hang) as error:
        return again(run, one, error, judge)


def again(run: Run, one: CheckOnTarget, error: LabFailed | Hang, judge: Callable[[], T]) -> T:
    """Do it once more. Raises ``error`` if it is a hang that is the target's, or expected."""
    if isinstance(error, Hang):
        _with_another_guest(run, one, error, judge)
    session = run.session(one.target)
    run.note_retry(one, str(error))
    session.try_again()
    try:
        return judge()
    except LabFailed as second:
        session.failed_twice(str(second))
        raise


def _with_another_guest(run: Run, one: CheckOnTarget, hang: Hang, judge: Callable[[], object]) -> NoReturn:
    """HungOnce if another guest does not hang in the same probe; a deviation or crash of that one is raised.

    Under a guest are a kernel and a processor, often an emulated one, that other programs use as well. That
    it stops is held against the subject if the next one stops at the same place.
    """
    session, before = run.session(one.target), one.record
    if not session.is_guest or (before is not None and excused_by(before) is not None):
        raise hang
    run.note_retry(one, str(hang))
    session.lose()  # a guest that hung when it was started counts: after the second, there is no third
    try:
        judge()
    except Hang as second:
        if _begun(before) == _begun(one.record):
            raise Hang(f"{second}; the guest before it hung as well: {hang}") from second
        raise HungOnce(f"two guests hung, each at another place: {hang}; {second}") from second
    finally:
        if one.record is not None and one.record is not before:
            one.record.follows(before)
    raise HungOnce(f"a guest hung, and another one did not, asked the same: {hang}") from hang


def _begun(record: CheckRecord | None) -> int:
    """How many probes of a check were begun. A guest hung in the last of them; at its start if none was."""
    return 0 if record is None else len(record.runs)
