"""Which phases are given up, and what a session makes of a step that goes wrong."""

from __future__ import annotations

import pytest

from tests.support.sessions import FakeMachine, check, session_on
from touchstone.engine.outcomes import Autopsied, Blocked, Crash, Infrastructure, Unavailable
from touchstone.engine.phases import Party, Step
from touchstone.engine.records import CheckRecord
from touchstone.engine.setbacks import STRIKES, Setbacks
from touchstone.machine.driver import AgentRefused, Autopsy, InfrastructureError, TargetDied


def test_a_phase_is_given_up_after_some_failures_in_a_row() -> None:
    setbacks = Setbacks("box")
    for _ in range(STRIKES - 1):
        setbacks.add("loaded", "it died")
    setbacks.reached("loaded")
    for _ in range(STRIKES - 1):
        setbacks.add("loaded", "it died")
    setbacks.demand("loaded")
    setbacks.add("loaded", "it died again")
    with pytest.raises(Blocked, match="it died again"):
        setbacks.demand("loaded")


def test_a_phase_that_is_given_up_blocks_those_behind_it_only() -> None:
    setbacks = Setbacks("box")
    setbacks.give_up("loaded", "it refused")
    setbacks.demand("native")
    with pytest.raises(Blocked, match="it refused"):
        setbacks.demand("unloaded")


def test_a_state_that_cannot_be_prepared_blocks_nothing_else() -> None:
    setbacks = Setbacks("box")
    setbacks.give_up("a state", "it died")
    setbacks.demand("unloaded")
    setbacks.demand("loaded", "another state")
    with pytest.raises(Blocked, match="it died"):
        setbacks.demand("loaded", "a state")


def test_a_step_is_called_by_its_text() -> None:
    step = Step("loading Veneer on box", Party.SUBJECT, lambda: None)
    assert f"{step} was refused" == "loading Veneer on box was refused"


def test_a_death_while_the_cpuid_is_read_is_never_the_subjects_crash() -> None:
    """Not even if the subject's title is a part of the target's name, and so of the step's text."""
    machine = FakeMachine(fails={"cpuid": TargetDied("it stopped")})
    session = session_on(machine, target="box-amd", title="box")
    record = CheckRecord(check(), session.target, session.subject)
    with pytest.raises(Infrastructure, match="reading the CPUID of box-amd: it stopped"):
        session.reach("loaded", record)
    assert session.phase is None
    assert record.autopsy == Autopsy("triple fault")


def test_a_death_while_loading_is_the_subjects_crash() -> None:
    session = session_on(FakeMachine(fails={"load": TargetDied("it stopped")}))
    record = CheckRecord(check(), session.target, session.subject)
    with pytest.raises(Crash, match="did not survive loading Veneer on box: triple fault"):
        session.reach("loaded", record)
    assert record.autopsy == Autopsy("triple fault")


def test_a_refusal_to_load_leaves_the_target_where_it_is() -> None:
    session = session_on(FakeMachine(fails={"load": AgentRefused("EPERM", "locked")}))
    with pytest.raises(Blocked, match="loading Veneer on box was refused: EPERM: locked"):
        session.reach("loaded")
    assert session.phase == "native"
    with pytest.raises(Blocked):
        session.reach("loaded")


def test_a_target_that_does_not_start_is_given_up_at_once() -> None:
    machine = FakeMachine(fails={"start": InfrastructureError("no power")})
    session = session_on(machine)
    with pytest.raises(Infrastructure, match="starting box: no power"):
        session.reach("native")
    with pytest.raises(Blocked, match="starting box: no power"):
        session.reach("native")
    assert machine.calls == ["start"]


def test_a_host_that_cannot_run_the_target_is_asked_once() -> None:
    asked = []

    def make() -> FakeMachine:
        asked.append(1)
        raise Unavailable("no nested KVM")

    session = session_on(make=make)
    for _ in range(2):
        with pytest.raises(Unavailable, match="no nested KVM"):
            session.reach("native")
    assert len(asked) == 1


def test_a_record_gets_the_end_of_its_check() -> None:
    """Without a record, whoever asks decides whose doing it is."""
    machine = FakeMachine()
    session = session_on(machine)
    session.reach("loaded")
    machine.fails["query"] = TargetDied("it stopped")
    with pytest.raises(Autopsied), session.asking() as driver:
        driver.query()
    session.reach("loaded")
    machine.fails["query"] = InfrastructureError("the link broke")
    record = CheckRecord(check(), session.target, session.subject)
    with pytest.raises(Infrastructure, match="the link broke"), session.asking(record) as driver:
        driver.query()
    assert session.phase is None
