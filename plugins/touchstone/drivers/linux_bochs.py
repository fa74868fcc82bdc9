"""A Bochs machine that runs a Linux of ours: switched on and off, shot at and autopsied; no agent.

The counterpart of ``linux_qemu``, for VMX. Bochs takes no snapshots without a display: whoever wants the
machine as it was after its boot waits for another one.
"""

from __future__ import annotations

import os
import select
import shutil
import socket
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from touchstone.drivers.backtrace import backtrace, parse_registers
from touchstone.drivers.base import Progress
from touchstone.drivers.bochs_config import INSTALL, check_firmware, prepare, read_linux_settings
from touchstone.drivers.bochs_log import dumped_registers, last_panic, log_tail, read_log
from touchstone.drivers.bochs_ports import free_port, is_ours
from touchstone.drivers.bochs_terminal import Terminal
from touchstone.drivers.linux_bochs_disk import write_disk
from touchstone.drivers.linux_console import Console
from touchstone.drivers.linux_image import LinuxImage
from touchstone.drivers.linux_qemu import BOOT_TIMEOUT, COMMAND_LINE, READY, SshAddress
from touchstone.drivers.process import EmulatorProcess, PrivateDirectory, check_memory, private_directory
from touchstone.machine.driver import AgentRefused, Autopsy, InfrastructureError, TargetDied
from touchstone.machine.settings import TargetSettings
from touchstone.machine.symbols import Symbols

ABSENT = {
    # CPUID gives the size of the standard format for the compacted one, for which Linux gives up XSAVE.
    "XSAVEC": 10 * 32 + 1,
    # Bochs does not have them, and says so in its log at every read: 500 times a second.
    "APERFMPERF": 3 * 32 + 28,
}
"""Features that CPUID lists, and that Linux must not use: their numbers (X86_FEATURE_...)."""
KERNEL_OPTIONS = (
    # CPUID speaks of 3.5 GHz, but the time-stamp counter counts simulated instructions.
    "tsc_early_khz={khz}",
    # A CPU that waits in MWAIT is not woken by what another one writes, only by an interrupt.
    "idle=halt",
    "noxsaves clearcpuid={features}",
    # Nobody types: looking for a keyboard and a mouse takes a quarter of the boot.
    "i8042.nokbd i8042.noaux",
    # For nobody on Bochs' network, and modprobe would be started six times for what it needs.
    "ipv6.disable=1",
)
DEVICES = """\
com1: enabled=1, mode=file, dev={directory}/console
com2: enabled=1, mode=socket-client, dev=127.0.0.1:{signal}
pci: enabled=1, chipset=i440fx, slot1=e1000
e1000: enabled=1, mac=52:54:00:12:34:56, ethmod=slirp, script={directory}/slirp
"""
# Nothing leaves the machine, and only this host reaches its port.
NETWORK = """\
# slirp config
restricted = 1
hostfwd = tcp:127.0.0.1:{port}-:22
"""


