"""Workers on the target of a check: what skips the check, what fails it, and what is infrastructure."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from touchstone.engine.outcomes import Crash, Infrastructure, Unsupported
from touchstone.engine.work import Work, read_report
from touchstone.machine.driver import AgentRefused, InfrastructureError

FAILURE = "fpu on CPU 2, round 8: YMM3 has changed"


class Target:
    """A target whose workers fail from the given request on, until it is reset the given number of times."""

    def __init__(self, phase: str | None = "unloaded", fails_at: int = 99, heals: bool = False) -> None:
        self.name = "box"
        self.phase = phase
        self.fails_at = fails_at
        self.heals = heals
        self.refusal: AgentRefused | None = None
        self.asked: list[dict[str, str]] = []
        self.limits: list[float | None] = []

    def reset(self) -> None:
        self.asked.append({"do": "reset"})
        self.phase = "native"
        if self.heals:
            self.fails_at = 99

    def ask(self, pairs: Mapping[str, str], limit: float | None) -> Mapping[str, str]:
        self.asked.append(dict(pairs))
        self.limits.append(limit)
        if self.refusal is not None:
            raise self.refusal
        if pairs["do"] == "start":
            return {"workers": "4"}
        if len(self.asked) >= self.fails_at:
            return {"fpu": "7:1", "text": FAILURE}
        return {"fpu": "7:0"}

    def work(self, *kinds: str) -> Work:
        return Work(kinds, self.ask, self)  # type: ignore[arg-type]

    @property
    def words(self) -> str:
        return " ".join(one["do"] for one in self.asked)


def test_workers_run_until_the_end_of_with() -> None:
    target = Target()
    with target.work("fpu", "vdso") as work:
        assert work.workers == 4
        assert work.proceed(2).rounds == {"fpu": 7}
    assert target.asked[0] == {"do": "start", "kinds": "fpu,vdso"}
    assert target.asked[2] == {"do": "wait", "rounds": "2"}
    assert target.words == "start wait wait stop"
    assert target.limits[2] == 2 * target.limits[1]  # type: ignore[operator]


def test_without_kinds_all_are_started() -> None:
    target = Target()
    with target.work():
        pass
    assert target.asked[0]["kinds"] == "all"


@pytest.mark.parametrize("code", ["EOPNOTSUPP", "verb"])
def test_work_that_the_target_cannot_do_is_unsupported(code: str) -> None:
    target = Target()
    target.refusal = AgentRefused(code, "perf: no counter")
    with pytest.raises(Unsupported, match="box cannot do this work: perf: no counter"):
        target.work("perf").__enter__()


def test_any_other_refusal_is_raised() -> None:
    target = Target()
    target.refusal = AgentRefused("EBUSY", "there is work already")
    with pytest.raises(AgentRefused, match="EBUSY"):
        target.work("fpu").__enter__()


@pytest.mark.parametrize("fails_at", [3, 4])
def test_a_wrong_result_fails_the_check_in_proceed_or_at_the_end(fails_at: int) -> None:
    target = Target("unloaded", fails_at)
    with pytest.raises(AssertionError, match="YMM3 has changed"), target.work("fpu") as work:
        work.proceed()
    assert target.words == "start wait wait stop"


def test_a_worker_that_makes_no_round_fails_the_check() -> None:
    target = Target()
    work = target.work("fpu").__enter__()
    target.refusal = AgentRefused("ETIMEDOUT", "fpu on CPU 2 is in round 3 still")
    with pytest.raises(AssertionError, match="fpu on CPU 2 is in round 3 still"):
        work.proceed()


def test_work_that_fails_on_the_bare_machine_is_infrastructure() -> None:
    target = Target("native", 2)
    with pytest.raises(Infrastructure, match="bare machine already: fpu on CPU 2"):
        target.work("fpu").__enter__()
    assert target.words == "start wait stop"


def test_work_that_fails_after_unloading_is_tried_on_the_bare_machine() -> None:
    target = Target("unloaded", 2)
    with pytest.raises(Infrastructure, match="bare machine already"):
        target.work("fpu").__enter__()
    assert target.words == "start wait stop reset start wait stop"
    target = Target("unloaded", 2, heals=True)
    with pytest.raises(AssertionError, match="YMM3 has changed"):
        target.work("fpu").__enter__()
    assert target.words == "start wait stop reset start wait stop"


def test_stopping_after_a_failure_keeps_the_first_error() -> None:
    target = Target("unloaded", 4)
    with pytest.raises(ValueError, match="mine"), target.work("fpu"):
        raise ValueError("mine")
    assert target.words == "start wait stop"
    target = Target()
    work = target.work("fpu").__enter__()
    target.phase = None
    work.__exit__(Crash, Crash("it died"), None)
    assert target.words == "start wait", "a target that died is not asked any more"


@pytest.mark.parametrize("value", ["", "7", "7:", ":1", "7:x", "-1:0"])
def test_a_malformed_report_breaks_the_protocol(value: str) -> None:
    with pytest.raises(InfrastructureError, match="ROUNDS:FAILURES"):
        read_report({"fpu": value})
