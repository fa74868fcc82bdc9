"""A Bochs machine that runs a Linux of ours: the counterpart of ``qemu.linux``, for VMX.

Bochs takes no snapshots without a display, so restoring the machine means to boot another one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from touchstone.drivers.bochs.config import INSTALL, check_firmware, read_linux_settings
from touchstone.drivers.bochs.disk import write_disk
from touchstone.drivers.bochs.emulator import Bochs
from touchstone.drivers.bochs.ports import free_port
from touchstone.drivers.emulated.kernel_words import kernel_words
from touchstone.drivers.emulated.linux_machine import COMMAND_LINE, CONSOLE, LinuxMachine
from touchstone.drivers.linux_image.image import LinuxImage
from touchstone.machine.driver import Say
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
com1: enabled=1, mode=file, dev={directory}/{console}
com2: enabled=1, mode=socket-client, dev={signal}
pci: enabled=1, chipset=i440fx, slot1=e1000
e1000: enabled=1, mac=52:54:00:12:34:56, ethmod=slirp, script={directory}/slirp
"""
# Nothing leaves the machine, and only this host reaches its port.
NETWORK = """\
# slirp config
restricted = 1
hostfwd = tcp:127.0.0.1:{port}-:22
"""


class BochsLinuxMachine(LinuxMachine[Bochs]):
    """One Bochs machine. See ``LinuxMachine`` for what the methods promise."""

    emulator = "Bochs"
    install = INSTALL

    def __init__(
        self, settings: TargetSettings, provide_image: Callable[[Say], LinuxImage], log_directory: Path
    ) -> None:
        """Starts nothing. The target's options are what Bochs' driver reads."""
        super().__init__(settings, provide_image, log_directory)
        self._bochs = read_linux_settings(settings)
        self.program = self._bochs.binary

    def _check_host(self) -> None:
        check_firmware(self._bochs)

    def _launch(self, image: LinuxImage, progress: Say) -> None:
        machine = f"{self._description()}, {self._size()}"
        progress(f"starting {self.name}: {machine}, booting Linux {image.release}")
        port = free_port()

        def furnish(directory: Path, serial: str) -> str:
            words = f"{command_line(self._bochs.ips)} {kernel_words(self.settings)}".rstrip()
            write_disk(image.kernel, image.initrd, words, self._bochs.memory_mib, directory / "disk.img")
            (directory / "slirp").write_text(NETWORK.format(port=port), encoding="ascii")
            return DEVICES.format(directory=directory, console=CONSOLE, signal=serial)

        bochs = Bochs(self._bochs, furnish)
        began = time.monotonic()
        self._connect(bochs, began)
        self._wait_ready(bochs, began)
        self.emulator_version = bochs.version()
        self._port = port
        progress(f"{self.name} has booted in {self.boot_seconds:.0f} s")

    def _description(self) -> str:
        return f"Bochs, {self._bochs.model}"


def command_line(ips: int) -> str:
    """The kernel's, for a machine with so many simulated instructions per second."""
    features = ",".join(map(str, ABSENT.values()))
    return " ".join((COMMAND_LINE, *KERNEL_OPTIONS)).format(khz=ips // 1000, features=features)
