"""One target for a whole run: started, taken through its phases, brought back when it dies, stopped."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from touchstone.config.inventory import Target
from touchstone.config.subjects import Subject
from touchstone.engine import facts as measuring
from touchstone.engine.oracle import Planned, cpuid_facts, leaves_for
from touchstone.engine.outcomes import Blocked, Crash, Hang, Infrastructure, Unavailable
from touchstone.engine.records import CheckRecord
from touchstone.machine.driver import (
    AgentRefused,
    Autopsy,
    Driver,
    InfrastructureError,
    TargetDied,
    TargetError,
    TargetHung,
    TargetInfo,
)
from touchstone.machine.probe import ProbeRequest, ProbeResult
from touchstone.reporting.exits import readable
from touchstone.reporting.progress import Progress
from touchstone.suite.requires import Fact, evaluate_all
from touchstone.words import PHASES, Phase

if TYPE_CHECKING:
    from touchstone.engine.locks import TargetLock
    from touchstone.engine.send_ahead import Attempt

STRIKES = 2
"""A target that cannot be brought to a phase so often in a row is given up."""
PROBE_TIMEOUT = 5.0
TRACED = 16
"""Exits per CPU that are fetched as evidence."""


@dataclass
class Autopsied(Exception):
    """The target died or hangs; the evidence was taken."""

    error: TargetDied | TargetHung
    autopsy: Autopsy

    @property
    def finding(self) -> type[Crash] | type[Hang]:
        """What it means when it was the subject's fault."""
        return Crash if isinstance(self.error, TargetDied) else Hang


class Watch:
    """``TargetSession.watched``; every probe enters it, and a generator would cost five times as much."""

    __slots__ = ("_session",)

    def __init__(self, session: TargetSession) -> None:
        self._session = session

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, TargetDied | TargetHung):
            raise self._session.perform_autopsy(error) from error
        if isinstance(error, TargetError) and not isinstance(error, AgentRefused):
            self._session.phase = None


