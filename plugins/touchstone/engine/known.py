"""What is known of one target: what was written down of it, and what was measured once it was reached."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Literal

from touchstone.config.inventory import Target
from touchstone.config.subjects import Subject
from touchstone.engine.about import facts_about, line_about, line_about_here
from touchstone.engine.as_found import HYPERVISOR, claims_of, has_ring0, is_as_found, underneath
from touchstone.engine.cpu import PROBE_TIMEOUT, MeasuredCpu
from touchstone.engine.facts import emulator_of, measured_facts
from touchstone.engine.intercepts import SelfTest
from touchstone.engine.plan import TargetPlan
from touchstone.machine.driver import Driver, TargetInfo
from touchstone.machine.intercepts.made_good import MADE_GOOD
from touchstone.machine.intercepts.names import fact
from touchstone.machine.intercepts.row import PRIVILEGE
from touchstone.machine.probe import ProbeRequest
from touchstone.suite.model import Requirement
from touchstone.suite.requires import Facts, evaluate_all

VIRTUALIZATION = ("cpuid.svm", "cpuid.vmx")
"""What requirements call it."""
FAULTS_BEFORE_EXITS = (PRIVILEGE, "faults.xsetbv-without-osxsave")
"""What the self-test's names of faults begin with that come before an exit."""


class Known:
    """What is known of a target and of its subject. Only ``measure...`` asks it."""

    def __init__(self, target: Target, subject: Subject, facts: Facts, plan: TargetPlan) -> None:
        self.subject = subject
        """With what it claims on this target."""
        self.facts = dict(facts)
        """For requirements: the inventory's and the subject's, and CPUID's once the target is reached."""
        self.info: TargetInfo | None = None
        self.cpu: MeasuredCpu | None = None
        """None until it was measured."""
        self.status: Mapping[str, str] = {}
        """What the subject answered when it was loaded first."""
        self.guest_measured = False
        """Whether ``facts`` are about a guest, and no longer only about the bare machine."""
        self.self_test: SelfTest | None = None
        """None: which controls the processor heeds was not tested."""
        self.made_good: set[str] = set()
        """What the processor does not do, and the guest has all the same."""
        self.target = target
        self._plan = plan
        self._line: tuple[Mapping[str, str], str] | None = None

    @property
    def as_found(self) -> bool:
        """Whether the subject is there before anything is loaded, and cannot be taken away."""
        return is_as_found(self.facts)

    @property
    def ring0(self) -> bool:
        """Whether probes run at CPL 0 on a machine that is judged as it is found."""
        return has_ring0(self.facts)

    def measure(self, driver: Driver) -> None:
        """Ask the machine that was reached what requirements need. Raises what the driver raises."""
        assert self.info is not None
        self.cpu, found = self._ask_cpu(driver, self.info)
        if self.as_found:
            self.subject = replace(self.subject, claims=claims_of(self.cpu))
            self.facts |= {f"subject.{name}": value for name, value in self.subject.claims.items()}
        self.facts |= found
        self.facts |= {"os": self.info.os, "cpus": self.info.cpus}
        self.facts.setdefault("way", self.info.os)
        if "emulator" not in self.facts:
            emulator = emulator_of(self.target.settings, driver.facts().get("accelerator", ""))
            self.facts["emulator"] = emulator or "none"

    def ignores(self, requirements: Iterable[Requirement]) -> str | None:
        """Why a subject is not to blame for what came of requirements: the processor does not do its part.

        A subject that does without it may hold the check all the same: this is asked about one that does not.
        """
        if self.subject.absent or self.self_test is None:
            return None
        outcome = evaluate_all(tuple(requirements), {**self.facts, **self._ignored()})
        if outcome.result is not False:
            return None
        seen = [
            f"{name}: {what}" for name, what in self.self_test.ignored.items() if fact(name) in outcome.reason
        ]
        return f"{outcome.reason} ({', '.join(seen)})"

    def measure_guest(self, driver: Driver) -> None:
        """What the guest's CPUs do not have is not required of it: how many features it has is configured.

        Virtualization is no such feature where the subject claims to hide it: that is judged.
        """
        if self.guest_measured:
            return
        assert self.info is not None
        _, found = self._ask_cpu(driver, self.info)
        hidden = VIRTUALIZATION if self.subject.claims.get("nested") == "hidden" else ()
        for name, value in found.items():
            if name not in hidden:
                self.facts[name] = min(int(value), int(self.facts[name]))
        self.guest_measured = True

    def measure_made_good(self, driver: Driver) -> None:
        """Look whether the subject does on all CPUs what the processor does not: it is judged by that."""
        ignored = set() if self.self_test is None else self.self_test.ignored.keys() - self.made_good
        for name in sorted(ignored & MADE_GOOD.keys()):
            assert self.info is not None
            way, cpus = MADE_GOOD[name], tuple(range(self.info.cpus))
            found = driver.run(ProbeRequest(way.code, cpus=cpus, timeout=PROBE_TIMEOUT))
            if all(one.registers["rax"] & way.bits == way.bits for one in found):
                self.made_good.add(name)

    def _ignored(self) -> Facts:
        """Of what the self-test found wrong, what may excuse the subject."""
        assert self.self_test is not None
        ignored = self.self_test.ignored.keys() - self.made_good
        if self.subject.claims.get("faults-before-exits"):
            ignored = {name for name in ignored if not name.startswith(FAULTS_BEFORE_EXITS)}
        return {fact(name): False for name in ignored}

    def _ask_cpu(self, driver: Driver, info: TargetInfo) -> tuple[MeasuredCpu, Facts]:
        """CPU 0, and what the requirements of the planned checks ask of it."""
        if self.as_found:
            cpl: Literal[0, 3] = 0 if self.ring0 else 3
            return measured_facts(driver, info, self._plan.checks, (HYPERVISOR,), cpl=cpl)
        return measured_facts(driver, info, self._plan.checks)

    def describe(self, driver: Driver | None) -> str:
        """One line: what the target is, and how much of it the subject has."""
        if self.info is None or self.cpu is None:
            return f"{self.target.title}: not reached"
        if self._line and self._line[0] is self.status:
            return self._line[1]
        if self.as_found:
            line = line_about_here(self.info, self.cpu, {} if driver is None else driver.facts())
        else:
            line = line_about(self.subject, self.info, self.cpu, self.status)
        self._line = (self.status, line)
        return line

    def for_journal(self, driver: Driver | None) -> dict[str, str]:
        """What verdicts may depend on: emulator, firmware, kernel, microcode, ...; as far as it is known."""
        if self.info is None or self.cpu is None or driver is None:
            return {}
        under = {"hypervisor": underneath(self.cpu)} if self.as_found else {}
        if self.self_test is not None:
            under |= self.self_test.in_words()
        settings = self.target.settings
        return facts_about(settings, self.info, self.cpu, self.status, {**driver.facts(), **under})
