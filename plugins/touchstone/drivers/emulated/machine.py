"""The life of an emulated machine, whatever runs in it: it is started, may die, is examined, is stopped."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from touchstone.drivers.emulated.emulator import END_TIMEOUT, Emulator
from touchstone.drivers.emulated.evidence import Evidence
from touchstone.drivers.emulated.process import check_memory
from touchstone.machine.driver import (
    Autopsy,
    ConnectionEnded,
    HostError,
    InfrastructureError,
    TargetDied,
    TargetError,
    TargetHung,
)
from touchstone.machine.settings import TargetSettings
from touchstone.machine.symbols import Symbols

E = TypeVar("E", bound=Emulator)
T = TypeVar("T")


class EmulatedMachine(ABC, Generic[E]):
    """A machine that exists while an emulator runs. Subclasses say what is booted, and how it is reached."""

    emulator = ""
    """The emulator's name in sentences."""
    program = ""
    install = ""
    """The command that installs it."""

    name: str
    settings: TargetSettings
    emulator_version: tuple[int, ...] | None
    """Once the machine was started; None: not known."""
    _emulator: E | None = None
    """There while the machine is on."""
    _symbols: Symbols = Symbols(None)
    """Of what runs in it."""

    @property
    def pid(self) -> int | None:
        """Process id of the emulator while there is one."""
        return self._emulator.process.pid if self._emulator else None

    def facts(self) -> Mapping[str, str]:
        """See Driver: the emulator and its version."""
        version = "" if self.emulator_version is None else ".".join(map(str, self.emulator_version))
        return {"emulator": f"{self.emulator} {version}".rstrip()}

    def stop(self) -> None:
        """Leave nothing behind: no process, no socket, no file. Safe in any state, and to repeat."""
        emulator, self._emulator = self._emulator, None
        if emulator is not None:
            try:
                emulator.end()
                self._take_the_rest(emulator)
            finally:
                emulator.close()

    def autopsy(self) -> Autopsy:
        """Stop the machine and gather evidence. Does not raise, in whatever state it is."""
        evidence = Evidence()
        reason, log = "the target was not running", ""
        emulator = self._emulator
        with evidence.gathering():
            if emulator is not None:
                emulator.death.disarm()
                reason = self._reason(emulator)
                self._look_for_code(emulator)
                evidence.examine(emulator, self._symbols)
                reason = self._with_place(reason, emulator, evidence)
                log = emulator.log()
        return Autopsy(
            reason=reason,
            cause=evidence.cause,
            registers=evidence.registers,
            backtraces=evidence.frames,
            exits=tuple(map(str, evidence.exits)),
            serial=self._serial_tail(),
            emulator_log=log,
            notes=tuple(evidence.notes),
        )

    def read_memory(self, address: int, length: int, cpu: int = 0) -> bytes:
        """Guest memory at a virtual address of a CPU. Bochs stops the machine for that."""
        return self._running().read_memory(address, length, cpu)

    # What a subclass says of what runs in it.

    @abstractmethod
    def _description(self) -> str:
        """The emulator's CPU in a few words, for the progress."""

    @abstractmethod
    def _serial_tail(self, size: int = 8192) -> str:
        """The end of what the machine said."""

    @abstractmethod
    def _take_the_rest(self, emulator: E) -> None:
        """Take what the machine said before its process was ended, and forget how it was reached."""

    def _check_host(self) -> None:
        """InfrastructureError for what else than its program the emulator needs and does not find."""

    def _look_for_code(self, emulator: E) -> None:
        """Find out where in its memory there is code whose symbols are known, before backtraces are made."""

    def _with_place(self, reason: str, emulator: E, evidence: Evidence) -> str:
        """Why it stopped, with what is known of the place, which is added to the evidence."""
        return reason

    def _runs_the_subject(self) -> bool:
        """Whether a machine that does not come up has come so far that the subject had it."""
        return False

    def _known_death(self, emulator: E) -> str:
        """What is known of the death of a machine in an emulator that still runs."""
        return emulator.died()

    # What is the same for all of them.

    def _size(self) -> str:
        return f"{self.settings.cpus} CPUs, {self.settings.memory_mib} MiB"

    def _switch_on(self, boot: Callable[[], T]) -> T:
        """Start the machine with ``boot``. If that fails, the error says all that may help."""
        if shutil.which(self.program) is None:
            raise HostError(f"{self.program} is missing ({self.install})")
        self._check_host()
        check_memory(self.settings.memory_mib)
        try:
            return boot()
        except TargetError as error:
            found = self._explain(error) if isinstance(error, TargetDied) else error
            if isinstance(found, TargetDied | TargetHung) and self._runs_the_subject():
                raise found from error
            text = self._start_failure(error)
            self.stop()
            raise InfrastructureError(text) from error
        except BaseException:
            self.stop()
            raise

    def _started(self) -> E:
        if self._emulator is None:
            raise InfrastructureError(f"{self.name} is not running: start it first")
        return self._emulator

    def _running(self) -> E:
        emulator = self._started()
        if emulator.ended:
            raise InfrastructureError(f"{self.emulator} of {self.name} {emulator.process.describe_end()}")
        return emulator

    def _explain(self, died: TargetDied) -> TargetError:
        """The same death with what the emulator knows of its cause, and the lab's fault if it was shot."""
        if self._emulator is None:
            return died
        if isinstance(died, ConnectionEnded):
            self._emulator.process.wait(END_TIMEOUT)  # the connection ends first, then the process
        text = self._emulator.died() or str(died)
        return InfrastructureError(f"{text}, from outside") if self._emulator.shot else TargetDied(text)

    def _reason(self, emulator: E) -> str:
        """Why the machine stopped, as an autopsy says it."""
        if emulator.ended:
            return emulator.died_with_panic()
        return "; ".join(filter(None, (self._known_death(emulator), emulator.state())))

    def _start_failure(self, error: TargetError) -> str:
        """Why the machine did not come up, with all that may help."""
        explained = self._explain(error) if isinstance(error, TargetDied) else error
        emulator = self._emulator
        if emulator is not None and (problem := emulator.start_problem()):
            return f"{self.name} did not start: {problem}"
        parts = [f"{self.name} did not start: {explained}"]
        if emulator is not None:
            if said := emulator.log():
                parts.append(f"{self.emulator} said:\n{said}")
            parts.append("command: " + " ".join(emulator.process.command))
        if serial := self._serial_tail(2000):
            parts.append(f"end of the serial log:\n{serial}")
        return "\n".join(parts)
