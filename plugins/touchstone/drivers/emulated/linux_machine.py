"""The common life of an emulated machine with a Linux of ours: started, seen to die, autopsied; no agent.

Whoever wants in takes ``address()`` and comes over SSH, as to any box.
"""

from __future__ import annotations

import select
import shutil
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from touchstone.drivers.agent_driver import Progress
from touchstone.drivers.emulated.backtrace import backtrace, parse_registers
from touchstone.drivers.emulated.linux_console import Console
from touchstone.drivers.emulated.machine import LAST_BREATH, Evidence
from touchstone.drivers.emulated.process import EmulatorProcess, PrivateDirectory, check_memory
from touchstone.drivers.linux_image.image import LinuxImage
from touchstone.machine.driver import Autopsy, InfrastructureError, TargetDied
from touchstone.machine.polling import poll_for
from touchstone.machine.settings import TargetSettings
from touchstone.machine.symbols import Symbols

BOOT_TIMEOUT = 120.0
"""Seconds from the start of the process to the line that says that sshd is there."""
COMMAND_LINE = "console=ttyS0,115200 tsc=reliable panic=0 quiet printk.time=1 cryptomgr.notests"
"""Tests of the ciphers are a fifth of the boot of an emulated machine."""
READY = b"!ready"


@dataclass(frozen=True)
class SshAddress:
    """How to get into a box."""

    host: str
    port: int
    user: str
    key: Path
    """Private key."""
    host_key: str
    """Fingerprint that its host key must have: ``SHA256:...``."""