class TargetSession:
    """The owner of one target. Everything that touches the target goes through here."""

    def __init__(
        self,
        target: Target,
        subject: Subject,
        make_driver: Callable[[], Driver],
        plan: Sequence[Planned],
        known: Mapping[str, Fact],
        progress: Progress,
    ) -> None:
        self.target = target
        self.subject = subject
        self.progress = progress
        self.known = dict(known)
        """Facts for requirements: the inventory's, and CPUID's once the target is reached."""
        self.phase: Phase | None = None
        """Where the target is; None: not reached, dead, or hung."""
        self.info: TargetInfo | None = None
        self.facts: measuring.Facts | None = None
        self.status: Mapping[str, str] = {}
        """What the subject answered when it was loaded first."""
        self._plan = plan
        self._make_driver = make_driver
        self._driver: Driver | None = None
        self._lock: TargetLock | None = None
        self.ahead: Attempt | None = None
        """The next check, whose probes were sent already."""
        self._line: tuple[Mapping[str, str], str] | None = None
        self._faults: dict[Phase, str] = {}
        """Why it is pointless to try to reach a phase again; those behind it are out of reach as well."""
        self._unavailable: str | None = None
        self._strikes: Counter[Phase] = Counter()

    # --- what checks use

    @property
    def emulator(self) -> tuple[int, ...] | None:
        """Version of the emulator, where the driver knows it."""
        version: tuple[int, ...] | None = getattr(self._driver, "version", None)
        return version

    def cannot(self, check: str) -> str | None:
        """Why a target that was reached is not asked for a check."""
        return self.target.cannot(check, self.emulator)

    @property
    def driver(self) -> Driver:
        """The started driver. Whoever asks for it comes before what was sent ahead, which is forgotten."""
        assert self._driver is not None, "the target is started first"
        self.ahead = None
        return self._driver

    def take_ahead(self, check: str) -> Attempt | None:
        """What was sent ahead, if it is this check's and the target is still as it was."""
        found, self.ahead = self.ahead, None
        return found if found is not None and found.check == check else None

    @property
    def cpus(self) -> int:
        """How many CPUs probes can use."""
        assert self.info is not None
        return self.info.cpus

    def reach(self, phase: Phase, record: CheckRecord | None = None, *, oracles: bool = False) -> None:
        """Bring the target to a phase, from whatever state it is in.

        ``oracles``: all of them are measured, also if the phase is the native one, because nobody may be able
        to afterwards.

        Raises:
            Crash, Hang: The subject killed the target while it was loaded or unloaded.
            Infrastructure: The target could not be started or reset.
            Blocked: An earlier problem of that kind makes it pointless to try again.
        """
        if self._unavailable is not None:
            raise pytest.skip.Exception(self._unavailable)
        for before in PHASES[: PHASES.index(phase) + 1]:
            if before in self._faults:
                raise Blocked(self._faults[before])
        if self.phase == phase and not (oracles and phase == "native"):
            return
        started = self._driver is not None
        doing = [f"starting {self.target.name}"]
        try:
            with self.progress.stage(self.target.name):
                self._walk(phase, doing, oracles)
        except Unavailable as error:
            self._unavailable = str(error)
            raise pytest.skip.Exception(self._unavailable) from None
        except AgentRefused as error:
            self._faults[phase] = f"{doing[0]} was refused: {error}"
            raise Blocked(self._faults[phase]) from None
        except InfrastructureError as error:
            self._strike(phase, f"{doing[0]}: {error}", final=not started)
            raise Infrastructure(f"{doing[0]}: {error}") from error
        except Autopsied as error:
            self._strike(phase, f"{self.target.name} did not survive {doing[0]}: {error.autopsy.reason}")
            if record is not None:
                record.autopsy = error.autopsy
            if self.subject.title not in doing[0]:
                raise Infrastructure(f"{doing[0]}: {error.error}") from error
            raise error.finding(f"the target did not survive {doing[0]}: {error.autopsy.reason}") from error
        except (
            Exception
        ) as error:  # a mistake of a driver's: shown with its traceback, and not a hundred times
            self._strike(phase, f"{doing[0]}: {type(error).__name__}: {error}", final=not started)
            raise
        self._strikes[phase] = 0

    def run(self, probe: ProbeRequest) -> list[ProbeResult]:
        """Run a probe where the target is. Autopsied, AgentRefused, InfrastructureError."""
        with self.watched():
            return self.driver.run(probe)

    def run_many(self, probes: Sequence[ProbeRequest]) -> Iterator[list[ProbeResult] | AgentRefused]:
        """Run probes one after the other: the results of each, or why the agent refused it."""
        with self.watched():
            outcomes = self.driver.run_many(probes)
        return self._each(outcomes, len(probes))

    def _each(
        self, outcomes: Iterator[list[ProbeResult] | AgentRefused], count: int
    ) -> Iterator[list[ProbeResult] | AgentRefused]:
        for _ in range(count):
            with self.watched():
                outcome = next(outcomes)
            yield outcome

    def watched(self) -> Watch:
        """Within it, a target that dies or hangs is autopsied at once, and counts as not reached then."""
        return Watch(self)

    def perform_autopsy(self, error: TargetDied | TargetHung) -> Autopsied:
        """Take the evidence from a target that did not survive what we did to it."""
        self.phase = self.ahead = None
        return Autopsied(error, self.driver.autopsy())

    def load(self, option: str | None = None) -> None:
        """Load the subject. AgentRefused leaves the phase as it is."""
        with self.watched():
            self.driver.load(option)
            self.phase = "loaded"
        if not self.status:
            with self.watched():
                self.status = dict(self.driver.query())

    def unload(self) -> None:
        """Unload the subject."""
        with self.watched():
            self.driver.unload()
            self.phase = "unloaded"

    def stop(self) -> None:
        """Leave nothing behind."""
        self.phase = None
        if self._driver is not None:
            driver, self._driver = self._driver, None
            try:
                driver.stop()
            finally:
                if self._lock is not None:
                    self._lock.release()

    # --- phases

    def _walk(self, phase: Phase, doing: list[str], oracles: bool) -> None:
        """Take the steps to a phase; ``doing[0]`` says which one is being taken."""
        if self.phase is None or (phase == "native" and self.phase != "native"):
            if self._driver is None:
                self._driver = self._make_driver()
                self._share(doing)
                self.info = self._driver.start(self.progress)
            else:
                doing[0] = f"resetting {self.target.name}"
                self.info = self._driver.reset(self.progress)
            self.phase = "native"
        if self.facts is None:
            doing[0] = f"reading the CPUID of {self.target.name}"
            with self.watched():
                self.facts = measuring.measure(
                    self.driver,
                    self.info.vendor if self.info else self.target.settings.vendor,
                    self.cpus,
                    leaves_for(one.check for one in self._plan),
                    PROBE_TIMEOUT,
                )
            self.known |= cpuid_facts(self.facts)
            if self.info is not None:
                self.known |= {"os": self.info.os, "cpus": self.info.cpus}
        if phase == "native" and not oracles:
            return
        if self.phase == "native":
            doing[0] = f"measuring the oracles on {self.target.name}"
            self._measure_oracles()
        if phase == "native":
            return
        if self.subject.absent:
            self.phase = phase
            return
        if self.phase != "loaded":
            doing[0] = f"loading {self.subject.title} on {self.target.name}"
            self.progress(f"loading {self.subject.title}")
            self.load()
        if phase == "unloaded":
            doing[0] = f"unloading {self.subject.title} from {self.target.name}"
            self.progress(f"unloading {self.subject.title}")
            self.unload()

    def _share(self, doing: list[str]) -> None:
        """Wait for a box that another run may be driving. Virtual targets are every run's own."""
        key = getattr(self.driver, "shared", None)
        if key:
            from touchstone.engine.locks import TargetLock  # noqa: PLC0415

            doing[0] = f"waiting for {self.target.name}"
            self._lock = TargetLock(key)
            self._lock.acquire(self.progress)
            doing[0] = f"starting {self.target.name}"

    def _measure_oracles(self) -> None:
        """Ask the bare machine all that will be needed, in bulk. A probe that kills it costs only itself."""
        pending = [
            one
            for one in self._plan
            if one.needed
            and not one.measured
            and self.cannot(one.check.id) is None
            and evaluate_all((*one.check.requires, *one.case.requires), self.known).result is not False
        ]
        self.measure(pending)

    def measure(self, cases: Iterable[Planned]) -> None:
        """Measure oracles, on the bare machine. InfrastructureError when the target does not come back."""
        left = deque(cases)
        total = len(left)
        while left:
            requests = [one.request(self.cpus) for one in left]
            try:
                for outcome in self.run_many(requests):
                    if (total - len(left)) % 50 == 0:
                        self.progress(f"measuring the bare machine's answers: {total - len(left)} of {total}")
                    one = left.popleft()
                    if isinstance(outcome, AgentRefused):
                        one.refused = str(outcome)
                    else:
                        one.answers = outcome
            except Autopsied as error:
                left.popleft().failed = (
                    f"its probe does not survive on the bare machine: {error.autopsy.reason}"
                )
                self.info = self.driver.reset(self.progress)
                self.phase = "native"

    def _strike(self, phase: Phase, text: str, *, final: bool = False) -> None:
        self.phase = None
        self._strikes[phase] += 1
        if final or self._strikes[phase] >= STRIKES:
            self._faults[phase] = text

    # --- evidence

    def describe(self) -> str:
        """One line: what the target is, and how much of it the subject has."""
        if self.info is None or self.facts is None:
            return f"{self.target.title}: not reached"
        if self._line and self._line[0] is self.status:
            return self._line[1]
        self._line = (self.status, self._describe(self.info, self.facts))
        return self._line[1]

    def _describe(self, info: TargetInfo, facts: measuring.Facts) -> str:
        cpus = f"{info.cpus} CPU{'s' if info.cpus != 1 else ''}"
        line = f"{facts.model} ({info.vendor}), {cpus}, {facts.virtualization}, os {info.os}"
        if self.subject.absent:
            return f"{line}; no hypervisor"
        if not self.status:
            return f"{line}; {self.subject.title} was not loaded"
        version = self.status.get("version", "of unknown version")
        taken = f"{self.status.get('cpus', '?')} of {info.cpus} CPUs"
        return f"{line}; {self.subject.title} {version} on {taken}"

    def evidence(self, record: CheckRecord, cpus: Sequence[int], mark: int) -> None:
        """The subject's last exits and the serial log, while the target still answers."""
        record.serial = self.driver.serial_since(mark)
        if self.phase == "loaded" and not self.subject.absent:
            for cpu in cpus:
                try:
                    with self.watched():
                        lines = readable(self.driver.trace(cpu, TRACED), self.target.settings.vendor)
                    record.trace = {**record.trace, cpu: lines}
                except AgentRefused:
                    return
                except (Autopsied, InfrastructureError):
                    return
