"""Whose fault it is that a case does not hold: the bare machine is asked the same, and may break it too."""

from __future__ import annotations

from collections.abc import Sequence

from touchstone.engine.oracle import Planned
from touchstone.engine.records import CaseRun
from touchstone.suite import judge, show
from touchstone.suite.judgement import Difference, Judgement


def natively(one: Planned) -> Judgement | None:
    """What the bare machine makes of a case; None: it was not held to it, or its answer does not count."""
    if not one.comparable or not one.answers:
        return None
    return judge.judge(one.case, one.code, one.answers, one.answers)


def holds_natively(cases: Sequence[Planned]) -> bool | None:
    """Whether the bare machine holds all of these cases; None: that was not measured."""
    if any(one.comparable and one.death is not None for one in cases):
        return False
    judgements = [natively(probe) for one in cases if one.refused is None for probe in one.probes]
    if any(found is not None and not found.ok for found in judgements):
        return False
    return None if None in judgements else True


def accused(run: CaseRun, found: Judgement) -> Sequence[Difference]:
    """The differences of a case that the bare machine, as it was ``found``, does not show in the same way."""
    shared = {_key(one) for one in found.differences}
    return [one for one in run.differences if _key(one) not in shared]


def _key(one: Difference) -> tuple[int, str, str]:
    """What was measured where, without addresses that are others after a reset."""
    return one.cpu, one.what, show.without_slot(one.measured)
