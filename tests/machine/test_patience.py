"""A silent target is waited for until it is plain that no answer will come, and never because it is slow."""

from __future__ import annotations

import pytest

from tests.support.agent_clients import CPUID, OutOfTime, done
from touchstone.machine.agent import AgentClient
from touchstone.machine.driver import TargetHung
from touchstone.machine.patience import COMPUTED, INTERVAL, LEAST, TIMES, Look, Patience, Thread
from touchstone.machine.serial_log import SerialLog

WHOLE, FACTOR = 100.0, 20.0
SHORT = WHOLE / FACTOR
STEP = WHOLE * INTERVAL
CPUS = 2
IDLE, BUSY = (
    "none of its threads runs, or is ready to",
    "it computes, for 10 times as long as before any answer",
)


class Machine:
    """Two threads under a clock of our own, on which no time passes but what is said here."""

    def __init__(self) -> None:
        self.now = 0.0
        self.took = 0.1
        """Seconds that a look takes."""
        self.pace = 1.0
        """Seconds of its own clock in one of ours."""
        self.load = [0.0, 0.0]
        """How much of a CPU each thread has."""
        self.ready = [False, False]
        self.wakes = 0
        """How often the first thread is given a CPU between two looks."""
        self.tells = True
        self.looks = 0
        self._seconds = [0.0, 0.0]
        self._turns = 1
        self.patience = Patience(self.look, CPUS, FACTOR, lambda: self.now)

    def wait(self, seconds: float) -> None:
        self.now += seconds
        for number, load in enumerate(self.load):
            self._seconds[number] += load * seconds * self.pace

    def look(self, limit: float) -> Look | None:
        self.looks += 1
        self.wait(min(limit, self.took))
        if not self.tells or self.took > limit:
            return None
        self._turns += self.wakes
        threads = {
            str(number): Thread(seconds, self._turns if number == 0 else 1, waits=not ready)
            for number, (seconds, ready) in enumerate(zip(self._seconds, self.ready, strict=True))
        }
        return Look(self.now * self.pace, threads, self.took)

    def spin(self) -> None:
        self.load[0], self.ready[0] = 1.0, True

    def answers(self, after: float, request: str = "run") -> None:
        silence = self.patience.begin(request, self.now + WHOLE)
        self.wait(after)
        silence.ended()

    def is_silent(self, request: str = "run") -> tuple[float, str]:
        """How long it is waited for, and why no longer; nothing if its time is over."""
        began = self.now
        silence = self.patience.begin(request, began + WHOLE)
        why = ""
        while not why and silence.next_look < began + WHOLE:
            self.wait(silence.next_look - self.now)
            why = silence.look()
        return (self.now - began if why else WHOLE), why


@pytest.fixture
def machine() -> Machine:
    made = Machine()
    made.patience.measure_pace(WHOLE)
    return made


def test_target_that_only_waits_has_the_time_of_a_fast_machine(machine: Machine) -> None:
    waited, why = machine.is_silent()
    assert why == IDLE
    assert STEP + SHORT <= waited <= STEP + SHORT + STEP


def test_timers_of_a_slow_machine_are_waited_for_by_its_own_clock(machine: Machine) -> None:
    machine.pace = 0.125
    waited, why = machine.is_silent()
    assert why == IDLE
    assert waited >= SHORT / 0.125


def test_thread_that_wants_a_cpu_and_gets_none_is_waited_for(machine: Machine) -> None:
    machine.ready[1] = True
    assert machine.is_silent() == (WHOLE, "")


def test_thread_that_runs_now_and_then_is_waited_for(machine: Machine) -> None:
    machine.answers(0.1)
    machine.wakes = 1
    assert machine.is_silent() == (WHOLE, "")


def test_time_of_idleness_begins_with_the_last_thread_that_ran(machine: Machine) -> None:
    silence = machine.patience.begin("run", machine.now + WHOLE)
    for wakes, why in ((0, ""), (1, ""), (0, IDLE)):
        machine.wakes = wakes
        machine.wait(SHORT)
        assert silence.look() == why


