"""What the bare machine is asked for a case: its probes, and those that prepare it and clean up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from touchstone.engine.oracle import Planned
from touchstone.machine.driver import AgentRefused
from touchstone.machine.probe import ProbeRequest, ProbeResult
from touchstone.suite import show

NOP = b"\x90"


def undo(cpus: int) -> ProbeRequest:
    """The probe that undoes what probes have left on any of so many CPUs."""
    return ProbeRequest(code=NOP, cpus=tuple(range(cpus)), undo=True)


@dataclass(frozen=True)
class Question:
    """The probes of one case, in the order in which the bare machine runs them."""

    one: Planned
    prepared: Planned | None
    """The probe that prepares the state that the case begins in."""
    cpus: int

    @property
    def requests(self) -> list[ProbeRequest]:
        """What is sent."""
        before = [] if self.prepared is None else [self.prepared.request(self.cpus)]
        after = [undo(self.cpus)] if self._leaves else []
        return [*before, *self.one.native_requests(self.cpus), *after]

    def was_answered(self, outcomes: Iterator[list[ProbeResult] | AgentRefused]) -> None:
        """Take the outcomes of ``requests``."""
        if self.prepared is not None:
            self.prepared.was_measured(next(outcomes))
        self.one.was_measured_in(outcomes)
        if self._leaves:
            next(outcomes)
        if self.prepared is None:
            return
        if self.prepared.refused is not None:
            self.one.refused = self.prepared.refused
        wrong = next((result for result in self.prepared.answers or () if result.vector is not None), None)
        if wrong is not None:
            self.prepared.is_to_blame(f"the probe that prepares its state ends in {show.end(wrong)}")
            self.one.failed = self.prepared.failed

    @property
    def _leaves(self) -> bool:
        return self.prepared is not None or self.one.leaves


def questions(asked: Iterable[Planned], prepared: Mapping[str, Planned], cpus: int) -> list[Question]:
    """The questions of cases; ``prepared`` has the probes that prepare states, by the states' keys."""
    return [
        Question(one, None if one.check.prepared is None else prepared[one.check.prepared.key], cpus)
        for one in asked
    ]
