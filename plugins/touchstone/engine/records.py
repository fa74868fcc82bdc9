"""The record of a check on a target: what was run and measured, how it ended. Reports read it.

The methods here are the only ones that change a record; each says what has happened.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from touchstone.config.inventory import Target
from touchstone.config.subjects import Subject
from touchstone.config.waivers import Waiver
from touchstone.machine.driver import AgentRefused, Autopsy
from touchstone.machine.probe import ProbeRequest, ProbeResult
from touchstone.suite.judgement import Difference, Judgement
from touchstone.suite.model import Case, Check
from touchstone.words import Verdict

ExitCounts = Mapping[int, Mapping[str, int]]
"""CPU to the subject's name of an exit to a number of exits."""


@dataclass
class CaseRun:
    """One probe of a check, and what came of it."""

    label: str
    code: bytes
    request: ProbeRequest
    case: Case | None = None
    """None for a probe that a Python check ran."""
    oracle: Sequence[ProbeResult] | None = None
    results: Sequence[ProbeResult] = ()
    exits: ExitCounts = field(default_factory=dict)
    """How much each counter rose."""
    judgement: Judgement | None = None
    natively: Judgement | None = None
    """What the bare machine makes of the same demands; None: it was not held to them."""
    accused: Sequence[Difference] = ()
    """The demands that are not met, and that the bare machine meets, or breaks in another way."""
    vacuous: str | None = None
    """Why its judgement says nothing, although every demand is met."""
    refused: str | None = None
    """Why the agent did not run it."""
    ended: str | None = None
    """``crash`` or ``hang`` when the target did not survive it."""
    stands_at: frozenset[int] = frozenset()
    """Offsets in the code at which CPUs stood then."""
    start: float = field(default_factory=time.time)
    stop: float = 0.0
    """Seconds since the epoch."""

    @property
    def differences(self) -> Sequence[Difference]:
        """The demands that are not met."""
        return () if self.judgement is None else self.judgement.differences

    def answered(self, results: Sequence[ProbeResult]) -> None:
        """The probe ended on every CPU."""
        self.results = results

    def counted(self, exits: ExitCounts) -> None:
        """The exit counters were read before and after the probe."""
        self.exits = exits

    def was_refused(self, error: AgentRefused) -> None:
        """The agent did not run the probe."""
        self.refused = str(error)

    def not_survived(self, verdict: Verdict, stands_at: frozenset[int] = frozenset()) -> None:
        """The target died or hung while the probe ran; its CPUs stand at these offsets of the code."""
        self.ended = verdict.value
        self.stands_at = stands_at

    def was_judged(self, judgement: Judgement, vacuous: str | None) -> None:
        """Its results were compared with what the case expects; ``vacuous`` says why that proves nothing."""
        self.judgement = judgement
        self.accused = judgement.differences
        self.vacuous = vacuous if judgement.ok else None

    def was_compared(self, natively: Judgement, accused: Sequence[Difference]) -> None:
        """The bare machine was held to the same demands; ``accused`` are what only the subject breaks."""
        self.natively = natively
        self.accused = accused

    def is_over(self) -> None:
        """Nothing more comes of the probe."""
        self.stop = time.time()


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
    """Why it is skipped or waived."""
    waiver: Waiver | None = None
    """The known deviation of the machine that covers the check, expired or not."""
    own_waiver: Waiver | None = None
    """The known deviation of the subject that covers the check, expired or not."""
    blame_measured: bool = False
    """Whether the bare machine was asked what does not hold: then its known deviations excuse nobody."""
    autopsy: Autopsy | None = None
    guest_before: Autopsy | None = None
    """Of a guest that hung in the same check, which was judged again with another one."""
    trace: Mapping[int, Sequence[str]] = field(default_factory=dict)
    """CPU to the subject's last exits, newest last, as the subject gives them."""
    serial: str = ""
    """The serial log since the check began."""

    def is_covered_by(self, waiver: Waiver | None, own: Waiver | None = None) -> None:
        """The inventory, or the subject's file, says that the check does not hold; None: it says nothing."""
        self.waiver = waiver
        self.own_waiver = own

    def was_compared(self) -> None:
        """What the bare machine was measured to do decides, and no list of what it is expected to do."""
        self.blame_measured = True

    def target_is(self, description: str) -> None:
        """The target was reached, and is what this line says."""
        self.description = description

    def begin_run(self, run: CaseRun, instead_of: CaseRun | None = None) -> CaseRun:
        """A probe is about to run; once more, if an earlier run of it counts for nothing."""
        if instead_of is None:
            self.runs.append(run)
        else:
            self.runs[self.runs.index(instead_of)] = run
        return run

    def forget_run(self) -> None:
        """The last probe counts for nothing, and is run again."""
        self.runs.pop()

    def target_failed(self, autopsy: Autopsy) -> None:
        """The target died or hung during the check."""
        self.autopsy = autopsy

    def follows(self, before: CheckRecord | None) -> None:
        """The check was judged before, with a guest that hung."""
        self.guest_before = None if before is None else before.autopsy

    def add_serial(self, text: str) -> None:
        """The target's serial log of the check, for the report of a failure."""
        self.serial = text

    def add_trace(self, cpu: int, exits: Sequence[str]) -> None:
        """The last exits of a CPU, for the report of a failure."""
        self.trace = {**self.trace, cpu: exits}

    def ended(self, verdict: Verdict, reason: str = "") -> None:
        """The check has its verdict; the reason of one that is skipped or waived."""
        self.verdict = verdict
        self.reason = reason


@dataclass
class CheckOnTarget:
    """One check on one target."""

    check: Check
    target: Target
    record: CheckRecord | None = None
    """None until it begins; stays None for one that is skipped at collection."""
    part: str = ""
    """Which parameters, of a Python check that runs once for each of several."""

    @property
    def name(self) -> str:
        """The check's id, with its part."""
        return f"{self.check.id}[{self.part}]" if self.part else self.check.id

    def begin(self, subject: Subject) -> CheckRecord:
        """Start a new record; a check that is run again gets another one."""
        self.record = CheckRecord(self.check, self.target, subject)
        return self.record

    def was_reported(self) -> None:
        """Nobody asks for the record any more: those of a night would fill the memory."""
        self.record = None
