"""The record of a check on a target: what was run and measured, how it ended. Reports read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from touchstone.config.inventory import Target, Waiver
from touchstone.config.subjects import Subject
from touchstone.machine.driver import Autopsy
from touchstone.machine.probe import ProbeRequest, ProbeResult
from touchstone.suite.judge import Difference, Judgement
from touchstone.suite.model import Case, Check
from touchstone.words import Verdict


@dataclass
class CaseRun:
    """One probe of a check, and what came of it."""

    label: str
    code: bytes
    request: ProbeRequest
    case: Case | None = None
    """None for a probe that a Python check ran."""
    results: Sequence[ProbeResult] = ()
    oracle: Sequence[ProbeResult] | None = None
    exits: Mapping[int, Mapping[str, int]] = field(default_factory=dict)
    """CPU to counter to how much it rose."""
    judgement: Judgement | None = None
    refused: str | None = None
    ended: str | None = None
    """``crash`` or ``hang`` when the target did not survive it."""
    start: float = 0.0
    stop: float = 0.0
    """Seconds since the epoch."""

    @property
    def differences(self) -> Sequence[Difference]:
        """The demands that are not met."""
        return () if self.judgement is None else self.judgement.differences


@dataclass
class CheckRecord:
    """Everything known about one check on one target; failure texts and Allure results are made of it."""

    check: Check
    target: Target
    subject: Subject
    description: str = ""
    """The target's line: CPU model, CPUs, features, hypervisor."""
    runs: list[CaseRun] = field(default_factory=list)
    verdict: Verdict | None = None
    reason: str = ""
    """Why it is skipped, waived, blocked; or the summary of what differs."""
    waiver: Waiver | None = None
    """The known deviation that covers the check, expired or not."""
    autopsy: Autopsy | None = None
    trace: Mapping[int, Sequence[str]] = field(default_factory=dict)
    """CPU to the subject's last exits, newest last."""
    serial: str = ""
    """The serial log since the check began."""


@dataclass
class CheckOnTarget:
    """One check on one target."""

    check: Check
    target: Target
    record: CheckRecord | None = None
    """None until it begins; stays None for one that is skipped at collection."""
