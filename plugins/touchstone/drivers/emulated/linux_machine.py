"""An emulated machine with a Linux of ours: started, seen to die, autopsied; no agent.

Whoever wants in takes ``address()`` and comes over SSH, as to any box.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from touchstone.drivers.emulated.console_log import ConsoleLog
from touchstone.drivers.emulated.emulator import END_TIMEOUT, Emulator
from touchstone.drivers.emulated.machine import EmulatedMachine
from touchstone.drivers.linux_image.image import LinuxImage
from touchstone.drivers.linux_image.kallsyms import KernelSymbols
from touchstone.machine.driver import InfrastructureError, Say, TargetDied
from touchstone.machine.settings import TargetSettings

E = TypeVar("E", bound=Emulator)
BOOT_TIMEOUT = 120.0
"""Seconds from the start of the process to the line that says that sshd is there."""
COMMAND_LINE = "console=ttyS0,115200 tsc=reliable panic=0 quiet printk.time=1 cryptomgr.notests"
"""The kernel's. Its self-tests of ciphers would be a fifth of the boot of an emulated machine."""
READY = b"!ready"
"""What the image's init writes to the second serial port when sshd listens."""
CONSOLE = "console"
"""File that the emulator writes the console into."""


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


class LinuxMachine(EmulatedMachine[E]):
    """One machine. Every method may raise InfrastructureError. Subclasses start its emulator."""

    def __init__(
        self, settings: TargetSettings, provide_image: Callable[[Say], LinuxImage], log_directory: Path
    ) -> None:
        """Starts nothing. The console goes to ``NAME.serial.log``."""
        self.name = settings.name
        self.emulator_version = None
        self.settings = settings
        self._provide_image = provide_image
        self._image: LinuxImage | None = None
        self._port = 0
        self._console = ConsoleLog(log_directory / f"{settings.name}.serial.log")
        self.boot_seconds = 0.0
        """From the start of the process, or of the restoring, to a reachable sshd."""

    @property
    def image(self) -> LinuxImage:
        """What it boots. InfrastructureError before the first start."""
        if self._image is None:
            raise InfrastructureError(f"{self.name} has not been started")
        return self._image

    def address(self) -> SshAddress:
        """How to get in. It changes with every new process: ``start`` after ``stop``."""
        self._started()
        return SshAddress("127.0.0.1", self._port, "root", self.image.key, self.image.host_key)

    def start(self, progress: Say) -> None:
        """Switch it on, and wait until sshd listens."""
        if self._emulator is not None:
            self.restore(progress)
            return
        image = self._image = self._provide_image(progress)
        self._symbols = KernelSymbols(image.kernel)
        self._switch_on(lambda: self._launch(image, progress))

    def restore(self, progress: Say) -> None:
        """Bring it, in whatever state, to where it was after the boot: here, by another one."""
        self.stop()
        self.start(progress)

    def inject_nmi(self) -> None:
        """Pull the NMI line, which leads to every CPU. AgentRefused by an emulator that cannot."""
        self._running().inject_nmi()

    @property
    def death_fd(self) -> int:
        """Readable once the machine has died by itself, or its emulator has ended."""
        return self._started().death_fd

    def death(self) -> str:
        """What it died of, or nothing."""
        return self._emulator.died_with_panic() if self._emulator else ""

    def was_shot(self) -> bool:
        """Whether somebody on this host ended it."""
        return self._emulator is not None and self._emulator.shot

    def console_mark(self) -> int:
        """Position in the console's log, to ask later for what came after it."""
        return self._console.mark()

    def console_since(self, mark: int) -> str:
        """The console since a mark."""
        return self._console.since(mark)

    @abstractmethod
    def _launch(self, image: LinuxImage, progress: Say) -> None:
        """Start the emulator and wait until sshd listens at ``_port``."""

    def _deadline(self, began: float) -> float:
        """When a boot that began then has taken too long."""
        return began + BOOT_TIMEOUT * self.settings.timeout_factor

    def _connect(self, emulator: E, began: float) -> None:
        """Follow the console of a new emulator, and wait until it has connected the second serial port."""
        self._emulator = emulator
        self._console.follow(emulator.directory / CONSOLE)
        emulator.connect(self._deadline(began))

    def _wait_ready(self, emulator: E, began: float) -> None:
        """Wait for the init's line on the second serial port. TargetDied if the machine dies before."""
        said = b""
        while READY not in said or not said.endswith(b"\n"):
            if not emulator.wait_readable(emulator.connection, self._deadline(began)):
                limit = BOOT_TIMEOUT * self.settings.timeout_factor
                raise InfrastructureError(f"its sshd was not up after {limit:g} s")
            if not (data := emulator.connection.recv(4096)):
                emulator.process.wait(END_TIMEOUT)  # the connection ends first, then the process
                raise TargetDied(emulator.died() or f"{self.emulator} closed its serial port")
            said += data
        self.boot_seconds = time.monotonic() - began

    def _serial_tail(self, size: int = 8192) -> str:
        return self._console.tail(size)

    def _take_the_rest(self, emulator: E) -> None:
        self._console.collect()
        self._port = 0