class LinuxMachine(ABC):
    """One machine. Every method may raise InfrastructureError; TargetDied if it dies while waited for.

    Subclasses start its emulator and look into it.
    """

    emulator = ""
    """Its name in sentences."""
    program = ""
    install = ""
    """The command that installs it."""

    def __init__(
        self, settings: TargetSettings, provide_image: Callable[[Progress], LinuxImage], log_directory: Path
    ) -> None:
        """Starts nothing. The console goes to ``NAME.serial.log``."""
        self.name = settings.name
        self.version: tuple[int, ...] | None = None
        """Of the emulator, once it was started, where that is known."""
        self.settings = settings
        self._provide_image = provide_image
        self._image: LinuxImage | None = None
        self._port = 0
        self._directory: PrivateDirectory | None = None
        self._process: EmulatorProcess | None = None
        self._signal: socket.socket | None = None
        self._console = Console(log_directory / f"{settings.name}.serial.log")
        self.boot_seconds = 0.0
        """From the start of the process, or of the restoring, to a reachable sshd."""

    @property
    def pid(self) -> int | None:
        """Process id of the emulator while there is one."""
        return self._process.pid if self._process else None

    @property
    def image(self) -> LinuxImage:
        """What it boots. InfrastructureError before the first start."""
        if self._image is None:
            raise InfrastructureError(f"{self.name} has not been started")
        return self._image

    def address(self) -> SshAddress:
        """How to get in. It changes with every new process: ``start`` after ``stop``."""
        if not self._port:
            raise InfrastructureError(f"{self.name} is not running: start it first")
        return SshAddress("127.0.0.1", self._port, "root", self.image.key, self.image.host_key)

    def start(self, progress: Progress) -> None:
        """Switch it on, and wait until sshd listens."""
        if self._process is not None:
            self.restore(progress)
            return
        self._image = self._provide_image(progress)
        if shutil.which(self.program) is None:
            raise InfrastructureError(f"{self.program} is missing ({self.install})")
        self._check_host()
        check_memory(self.settings.memory_mib)
        try:
            self._launch(progress)
        except TargetDied as died:
            evidence = self._failure(died)
            self.stop()
            raise InfrastructureError(evidence) from died
        except BaseException:
            self.stop()
            raise

    def restore(self, progress: Progress) -> None:
        """Bring it, in whatever state, to where it was after the boot: here, by another one."""
        self.stop()
        self.start(progress)

    def stop(self) -> None:
        """Leave nothing behind. Safe in any state, and to repeat."""
        if self._process is not None:
            self._process.kill()
            self._process = None
        if self._signal is not None:
            self._signal.close()
            self._signal = None
        self._release()
        self._port = 0
        self._console.collect()
        if self._directory is not None:
            self._directory.remove()
            self._directory = None

    @abstractmethod
    def inject_nmi(self) -> None:
        """Pull the NMI line. AgentRefused by an emulator that cannot."""

    @property
    def process_fd(self) -> int:
        """Readable once the emulator has ended."""
        if self._process is None:
            raise InfrastructureError(f"{self.name} is not running")
        return self._process.pidfd

    @property
    def death_fd(self) -> int:
        """Readable once the machine has died by itself: here, together with its emulator."""
        return self.process_fd

    def death(self) -> str:
        """What it died of, or nothing."""
        return f"{self.emulator} {self._process.describe_end()}" if self._process and self._ended() else ""

    def console_mark(self) -> int:
        """Position in the console's log, to ask later for what came after it."""
        return self._console.mark()

    def console_since(self, mark: int) -> str:
        """The console since a mark."""
        return self._console.since(mark)

    def autopsy(self) -> Autopsy:
        """Stop it and gather evidence. Does not raise, in whatever state the machine is."""
        evidence = Evidence()
        died = self.death()
        reason = died or "the target was not running"
        with evidence.gathering():
            if self._ended():
                self._examine_remains(evidence)
            else:
                reason = f"{died or 'the target is not known to have died'}; {self._state()}"
                for cpu, text in self._registers():
                    evidence.registers[cpu] = text
                    read = partial(self.read_memory, cpu=cpu)
                    evidence.frames[cpu] = backtrace(parse_registers(text), read, Symbols(None))
        return Autopsy(
            reason=reason,
            registers=evidence.registers,
            backtraces=evidence.frames,
            serial=self._console.tail(),
            emulator_log=self._emulator_log(),
            notes=tuple(evidence.notes),
        )

    @abstractmethod
    def read_memory(self, address: int, length: int, cpu: int = 0) -> bytes:
        """Guest memory as a CPU sees it."""

    # What a subclass says of its emulator.

    def _check_host(self) -> None:  # noqa: B027 (QEMU needs nothing else)
        """InfrastructureError for what else the emulator needs and does not find."""

    @abstractmethod
    def _launch(self, progress: Progress) -> None:
        """Start the process and wait until sshd listens at ``_port``."""

    @abstractmethod
    def _description(self) -> str:
        """The emulator and its CPU in a few words, for the progress."""

    def _release(self) -> None:  # noqa: B027 (Bochs is reached by its process alone)
        """Let go of what the process was reached by, after its end."""

    @abstractmethod
    def _state(self) -> str:
        """What a living emulator says of the machine's state."""

    @abstractmethod
    def _registers(self) -> Iterable[tuple[int, str]]:
        """Stop the machine and read the registers, CPU by CPU."""

    @abstractmethod
    def _examine_remains(self, evidence: Evidence) -> None:
        """What can still be told of a machine whose emulator has ended."""

    def _emulator_log(self) -> str:
        """End of the emulator's own log."""
        return self._process.stderr() if self._process else ""

    # What is the same for all of them.

    def _ended(self) -> bool:
        return self._process is None or self._process.status() is not None

    def _describe(self) -> str:
        return f"{self._description()}, {self.settings.cpus} CPUs, {self.settings.memory_mib} MiB"

    def _accept(self, listener: socket.socket, began: float) -> socket.socket:
        """Wait until the emulator has connected its second serial port to us."""
        if not self._wait(listener, began):
            raise InfrastructureError(f"{self.emulator} did not connect its serial port")
        connection = listener.accept()[0]
        connection.setblocking(False)
        return connection

    def _wait_ready(self, began: float) -> None:
        """Wait for the init's line on the second serial port."""
        assert self._process is not None
        assert self._signal is not None
        said = b""
        while READY not in said or not said.endswith(b"\n"):
            if not self._wait(self._signal, began):
                raise InfrastructureError(
                    f"{self.name}: sshd was not up after {self._patience():g} s; "
                    f"end of its console:\n{self._console.tail(2000)}"
                )
            if not (data := self._signal.recv(4096)):
                self._process.wait(LAST_BREATH)  # its status follows
                raise TargetDied(self.death() or f"{self.emulator} closed its serial port")
            said += data
        self.boot_seconds = time.monotonic() - began

    def _wait(self, source: socket.socket, began: float) -> bool:
        """Whether there is something to read before a boot takes too long. TargetDied if it dies before."""
        poll = select.poll()
        for fd in (source.fileno(), self.process_fd, self.death_fd):
            poll.register(fd, select.POLLIN)
        left = began + self._patience() - time.monotonic()
        ready = [fd for fd, _ in poll_for(poll, left)]
        if self.process_fd in ready or self.death_fd in ready:
            raise TargetDied(self.death())
        return bool(ready)

    def _patience(self) -> float:
        return BOOT_TIMEOUT * self.settings.timeout_factor

    def _failure(self, died: TargetDied) -> str:
        """Why the machine did not come up, with all that may help."""
        parts = [f"{self.name} did not start: {died}"]
        if said := self._emulator_log():
            parts.append(f"{self.emulator} said:\n{said}")
        if self._process is not None:
            parts.append("command: " + " ".join(self._process.command))
        if console := self._console.tail(2000):
            parts.append(f"end of its console:\n{console}")
        return "\n".join(parts)
