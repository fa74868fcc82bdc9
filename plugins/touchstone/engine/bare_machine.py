"""What the bare machine answers, and whether it is as it was when it was reached."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from touchstone.engine.ahead import Outcomes
from touchstone.engine.cpu import PROBE_TIMEOUT
from touchstone.engine.cpu_state import StateReader
from touchstone.engine.oracle import Planned
from touchstone.engine.outcomes import Autopsied
from touchstone.engine.questions import Question, questions
from touchstone.garbage import uncollected
from touchstone.machine.driver import AgentRefused, Driver, InfrastructureError, TargetInfo
from touchstone.machine.probe import ProbeRequest, ProbeResult

MAX_LOST = 3
"""So many cases of one check may each end the bare machine; the others are not asked then. A machine that
hangs takes its time, and some checks have a case for each bit.
"""
MAX_LINKS_LOST = 3
"""So many probes may each end the connection to the bare machine; more, and it is the lab."""


class Asked(Protocol):
    """What is needed of the session of the target."""

    @property
    def info(self) -> TargetInfo | None:
        """What the agent says of the target; None until it was started."""

    @property
    def progress(self) -> Callable[[str], None]:
        """Says what happens."""

    @property
    def cpus(self) -> int:
        """How many CPUs probes can use."""

    def asking(self) -> AbstractContextManager[Driver]:
        """See ``TargetSession.asking``."""

    def run_many(self, probes: Sequence[ProbeRequest]) -> Outcomes:
        """See ``TargetSession.run_many``."""

    def reset_machine(self) -> None:
        """Reset the machine."""


class BareMachine:
    """A target on which no subject is loaded."""

    def __init__(self, asked: Asked, prepared: Mapping[str, Planned]) -> None:
        """``prepared``: the probes that prepare states, by the states' keys."""
        self._asked = asked
        self._prepared = prepared
        self._state: StateReader | None = None
        """Knows the state of this boot's CPUs; None until they were asked."""

    def began_anew(self) -> None:
        """The machine was started or reset: its CPUs are others."""
        self._state = None

    @uncollected()  # the answers live until the end of the run
    def measure(self, cases: Iterable[Planned]) -> None:
        """Measure oracles, on the bare machine. InfrastructureError when the target does not come back.

        Every CPU is as it was afterwards. Where it is not, or where the machine does not survive, any probe
        before may be the cause: all are asked again then, with a look at every CPU after each.
        """
        asked = list(cases)
        self.be_as_before()
        if not asked:
            return
        found = questions(asked, self._prepared, self._asked.cpus)
        outcomes = self._asked.run_many([request for question in found for request in question.requests])
        try:
            for number, question in enumerate(found):
                if number % 50 == 0:
                    self._asked.progress(f"measuring the bare machine's answers: {number} of {len(asked)}")
                question.was_answered(outcomes)
            if self.changes() is None:
                return
        except (Autopsied, InfrastructureError):
            pass  # whose doing it is, is found out one by one
        self._asked.reset_machine()
        self._measure_one_by_one(found)

    def _measure_one_by_one(self, asked: Sequence[Question]) -> None:
        """Measure oracles, with a look at every CPU after each probe, which tells whose doing a change is."""
        left = deque(asked)
        links_lost = 0
        lost: Counter[str] = Counter()
        while left:
            self.be_as_before()
            assert self._state is not None
            look = self._state.request()
            outcomes = self._asked.run_many([each for one in left for each in (*one.requests, look)])
            try:
                while left:
                    self._asked.progress(f"looking for the probe that changes the machine: {len(left)} to go")
                    left[0].was_answered(outcomes)
                    changes = self._compare(next(outcomes))
                    one = left.popleft().one
                    if changes is not None:
                        one.is_to_blame(f"{one.name} does not leave the bare machine as it was: {changes}")
                        self._asked.reset_machine()
                        break
            except Autopsied as error:
                one = left.popleft().one
                why = f"its probe does not survive on the bare machine: {error.autopsy.reason}"
                one.is_to_blame(why, death=error.autopsy.reason)
                lost[one.check.id] += 1
                if lost[one.check.id] == MAX_LOST:
                    _give_up(left, one)
                self._asked.reset_machine()
            except InfrastructureError as error:
                links_lost += 1
                if links_lost > MAX_LINKS_LOST:
                    raise
                one = left.popleft().one
                one.is_to_blame(f"its probe ends the connection to the bare machine: {error}")
                self._asked.reset_machine()

    def be_as_before(self) -> None:
        """Have a bare machine whose CPUs are as they were when it was reached: reset it if they are not."""
        if self._state is not None:
            try:
                changes = self.changes()
            except Autopsied as error:
                changes = error.autopsy.reason
            if changes is None:
                return
            self._asked.progress(f"resetting, because a check has left {changes}")
            self._asked.reset_machine()
        assert self._asked.info is not None
        state = StateReader(self._asked.info, PROBE_TIMEOUT)
        try:
            with self._asked.asking() as driver:
                state.learn(driver)
        except (Autopsied, AgentRefused) as error:
            raise InfrastructureError(f"the state of the CPUs cannot be read: {error}") from error
        self._state = state

    def changes(self) -> str | None:
        """What is not as it was on the CPUs of the bare machine; None: nothing."""
        if self._state is None:
            return None
        (outcome,) = self._asked.run_many([self._state.request()])
        return self._compare(outcome)

    def _compare(self, outcome: list[ProbeResult] | AgentRefused) -> str | None:
        assert self._state is not None
        if isinstance(outcome, AgentRefused):
            raise InfrastructureError(f"the state of the CPUs cannot be read: {outcome}")
        return self._state.changes(outcome)


def _give_up(left: deque[Question], lost: Planned) -> None:
    """Ask no more cases of the check of one that was lost."""
    of_check = [one for one in left if one.one.check.id == lost.check.id]
    for one in of_check:
        left.remove(one)
        why = f"cases like it do not survive on the bare machine: {lost.failed}"
        one.one.is_to_blame(why, death=lost.death)
