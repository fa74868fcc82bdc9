"""What a driver does, whatever kind of target it drives, and the three ways in which a target fails."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from touchstone.machine.probe import ProbeRequest, ProbeResult

Say = Callable[[str], None]
"""Takes a sentence about each step of something that takes its time, to show it to whoever waits."""


class TargetError(Exception):
    """Base of what can go wrong between us and a target."""


class InfrastructureError(TargetError):
    """The framework, the emulator, the link or the lab failed, never the hypervisor."""


class HostError(InfrastructureError):
    """What no reset of a target cures: a program that is missing, a build that fails, another run's lock."""


class TargetDied(TargetError):
    """The target stopped, shut down or reset while in our hands (triple fault, panic, process gone)."""


class ConnectionEnded(TargetDied):
    """The connection to the agent ended. A driver that can find out why raises the reason instead."""


class TargetHung(TargetError):
    """The target is there, but did not answer in the time that a request may take."""


class AgentRefused(TargetError):
    """The agent answered ``err``: the request could not be carried out and changed nothing."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}" if text else code)
        self.code = code
        self.text = text


@dataclass(frozen=True)
class CountsOf:
    """The question for the subject's exit counters of a CPU."""

    cpu: int


Question = ProbeRequest | CountsOf
Answer = list[ProbeResult] | Mapping[str, int] | AgentRefused
"""To a probe its results, one per CPU; to CountsOf the counters; or why that was refused."""


@dataclass(frozen=True)
class TargetInfo:
    """What a target said of itself when it was reached."""

    vendor: str
    """``intel`` or ``amd``."""
    cpus: int
    os: str
    """``bare`` or ``linux``."""
    subject: str
    """Name of the subject in the image, ``none`` if there is none."""
    agent: str
    """Version of the agent."""
    slot: int
    uslot: int
    stride: int


@dataclass(frozen=True)
class Autopsy:
    """Evidence from a target that died or hangs. What could not be had is empty, and ``notes`` says why."""

    reason: str
    """Why the machine stopped, in one sentence: ``guest triple fault (QEMU: RESET, guest-reset)``."""
    registers: Mapping[int, str] = field(default_factory=dict)
    """CPU to its registers as the monitor prints them."""
    backtraces: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    """CPU to frames, innermost first: ``0x100abc svm_exit+0x1c (svm/exit.c:88)``."""
    exits: tuple[str, ...] = ()
    """The subject's last exits, from its trace ring in the target's memory, newest last."""
    serial: str = ""
    """End of the serial log."""
    emulator_log: str = ""
    """End of the emulator's own log (Bochs says there which VM-entry check failed)."""
    notes: tuple[str, ...] = ()
    cause: str = ""
    """What others may have in common with it that ended so: an exception and its place, or where CPUs that
    hang are stuck. Empty: not known.
    """


class Asked(Protocol):
    """What is needed of a driver that is asked one thing after the other."""

    def run(self, probe: ProbeRequest) -> list[ProbeResult]:
        """See Driver."""

    def run_many(self, probes: Sequence[ProbeRequest]) -> Iterator[list[ProbeResult] | AgentRefused]:
        """See Driver."""

    def exits(self, cpu: int) -> Mapping[str, int]:
        """See Driver."""


def answers_of(driver: Asked, questions: Sequence[Question]) -> Iterator[Answer]:
    """See ``Driver.ask_many``. If exit counters are among them, each is asked when its answer is wanted."""
    probes = [one for one in questions if isinstance(one, ProbeRequest)]
    return driver.run_many(probes) if len(probes) == len(questions) else _one_by_one(driver, questions)


def _one_by_one(driver: Asked, questions: Iterable[Question]) -> Iterator[Answer]:
    for question in questions:
        try:
            yield driver.exits(question.cpu) if isinstance(question, CountsOf) else driver.run(question)
        except AgentRefused as refusal:
            yield refusal


