"""A Bochs machine that runs a Linux of ours: the counterpart of ``linux_qemu``, for VMX.

Bochs takes no snapshots without a display: whoever wants the machine as it was after its boot waits for
another one.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from touchstone.drivers.agent_driver import Progress
from touchstone.drivers.bochs.config import INSTALL, check_firmware, read_linux_settings
from touchstone.drivers.bochs.disk import write_disk
from touchstone.drivers.bochs.ports import accept_ours, free_port
from touchstone.drivers.bochs.process import BochsProcess
from touchstone.drivers.emulated.linux_machine import COMMAND_LINE, LinuxMachine
from touchstone.drivers.emulated.machine import Evidence
from touchstone.drivers.emulated.process import private_directory
from touchstone.drivers.linux_image.image import LinuxImage
from touchstone.machine.driver import AgentRefused, InfrastructureError
from touchstone.machine.settings import TargetSettings

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


class BochsLinuxMachine(LinuxMachine):
    """One Bochs machine. See ``LinuxMachine`` for what the methods promise."""

    emulator = "Bochs"
    install = INSTALL

    def __init__(
        self, settings: TargetSettings, provide_image: Callable[[Progress], LinuxImage], log_directory: Path
    ) -> None:
        """Starts nothing. The target's options are what Bochs' driver reads."""
        super().__init__(settings, provide_image, log_directory)
        self._bochs = read_linux_settings(settings)
        self.program = self._bochs.binary
        self._process: BochsProcess | None = None

    def inject_nmi(self) -> None:
        """Bochs has no way to do it."""
        raise AgentRefused("unsupported", "Bochs cannot inject an NMI from outside")

    def death(self) -> str:
        """See LinuxMachine."""
        # The end of a connection comes first when Bochs dies; its status follows within a moment.
        if self._process is None or not self._process.wait(1.0):
            return ""
        panic = self._process.panic()
        return super().death() + (f": {panic}" if panic else "")

    def read_memory(self, address: int, length: int, cpu: int = 0) -> bytes:
        """Guest memory at a linear address of a CPU. Stops the machine."""
        if self._process is None:
            raise InfrastructureError(f"{self.name} is not running")
        return self._process.memory(address, length, cpu)

    def _check_host(self) -> None:
        check_firmware(self._bochs)

    def _launch(self, progress: Progress) -> None:
        directory = self._directory = private_directory()
        progress(f"starting {self.name}: {self._describe()}, booting Linux {self.image.release}")
        words = command_line(self._bochs.ips)
        kernel, initrd = self.image.kernel, self.image.initrd
        write_disk(kernel, initrd, words, self._bochs.memory_mib, directory.path / "disk.img")
        port = free_port()
        (directory.path / "slirp").write_text(NETWORK.format(port=port), encoding="ascii")
        with socket.create_server(("127.0.0.1", 0), backlog=1) as listener:
            devices = DEVICES.format(directory=directory.path, signal=listener.getsockname()[1])
            self._console.follow(directory.path / "console")
            began = time.monotonic()
            process = self._process = BochsProcess(self._bochs, directory.path, devices)
            self._signal = accept_ours(lambda: self._accept(listener, began))
        process.keep_readable()
        self._wait_ready(began)
        self.version = process.version()
        self._port = port
        progress(f"{self.name} has booted in {self.boot_seconds:.0f} s")

    def _description(self) -> str:
        return f"Bochs, {self._bochs.model}"

    def _state(self) -> str:
        return "Bochs is still running"

    def _registers(self) -> Iterable[tuple[int, str]]:
        assert self._process is not None
        return self._process.registers(self.settings.cpus).items()

    def _examine_remains(self, evidence: Evidence) -> None:
        if self._process is not None:
            evidence.registers.update(self._process.last_registers())
            evidence.notes.append("Bochs is gone, and its memory with it: no backtrace")

    def _emulator_log(self) -> str:
        return self._process.log_tail() if self._process else ""


def command_line(ips: int) -> str:
    """The kernel's, for a machine with so many simulated instructions per second."""
    features = ",".join(map(str, ABSENT.values()))
    return " ".join((COMMAND_LINE, *KERNEL_OPTIONS)).format(khz=ips // 1000, features=features)
