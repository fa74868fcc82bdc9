"""One target for a whole run: started, taken through its phases, brought back when it dies, stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress

from touchstone.config.inventory import Target
from touchstone.config.subjects import NONE, Subject
from touchstone.engine.ahead import Ahead, Answers, Outcomes, results_in
from touchstone.engine.asking import Asking
from touchstone.engine.bare_machine import BareMachine
from touchstone.engine.hardware import HardwareTest
from touchstone.engine.held_driver import HeldDriver
from touchstone.engine.known import Known
from touchstone.engine.oracle import Planned
from touchstone.engine.outcomes import Autopsied, Infrastructure, Unavailable, Unsupported
from touchstone.engine.phases import Party, Step
from touchstone.engine.plan import TargetPlan
from touchstone.engine.presence import Presence
from touchstone.engine.progress import StageProgress
from touchstone.engine.questions import undo
from touchstone.engine.records import CheckRecord
from touchstone.engine.setbacks import Setbacks
from touchstone.machine.driver import (
    AgentRefused,
    Driver,
    InfrastructureError,
    Question,
    TargetDied,
    TargetHung,
    TargetInfo,
)
from touchstone.machine.probe import ProbeRequest, ProbeResult
from touchstone.suite import show
from touchstone.suite.model import Check, Prepared, Transition
from touchstone.suite.requires import Facts
from touchstone.suite.steps import LEADS_TO
from touchstone.words import Phase

LEFT_BY_A_CHECK = ""
"""What probes of a sequence may have left; no key of a prepared state."""
TRACED = 16
"""Exits per CPU that are fetched as evidence."""


class TargetSession:
    """The owner of one target. Everything that touches the target goes through here."""

    def __init__(
        self,
        target: Target,
        subject: Subject,
        make_driver: Callable[[], Driver],
        plan: TargetPlan,
        known: Facts,
        progress: StageProgress,
        ahead: Ahead,
    ) -> None:
        self.target = target
        self.progress = progress
        self.ahead = ahead
        self.known = Known(target, subject, known, plan)
        self.presence = Presence()
        self._phase: Phase | None = None
        self._left: str | None = None
        """What probes have left on the CPUs: key of a prepared state, or LEFT_BY_A_CHECK; None: nothing."""
        self._loaded_with: str | None = None
        """What was left on the CPUs when the subject was loaded."""
        self._plan = plan
        self.bare = BareMachine(self, plan.prepared)
        """Used while the subject is not loaded."""
        self.hardware = HardwareTest(self, plan)
        self._held = HeldDriver(make_driver, progress)
        self._setbacks = Setbacks(target.name)
        self.reaching = 0.0
        """Seconds that all of ``reach`` took."""

    # --- what checks use

    @property
    def phase(self) -> Phase | None:
        """Where the target is; None: not reached, dead, or hung."""
        return self._phase

    @property
    def subject(self) -> Subject:
        """The subject, with what it claims on this target."""
        return self.known.subject

    @property
    def emulator(self) -> tuple[int, ...] | None:
        """Version of the emulator, where the driver knows it."""
        return self._held.emulator_version

    def cannot(self, check: str) -> str | None:
        """Why a target that was reached is not asked for a check."""
        return self.target.cannot(check, self.known.facts, self.emulator)

    def cases(self, check: str) -> Sequence[Planned]:
        """The cases of a check, by its id."""
        return self._plan.cases[check]

    @property
    def cpus(self) -> int:
        """How many CPUs probes can use."""
        assert self.info is not None
        return self.info.cpus

    @property
    def is_guest(self) -> bool:
        """Whether what is judged is the subject's guest, on a machine of the lab's.

        A payload has a machine of its own: no driver is started for it.
        """
        return self._held.loads_another_machine

    @property
    def info(self) -> TargetInfo | None:
        """What the agent says of the target; None until it was started."""
        return self.known.info

    def asking(self, record: CheckRecord | None = None) -> Asking:
        """Within it, the started driver is asked, and what was sent of the next check is forgotten.

        A target that dies or hangs is autopsied at once, and counts as not reached then: Autopsied. With the
        record of a check, the autopsy goes there, and the exception is the end of that check: Crash, Hang,
        or Infrastructure if the target is lost. AgentRefused is raised as it is.
        """
        return Asking(self, self._held.driver, record)

    def look_at(self, cpus: Iterable[int]) -> ProbeRequest | None:
        """What tells whether the loaded subject is still on some CPUs; None: it cannot be told now."""
        return self.presence.request(cpus) if self._phase == "loaded" and self._left is None else None

    def serial_position(self) -> int:
        """Where the serial log ends now."""
        return self._held.driver.serial_position()

    def serial_since(self, position: int) -> str:
        """The serial log from a position on."""
        return self._held.driver.serial_since(position)

    def is_at(self, check: Check) -> bool:
        """Whether the target is where the probes of a check run."""
        return self._is_at(check.phase, check.prepared)

    def _is_at(self, phase: Phase, prepared: Prepared | None) -> bool:
        """Whether nothing has to happen to be in a phase with a prepared state."""
        if self._phase != phase or self._left != _key(prepared):
            return False
        return phase != "loaded" or self._loaded_with == _key(prepared)

    def reach(
        self,
        phase: Phase,
        record: CheckRecord | None = None,
        *,
        oracles: bool = False,
        prepared: Prepared | None = None,
    ) -> None:
        """Bring the target to a phase, from whatever state it is in.

        ``oracles``: all of them are measured, also if the phase is the native one, because nobody may be able
        to afterwards. ``prepared``: in that state the CPUs are before they are loaded or unloaded, and still
        are when this returns.

        Raises:
            Crash, Hang: The subject killed the target while it was loaded or unloaded.
            Infrastructure: The target could not be started or reset.
            Blocked: An earlier problem of that kind makes it pointless to try again.
            Unavailable: This host cannot run the target.
            Unsupported: The target has no such state as is to be prepared.
            Deviation: The subject does not let itself be loaded or unloaded in the prepared state.
        """
        goal = _key(prepared) or phase
        self._setbacks.demand(phase, goal)
        if self._is_at(phase, prepared) and not (oracles and phase == "native"):
            return
        started, began = self.info is not None, time.monotonic()
        try:
            with self.progress.stage(self.target.name):
                for step in self._steps(phase, oracles, prepared):
                    self._take(step, goal, record, started)
        finally:
            self.reaching += time.monotonic() - began
        self._setbacks.reached(goal)

    def reset(self, record: CheckRecord | None = None) -> None:
        """Reset the machine, whatever phase it is in. Raises what ``reach`` raises."""
        self.lose()
        self.reach("native", record)

    def run(self, probe: ProbeRequest) -> list[ProbeResult]:
        """Run a probe where the target is. Autopsied, AgentRefused, InfrastructureError."""
        with self.asking() as driver:
            return driver.run(probe)

    def run_many(self, probes: Sequence[ProbeRequest]) -> Outcomes:
        """Run probes one after the other: the results of each, or why the agent refused it."""
        return map(results_in, self.ask_many(probes))

    def ask_many(self, questions: Sequence[Question]) -> Answers:
        """Run probes, and read exit counters, one after the other."""
        with self.asking() as driver:
            answers = driver.ask_many(questions)
        return self._each(answers, len(questions))

    def _each(self, answers: Answers, count: int) -> Answers:
        for _ in range(count):
            with self.asking():
                answer = next(answers)
            yield answer

    def perform_autopsy(self, error: TargetDied | TargetHung) -> Autopsied:
        """Take the evidence from a target that did not survive what we did to it."""
        self.lose()
        return Autopsied(error, self._held.driver.autopsy())

    def lose(self) -> None:
        """The target is not where it was: it counts as not reached until it was reset."""
        self._phase = self._left = None
        self.ahead.forget()

    def keep_what_is_left(self) -> None:
        """Probes with ``leave`` follow; what they leave is undone before anything else is done."""
        self._left = LEFT_BY_A_CHECK

    def undo(self) -> None:
        """Undo what probes have left on the CPUs. Autopsied, AgentRefused, InfrastructureError.

        A subject that was loaded with that is unloaded first: what it turns back then is undone as well.
        """
        if self._phase == "loaded" and self._loaded_with is not None:
            self.change("unload")
        self.run(undo(self.cpus))
        self._left = None

    def change(self, transition: Transition) -> None:
        """Load or unload the subject, if there is one. Raises what these two raise."""
        if self.subject.absent:
            self._phase = LEADS_TO[transition]
        elif transition == "load":
            self.load()
        else:
            self.unload()

    def load(self, option: str | None = None) -> None:
        """Load the subject. AgentRefused leaves the phase as it is."""
        with self.asking() as driver:
            if driver.loads_by_reset:
                self._left = None
            self.presence.forget()
            driver.load(option)
            self._phase, self._loaded_with = "loaded", self._left
            if driver.loads_another_machine:
                self.known.measure_guest(driver)
            if self._left is None:  # else the check's state is to stay as it was prepared
                self.known.measure_made_good(driver)
                if not driver.loads_another_machine:
                    self.presence.learn_loaded(driver)
        if not self.known.status:
            # A subject that says nothing of itself, or nothing that can be read, is loaded all the same.
            with self.asking() as driver, suppress(AgentRefused):
                self.known.status = dict(driver.query())

    def unload(self) -> None:
        """Unload the subject."""
        with self.asking() as driver:
            driver.unload()
            self._phase = "unloaded"

    # --- trouble in the lab

    def try_again(self) -> None:
        """The lab failed: forget that it did, and switch the target off and on before anything else."""
        self._setbacks.forgive()
        self.lose()
        self._held.distrust()

    def waiting_in_full(self) -> AbstractContextManager[None]:
        """Within it, nothing is said to hang before its whole time is over."""
        return self._held.waiting_in_full()

    def failed_twice(self, why: str) -> None:
        """The lab failed a check again after ``try_again``; after STRIKES of them in a row, give it up."""
        self._setbacks.strike(why)

    def worked(self) -> None:
        """A check was judged."""
        self._setbacks.no_strike()

    def skip(self, why: str) -> None:
        """Do not even try to reach it."""
        self._setbacks.give_up("native", why)

    @property
    def sickness(self) -> str:
        """Why a machine that outlives this run is of no use; empty: it is of use, or is no such machine."""
        return self._setbacks.sickness if self._held.outlives_runs else ""

    def stop(self) -> None:
        """Leave nothing behind."""
        self.lose()
        self._held.stop()

    def without_os(self) -> Driver | None:
        """See ``Driver.without_os``."""
        return self._held.driver.without_os()

    # --- phases

    def _steps(self, phase: Phase, oracles: bool, prepared: Prepared | None) -> Iterator[Step]:
        """The steps to a phase; each is found when the one before it was taken."""
        name = self.target.name
        if self._phase is None or (phase == "native" and self._phase != "native"):
            if self._held.found is None:
                yield Step(f"starting {name}", Party.LAB, self._held.find)
                if self._held.needs_lock:
                    yield Step(f"waiting for {name}", Party.LAB, self._held.lock)
                yield Step(f"starting {name}", Party.LAB, self._start)
            else:
                what = "starting" if self.info is None else "resetting"
                yield Step(f"{what} {name}", Party.LAB, self.reset_machine)
        if self.known.cpu is None:
            yield Step(f"reading the CPUID of {name}", Party.LAB, self._measure_cpu)
        if self._phase == "native" and self.hardware.is_wanted:
            yield Step(f"testing the virtualization hardware of {name}", Party.LAB, self.hardware.test)
        if phase == "native" and not oracles:
            return
        if self._phase == "native":
            yield Step(f"measuring the oracles on {name}", Party.LAB, self._measure_oracles)
        if phase == "native":
            return
        if self._left is not None:
            yield Step(f"undoing what a check left on {name}", self._party, self.undo)
        if prepared is not None:
            self._demand_possible(prepared)
        if prepared is not None and prepared.before == "load" and self._phase == "loaded":
            yield from self._transitions("unloaded")
        elif prepared is not None and prepared.before == "unload":
            yield from self._transitions("loaded")
        if prepared is not None:
            yield self._preparation(prepared)
        yield from self._transitions(phase)

    def _transitions(self, phase: Phase) -> Iterator[Step]:
        """The steps to a phase in which the subject is loaded, or was."""
        name, title = self.target.name, self.subject.title
        if self.subject.absent:
            self._phase, self._loaded_with = phase, self._left
            return
        if phase == "loaded" and self._phase == "loaded" and self._loaded_with != self._left:
            # What a hypervisor has found at loading must not depend on the checks before.
            yield Step(f"unloading {title} from {name}", Party.SUBJECT, self._unload)
        if self._phase != "loaded" and (phase == "loaded" or self._phase == "native"):
            yield Step(f"loading {title} on {name}", Party.SUBJECT, self._load)
        if phase == "unloaded" and self._phase == "loaded":
            yield Step(f"unloading {title} from {name}", Party.SUBJECT, self._unload)

    @property
    def _party(self) -> Party:
        """Whose doing it is if the target does not survive a probe that does nothing wrong."""
        return Party.SUBJECT if self._phase == "loaded" and not self.subject.absent else Party.LAB

    def _demand_possible(self, prepared: Prepared) -> None:
        """Unsupported if the bare machine refuses a state, Infrastructure if the probe for it fails there."""
        planned = self._plan.prepared[prepared.key]
        if planned.refused is not None:
            raise Unsupported(f"{self.target.name} has no such state to start from: {planned.refused}")
        if planned.failed is not None:
            raise Infrastructure(planned.failed)

    def _preparation(self, prepared: Prepared) -> Step:
        """The step that brings the CPUs into a state."""
        planned = self._plan.prepared[prepared.key]
        what = f"preparing the state at {prepared.before} on {self.target.name}"

        def prepare() -> None:
            self._left = prepared.key
            for result in self.run(planned.request(self.cpus)):
                if result.vector is not None:
                    raise InfrastructureError(f"{what} ends in {show.end(result)} on CPU {result.cpu}")

        return Step(what, self._party, prepare)

    def _take(self, step: Step, goal: str, record: CheckRecord | None, started: bool) -> None:
        """Take a step to a phase; what goes wrong ends the check, and may end later ones."""
        try:
            step.take()
        except Exception as error:
            prepared = bool(self._left)
            ends = self._setbacks.step_failed(step, error, goal, started=started, prepared=prepared)
            if not isinstance(error, Unavailable | AgentRefused):
                self.lose()
            if isinstance(error, Autopsied) and record is not None:
                record.target_failed(error.autopsy)
            if ends is error:
                raise
            raise ends from (None if isinstance(error, AgentRefused) else error)

    def _start(self) -> None:
        self._began_anew(self._held.start())

    def reset_machine(self) -> None:
        """Reset the machine: a step of ``reach``."""
        self.ahead.forget()
        self._began_anew(self._held.reset())

    def _began_anew(self, info: TargetInfo) -> None:
        self.known.info = info
        self._phase, self._left = "loaded" if self.known.as_found else "native", None
        self.bare.began_anew()

    def _load(self) -> None:
        self.progress(f"loading {self.subject.title}")
        self.load()

    def _unload(self) -> None:
        self.progress(f"unloading {self.subject.title}")
        self.unload()

    def _measure_cpu(self) -> None:
        with self.asking() as driver:
            self.known.measure(driver)
            if not self.subject.absent and not self.known.as_found:
                self.presence.learn_natively(driver, self.cpus)

    def _measure_oracles(self) -> None:
        """Ask the bare machine all that will be needed, in bulk. A probe that kills it costs only itself.

        That is what checks compare with, and what tells whose fault it is if the others do not hold.
        """
        bare = {**self.known.facts, "subject": NONE}
        self.bare.measure(
            one
            for one in self._plan
            if not one.measured
            and self.cannot(one.check.id) is None
            and (
                (one.needed and one.may_apply(self.known.facts))
                or (one.comparable and not self.subject.absent and one.may_apply(bare))
            )
        )

    # --- evidence

    def describe(self) -> str:
        """One line: what the target is, and how much of it the subject has."""
        return self.known.describe(self._held.found)

    def facts(self) -> dict[str, str]:
        """What verdicts may depend on; empty while the target is not reached."""
        return self.known.for_journal(self._held.found)

    def gather_evidence(self, record: CheckRecord, cpus: Sequence[int], position: int) -> None:
        """The serial log from a position on and the subject's last exits, while the target still answers."""
        record.add_serial(self.serial_since(position))
        if self._phase == "loaded" and not self.subject.absent:
            for cpu in cpus:
                try:
                    with self.asking() as driver:
                        record.add_trace(cpu, driver.trace(cpu, TRACED))
                except (AgentRefused, Autopsied, InfrastructureError):
                    return


def _key(prepared: Prepared | None) -> str | None:
    """What tells a prepared state from others; None for the usual one."""
    return None if prepared is None else prepared.key
