"""Oracles: the answers of the same probe on the same machine before any subject is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from touchstone.machine.driver import AgentRefused
from touchstone.machine.probe import ProbeRequest, ProbeResult
from touchstone.suite.assemble import Code
from touchstone.suite.model import Case, Check
from touchstone.suite.request import expected_msrs, probe_request


@dataclass
class Planned:
    """A case that will run, and its oracle once that is measured."""

    check: Check
    case: Case
    code: Code
    answers: Sequence[ProbeResult] | None = None
    refused: str | None = None
    """Why the bare machine would not run it."""
    failed: str | None = None
    """Why there is no oracle: the bare machine does not survive the probe, or is not as it was after it."""

    _requests: dict[int, ProbeRequest] = field(default_factory=dict)

    def request(self, cpus: int) -> ProbeRequest:
        """The request for a machine with so many CPUs, the same in every phase."""
        found = self._requests.get(cpus)
        if found is None:
            found = self._requests[cpus] = probe_request(self.check, self.case, self.code, cpus)
        return found

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

    def is_to_blame(self, why: str) -> None:
        """The probe harms the bare machine: what it answered counts for nothing."""
        self.answers = self.refused = None
        self.failed = why

    @property
    def measured(self) -> bool:
        """Whether the bare machine was asked."""
        return self.answers is not None or self.refused is not None or self.failed is not None

    @property
    def needed(self) -> bool:
        """Whether the bare machine is asked: for its answer, or for whether it accepts the start state."""
        expect, given = self.case.expect, self.case.given
        return (
            expect.native
            or expect.native_end
            or any(field.kind == "native" for field in expect.fields)
            or bool(expected_msrs(expect))
            or bool(given.bits or given.keep or given.msrs or given.handlers or given.debug)
        )

    @property
    def lacks_oracle(self) -> str | None:
        """Why the case cannot be judged, if it cannot."""
        if self.failed is not None:
            return f"it has no oracle: {self.failed}"
        if self.needed and not self.measured:
            return "its oracle was not measured before the subject was loaded"
        return None
