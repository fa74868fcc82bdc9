"""Oracles: the answers of the same probe on the same machine before any subject is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from touchstone.machine.driver import AgentRefused
from touchstone.machine.probe import ProbeRequest, ProbeResult
from touchstone.suite import requires
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
    died: bool = False
    """Whether that is because the bare machine does not survive it."""

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

    def is_to_blame(self, why: str, *, died: bool = False) -> None:
        """The probe harms the bare machine, or kills it: what it answered counts for nothing."""
        self.answers = self.refused = None
        self.failed = why
        self.died = died

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

    @cached_property
    def comparable(self) -> bool:
        """Whether the bare machine can be held to the case as well: nothing in it is about a hypervisor."""
        needs = (*self.check.requires, *self.case.requires)
        names = {name for one in needs for name in requires.names_used(one)} - {"subject.unloadable"}
        about_subject = any(name.startswith("subject.") for name in names)
        return not (self.check.claims or about_subject or self.case.expect.exits)

    @property
    def lacks_oracle(self) -> str | None:
        """Why the case cannot be judged, if it cannot."""
        if not self.needed:
            return None
        if self.failed is not None:
            return f"it has no oracle: {self.failed}"
        return None if self.measured else "its oracle was not measured before the subject was loaded"