class Driver(Protocol):
    """One target. Not thread-safe; one owner at a time. Every call may raise InfrastructureError.

    A driver that derives from this class need not set the attributes that have a value here.
    """

    name: str
    """The target's name in the inventory."""
    emulator_version: tuple[int, ...] | None = None
    """Version of the emulator, ``(7, 2)``, once the target was started; None: not known."""
    lock_key: str | None = None
    """Name of a machine that exists only once, the same in every run: a second run waits for the first. None:
    every run has a machine of its own, or the driver itself keeps other runs out.
    """
    outlives_runs: bool = False
    """The machine is there when no run is: what ails it now will ail the next run."""

    loads_by_reset: bool = False
    """The subject is loaded while the machine boots: ``load`` resets it, and probes leave nothing behind."""

    loads_another_machine: bool = False
    """To load the subject is to start another machine as its guest, whose CPUs may have fewer features."""

    def without_os(self) -> Driver | None:
        """A machine of the same processor that boots the bare OS, not started; None: there is none.

        What the processor's virtualization hardware does can be tested there, where no OS is in the way.
        """
        return None

    @abstractmethod
    def start(self, progress: Say) -> TargetInfo:
        """Switch the target on and reach its agent. ``progress`` gets a sentence per step."""

    @abstractmethod
    def reset(self, progress: Say) -> TargetInfo:
        """Bring a target in any state (dead, hung, alive) back to a reached agent, no subject loaded."""

    def distrust(self) -> None:
        """The next ``reset`` switches the machine off and on, where that can be done."""
        return

    def wait_in_full(self, *, wanted: bool) -> None:
        """Every request is given its whole time, also if what the target does shows that no answer comes."""
        return

    @abstractmethod
    def stop(self) -> None:
        """Leave nothing behind: no process, no socket, no file. Safe in any state, and to repeat."""

    @abstractmethod
    def run(self, probe: ProbeRequest) -> list[ProbeResult]:
        """Run a probe; one result per CPU, in the order of ``probe.cpus``.

        TargetDied, TargetHung, AgentRefused.
        """

    @abstractmethod
    def run_many(self, probes: Sequence[ProbeRequest]) -> Iterator[list[ProbeResult] | AgentRefused]:
        """Run probes one after the other: the results of each, or why the agent refused it.

        The first probes may have been sent when this returns, and the target may have run more of them than
        were taken from the iterator. TargetDied and TargetHung are the fault of the probe whose turn it is.
        """

    def ask_many(self, questions: Sequence[Question]) -> Iterator[Answer]:
        """Run probes, and read exit counters, one after the other, as ``run_many`` does for probes only."""
        return answers_of(self, questions)

    @abstractmethod
    def load(self, option: str | None = None) -> None:
        """Load the subject. AgentRefused when it refuses."""

    @abstractmethod
    def unload(self) -> None:
        """Unload the subject. AgentRefused when it refuses."""

    @abstractmethod
    def query(self) -> Mapping[str, str]:
        """What the subject says of itself: ``loaded``, ``name``, ``version``, ``cpus``, and its own keys."""

    @abstractmethod
    def exits(self, cpu: int) -> Mapping[str, int]:
        """Exit counters of a CPU since the subject was loaded, by the subject's names."""

    @abstractmethod
    def trace(self, cpu: int, count: int) -> list[str]:
        """The last exits of a CPU, newest last, readable."""

    @abstractmethod
    def send_nmis(self, cpus: tuple[int, ...], count: int) -> None:
        """Send ``count`` NMIs to each CPU, from inside of the target."""

    @abstractmethod
    def inject_nmi(self) -> None:
        """Inject one NMI from outside. AgentRefused (``unsupported``) where that cannot be done."""

    @abstractmethod
    def nmi_counts(self) -> list[int]:
        """NMIs taken since boot, per CPU."""

    @abstractmethod
    def request(
        self, verb: str, pairs: Mapping[str, str], timeout: float = ..., limit: float | None = None
    ) -> Mapping[str, str]:
        """Ask the agent for what only some agents can do; PROTOCOL.md has the verbs, and what they answer.

        ``timeout`` in seconds. ``limit``: seconds in which the agent gives up; it is told, and the answer may
        take ``timeout`` more. AgentRefused, with the code ``verb`` or ``EOPNOTSUPP`` if this agent cannot.
        """

    def facts(self) -> Mapping[str, str]:
        """What it knows of a target that it has reached, and what no probe can measure.

        ``emulator`` with its version, ``accelerator``, ``firmware``, ``kernel``; what is not known is absent.
        """
        return {}

    @abstractmethod
    def autopsy(self) -> Autopsy:
        """Evidence from a target that died or hangs; must not raise for a target in any state."""

    @abstractmethod
    def serial_position(self) -> int:
        """Where the serial log ends now, to ask later for what came after it. Asks the agent nothing."""

    @abstractmethod
    def serial_since(self, position: int) -> str:
        r"""The serial log from a position on, undecodable bytes as ``\xNN``. Asks the agent nothing."""
