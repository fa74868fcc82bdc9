"""Oracles: the answers of the same probe on the same machine before any subject is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from touchstone.machine.driver import AgentRefused
from touchstone.machine.probe import ProbeRequest, ProbeResult
from touchstone.suite import requires
from touchstone.suite.claims import about_subject
from touchstone.suite.code import Code
from touchstone.suite.model import Case, Check, Transition
from touchstone.suite.request import expected_msrs, probe_request


def compares(case: Case) -> bool:
    """Whether the answers of the bare machine are needed to judge a case."""
    expect = case.expect
    return (
        expect.native
        or expect.native_end
        or any(field.kind == "native" for field in expect.fields)
        or bool(expected_msrs(expect))
    )


@dataclass
class Planned:
    """A case that will run, and its oracle once that is measured.

    A case with steps is a sequence of probes, whose oracles are measured one after the other as well; loading
    and unloading are left out there, because the bare machine is asked.
    """

    check: Check
    case: Case
    code: Code
    then: Sequence[Transition | Planned] = ()
    leaves: bool = False
    """Its CPUs keep the state in which it ends: it prepares a state, or is part of a sequence."""
    answers: Sequence[ProbeResult] | None = None
    refused: str | None = None
    """Why the bare machine would not run it."""
    failed: str | None = None
    """Why there is no oracle: the bare machine does not survive the probe, or is not as it was after it."""
    death: str | None = None
    """How the bare machine ends, if that is because it does not survive it."""

    _requests: dict[int, ProbeRequest] = field(default_factory=dict)

    def may_apply(self, known: requires.Facts) -> bool:
        """Whether its requirements hold, as far as is known."""
        needed = (*self.check.requires, *self.case.requires)
        return requires.evaluate_all(needed, known).result is not False

    def request(self, cpus: int) -> ProbeRequest:
        """The request for a machine with so many CPUs, the same in every phase."""
        found = self._requests.get(cpus)
        if found is None:
            found = probe_request(self.check, self.case, self.code, cpus)
            found = self._requests[cpus] = replace(found, leave=True) if self.leaves else found
        return found

    @property
    def probes(self) -> Sequence[Planned]:
        """Itself, and the probes that follow it."""
        return (self, *(step for step in self.then if isinstance(step, Planned)))

    def native_requests(self, cpus: int) -> Sequence[ProbeRequest]:
        """What the bare machine is asked: a request for each of ``probes``."""
        return [one.request(cpus) for one in self.probes]

    def was_measured_in(self, outcomes: Iterator[list[ProbeResult] | AgentRefused]) -> None:
        """Take what the bare machine answers to ``native_requests``."""
        for one in self.probes:
            one.was_measured(next(outcomes))
        self.refused = next((one.refused for one in self.probes if one.refused is not None), None)

    @property
    def name(self) -> str:
        """The check's id, and which of its cases it is."""
        return f"{self.check.id} ({self.case.label})" if self.case.label else self.check.id

    def was_measured(self, outcome: list[ProbeResult] | AgentRefused) -> None:
        """The bare machine was asked, and answered this."""
        if isinstance(outcome, AgentRefused):
            self.refused = str(outcome)
        else:
            self.answers = outcome

    def is_to_blame(self, why: str, *, death: str | None = None) -> None:
        """The probe harms the bare machine, or kills it: what it answered counts for nothing."""
        for one in self.probes:
            one.answers = one.refused = None
            one.failed = why
            one.death = death

    @property
    def measured(self) -> bool:
        """Whether the bare machine was asked."""
        return self.answers is not None or self.refused is not None or self.failed is not None

    @cached_property
    def needed(self) -> bool:
        """Whether the bare machine is asked: for its answer, or for whether it accepts the start state."""
        given = self.case.given
        return (
            compares(self.case)
            or self.leaves
            or self.check.prepared is not None
            or bool(given.bits or given.keep or given.msrs or given.handlers or given.debug)
        )

    @cached_property
    def comparable(self) -> bool:
        """Whether the bare machine can be held to the case as well: nothing in it is about a hypervisor."""
        needs = (*self.check.requires, *self.case.requires)
        on_a_claim = any(about_subject(name) for one in needs for name in requires.names_used(one))
        return not (self.check.claims or on_a_claim or self.case.expect.exits)

    @property
    def lacks_oracle(self) -> str | None:
        """Why the case cannot be judged, if it cannot."""
        if not self.needed:
            return None
        if self.failed is not None:
            return f"it has no oracle: {self.failed}"
        return None if self.measured else "its oracle was not measured before the subject was loaded"