class BochsLinuxMachine:
    """One machine. Every method may raise InfrastructureError; TargetDied if it dies while waited for."""

    def __init__(
        self, settings: TargetSettings, provide_image: Callable[[Progress], LinuxImage], log_directory: Path
    ) -> None:
        """Starts nothing. The console goes to ``NAME.serial.log``."""
        self.name = settings.name
        self.settings = settings
        self._bochs = read_linux_settings(settings)
        self._provide_image = provide_image
        self._image: LinuxImage | None = None
        self._port = 0
        self._directory: PrivateDirectory | None = None
        self._terminal: Terminal | None = None
        self._process: EmulatorProcess | None = None
        self._signal: socket.socket | None = None
        self._stopped = False
        self._console = Console(log_directory / f"{settings.name}.serial.log")
        self.boot_seconds = 0.0
        """From the start of the process to a reachable sshd."""

    @property
    def pid(self) -> int | None:
        """Process id of Bochs while there is one."""
        return self._process.pid if self._process else None

    @property
    def image(self) -> LinuxImage:
        """What it boots. InfrastructureError before the first start."""
        if self._image is None:
            raise InfrastructureError(f"{self.name} has not been started")
        return self._image

    def address(self) -> SshAddress:
        """How to get in. It changes with every start."""
        if not self._port:
            raise InfrastructureError(f"{self.name} is not running: start it first")
        return SshAddress("127.0.0.1", self._port, "root", self.image.key, self.image.host_key)

    def start(self, progress: Progress) -> None:
        """Switch it on, and wait until sshd listens."""
        if self._process is not None:
            self.restore(progress)
            return
        self._image = self._provide_image(progress)
        if shutil.which(self._bochs.binary) is None:
            raise InfrastructureError(f"{self._bochs.binary} is missing ({INSTALL})")
        check_firmware(self._bochs)
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
        """Bring it, in whatever state, to where it was after the boot: by another one."""
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
        if self._terminal is not None:
            self._terminal.close()
            self._terminal = None
        self._port = 0
        self._console.collect()
        if self._directory is not None:
            self._directory.remove()
            self._directory = None

    def inject_nmi(self) -> None:
        """Bochs has no way to do it."""
        raise AgentRefused("unsupported", "Bochs cannot inject an NMI from outside")

    @property
    def death_fd(self) -> int:
        """Readable once Bochs has ended: a triple fault ends it."""
        if self._process is None:
            raise InfrastructureError(f"{self.name} is not running")
        return self._process.pidfd

    def death(self) -> str:
        """What it died of, or nothing."""
        # The end of a connection comes first when Bochs dies; its status follows within a moment.
        if self._process is None or not self._process.wait(1.0):
            return ""
        panic = last_panic(self._log_text())
        return f"Bochs {self._process.describe_end()}" + (f": {panic}" if panic else "")

    def console_mark(self) -> int:
        """Position in the console's log, to ask later for what came after it."""
        return self._console.mark()

    def console_since(self, mark: int) -> str:
        """The console since a mark."""
        return self._console.since(mark)

    def autopsy(self) -> Autopsy:
        """Stop it and gather evidence. Does not raise, in whatever state the machine is."""
        notes: list[str] = []
        registers: dict[int, str] = {}
        frames: dict[int, tuple[str, ...]] = {}
        reason = self.death() or "the target was not running"
        try:
            if self._process is not None and self._process.status() is None:
                reason = "the target is not known to have died; Bochs is still running"
                registers.update(self._interrupt().registers(self.settings.cpus))
                for cpu, text in registers.items():
                    read = partial(self.read_memory, cpu=cpu)
                    frames[cpu] = backtrace(parse_registers(text), read, Symbols(None))
            elif self._process is not None:
                registers.update(dumped_registers(self._log_text()))
                notes.append("Bochs is gone, and its memory with it: no backtrace")
        except Exception as error:  # evidence must never cost the verdict that it is meant for
            notes.append(f"the autopsy broke off: {type(error).__name__}: {error}")
        return Autopsy(
            reason=reason,
            registers=registers,
            backtraces=frames,
            serial=self._console.tail(),
            emulator_log=self._emulator_log(),
            notes=tuple(notes),
        )

    def read_memory(self, address: int, length: int, cpu: int = 0) -> bytes:
        """Guest memory at a linear address of a CPU. Stops the machine."""
        if self._directory is None:
            raise InfrastructureError(f"{self.name} is not running")
        return self._interrupt().memory(self._directory.path, address, length, cpu)

    def _launch(self, progress: Progress) -> None:
        directory = self._directory = private_directory()
        terminal = self._terminal = Terminal()
        self._stopped = False
        progress(
            f"starting {self.name}: Bochs, {self._bochs.model}, {self._bochs.cpus} CPUs, "
            f"{self._bochs.memory_mib} MiB, booting Linux {self.image.release}"
        )
        words = command_line(self._bochs.ips)
        kernel, initrd = self.image.kernel, self.image.initrd
        write_disk(kernel, initrd, words, self._bochs.memory_mib, directory.path / "disk.img")
        port = free_port()
        (directory.path / "slirp").write_text(NETWORK.format(port=port), encoding="ascii")
        with socket.create_server(("127.0.0.1", 0), backlog=1) as listener:
            devices = DEVICES.format(directory=directory.path, signal=listener.getsockname()[1])
            self._console.follow(directory.path / "console")
            began = time.monotonic()
            try:
                process = self._process = EmulatorProcess(
                    prepare(self._bochs, directory.path, devices),
                    stderr=directory.path / "stderr",
                    stdio=terminal.slave,
                    environment={**os.environ, "TERM": "xterm"},
                    cwd=directory.path,
                )
            finally:
                terminal.started()
            while True:
                connection = self._wait(listener, process, began).accept()[0]
                if is_ours(connection):
                    break
                connection.close()
        self._signal = connection
        terminal.keep_readable()
        said = b""
        while READY not in said or not said.endswith(b"\n"):
            said += self._wait(connection, process, began).recv(4096)
        self._port = port
        self.boot_seconds = time.monotonic() - began
        progress(f"{self.name} has booted in {self.boot_seconds:.0f} s")

    def _wait(self, source: socket.socket, process: EmulatorProcess, began: float) -> socket.socket:
        """The socket, once there is something to read from it. TargetDied if Bochs ends before."""
        poll = select.poll()
        poll.register(source, select.POLLIN)
        poll.register(process.pidfd, select.POLLIN)
        limit = BOOT_TIMEOUT * self.settings.timeout_factor
        ready = [fd for fd, _ in poll.poll(max(0.0, began + limit - time.monotonic()) * 1000)]
        if process.pidfd in ready:
            raise TargetDied(self.death())
        if not ready:
            raise InfrastructureError(
                f"{self.name}: sshd was not up after {limit:g} s; "
                f"end of its console:\n{self._console.tail(2000)}"
            )
        return source

    def _interrupt(self) -> Terminal:
        """Stop the machine: SIGINT makes Bochs enter its debugger at the next instruction."""
        if self._process is None or self._terminal is None:
            raise InfrastructureError(f"{self.name} is not running")
        if not self._stopped:
            self._process.interrupt()
            self._terminal.entered()
            self._stopped = True
        return self._terminal

    def _log_text(self) -> str:
        return read_log(self._directory.path / "log") if self._directory else ""

    def _emulator_log(self) -> str:
        ended = self._process is None or self._process.status() is not None
        said = self._terminal.tail(ended=ended) if self._terminal else ""
        return log_tail(self._log_text(), said)

    def _failure(self, died: TargetDied) -> str:
        parts = [f"{self.name} did not start: {died}"]
        if said := self._emulator_log():
            parts.append(f"Bochs said:\n{said}")
        if self._process is not None:
            parts.append("command: " + " ".join(self._process.command))
        if console := self._console.tail(2000):
            parts.append(f"end of its console:\n{console}")
        return "\n".join(parts)


def command_line(ips: int) -> str:
    """The kernel's, for a machine with so many simulated instructions per second."""
    features = ",".join(map(str, ABSENT.values()))
    return " ".join((COMMAND_LINE, *KERNEL_OPTIONS)).format(khz=ips // 1000, features=features)