@pytest.mark.parametrize(("slowest", "waited"), [(0.02, WHOLE * LEAST), (2.5, 2.5 * TIMES)])
def test_target_that_computes_has_many_times_its_slowest_answer(
    machine: Machine, slowest: float, waited: float
) -> None:
    machine.answers(slowest)
    machine.answers(0.01)
    machine.spin()
    found, why = machine.is_silent()
    assert why == BUSY
    assert waited <= found <= waited + 2 * STEP


def test_target_that_computes_what_it_never_did_has_its_whole_time(machine: Machine) -> None:
    machine.answers(0.02, "hello")
    machine.spin()
    assert machine.is_silent() == (WHOLE, "")


def test_target_of_which_an_answer_took_long_has_its_whole_time(machine: Machine) -> None:
    machine.answers(WHOLE / TIMES)
    machine.spin()
    assert machine.is_silent() == (WHOLE, "")


def test_machine_that_has_become_slow_gives_as_much_more_time(machine: Machine) -> None:
    machine.answers(0.02)
    machine.spin()
    machine.took *= (1 + CPUS) * 4
    found, why = machine.is_silent()
    assert why == BUSY
    assert found >= 4 * WHOLE * LEAST


def test_one_look_that_takes_long_is_no_slow_machine(machine: Machine) -> None:
    machine.answers(0.02)
    machine.spin()
    silence = machine.patience.begin("run", machine.now + WHOLE)
    usual = machine.took
    for took, why in ((100 * usual, ""), (usual, BUSY)):
        machine.took = took
        machine.wait(STEP)
        assert silence.look() == why


def test_thread_that_gets_little_of_a_cpu_has_more_time(machine: Machine) -> None:
    machine.answers(0.02)
    machine.load, machine.ready = [0.1, 0.05], [True, True]
    waited, why = machine.is_silent()
    assert why == BUSY
    assert 0.1 * (waited - STEP) >= WHOLE * LEAST / COMPUTED
    machine.load = [0.01, 0.01]
    assert machine.is_silent() == (WHOLE, "")


def test_whole_time_is_given_to_who_is_to_have_it(machine: Machine) -> None:
    machine.answers(0.02)
    machine.patience.in_full = True
    before = machine.looks
    assert machine.is_silent() == (WHOLE, "")
    assert machine.looks == before
    machine.patience.in_full = False
    assert machine.is_silent()[1] == IDLE


def test_machine_that_does_not_tell_is_not_asked_again(machine: Machine) -> None:
    machine.answers(0.02)
    machine.tells = False
    before = machine.looks
    assert machine.is_silent() == (WHOLE, "")
    assert machine.looks == before + 1
    machine.patience.measure_pace(WHOLE)
    before = machine.looks
    assert machine.is_silent() == (WHOLE, "")
    assert machine.looks == before


class Patient(OutOfTime):
    """A channel on which no time passes but the machine's."""

    def __init__(self, machine: Machine) -> None:
        super().__init__(lambda request: done(request) if int(request.number) <= 2 else b"thinking")
        self.machine = machine

    def receive(self, deadline: float) -> bytes:
        if not self.said:
            self.machine.wait(deadline - self.machine.now)
        return super().receive(deadline)


def test_client_says_what_it_saw(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.monotonic", lambda: machine.now)
    log = SerialLog()
    client = AgentClient(Patient(machine), log, FACTOR, machine.patience)
    client.hello()
    client.run(CPUID)
    machine.spin()
    with pytest.raises(TargetHung, match=f"^no answer to run; .*'thinking'.*: {BUSY}$"):
        client.run(CPUID)
    assert "s of 100 s; CPU time of its threads, by number:" in log.since(0)
    assert " and runs, 1 0.00 s (told in 0.10 s)" in log.since(0)
