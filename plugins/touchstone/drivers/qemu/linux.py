"""A QEMU machine that runs a Linux of ours: kept as a snapshot after its boot, and driven over QMP."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from touchstone.drivers.emulated.kernel_words import kernel_words
from touchstone.drivers.emulated.linux_machine import BOOT_TIMEOUT, COMMAND_LINE, CONSOLE, LinuxMachine
from touchstone.drivers.emulated.process import EmulatorProcess
from touchstone.drivers.linux_image.image import LinuxImage
from touchstone.drivers.linux_image.vmlinux import elf_kernel
from touchstone.drivers.qemu.config import (
    INSTALL,
    OLDEST,
    UNKNOWN_VERSION,
    QemuSettings,
    cpu_model,
    installed_version,
    read_linux_settings,
    too_old,
)
from touchstone.drivers.qemu.emulator import SERIAL, Qemu, describe_reset
from touchstone.drivers.qemu.snapshot import Jobs, SnapshotStore
from touchstone.machine.driver import InfrastructureError, Say
from touchstone.machine.settings import TargetSettings

RESET_TIMEOUT = 60.0
PATIENT_KERNEL = "watchdog_thresh=60 rcupdate.rcu_cpu_stall_timeout=240"
"""The guest's time is the host's: if the host does not schedule a CPU for 20 s, that is no soft lockup."""
PATCHES_IN_PARALLEL = (8, 1)
"""The first QEMU whose CPUs may have a thread each while a Linux that runs on them patches its own text."""


class LinuxQemu(Qemu):
    """A QEMU that boots a Linux image, or continues from a snapshot of it. It starts stopped (-S).

    Its serial port is COM2, where the image's init says that sshd listens; COM1 is the console.
    """

    def __init__(
        self,
        settings: TargetSettings,
        qemu: QemuSettings,
        version: tuple[int, int],
        image: LinuxImage,
        progress: Say,
    ) -> None:
        """``version`` of QEMU. Waits for another process that boots the same machine."""
        self._settings = settings
        self._qemu = qemu
        self._version = version
        self._image = image
        self._progress = progress
        self._job_changes: SimpleQueue[tuple[str, str]] = SimpleQueue()
        self._resets: SimpleQueue[str] = SimpleQueue()
        super().__init__(settings.name, settings.cpus, qemu.binary)

    def _start_process(self) -> EmulatorProcess:
        same = [str(self._version), *self._snapshot_arguments()]
        self._store = SnapshotStore(self.directory / "snapshot.qcow2", self._image.directory, same)
        self._resources.callback(self._store.release)
        self._store.fetch(self._progress)
        process = super()._start_process()
        self._jobs = Jobs(self.monitor, self._job_changes)
        return process

    def _snapshot_arguments(self) -> list[str]:
        """The part of the command that a snapshot depends on."""
        qemu, settings, accel = self._qemu, self._settings, self._qemu.accel
        return [
            *("-nodefaults", "-no-user-config", "-display", "none", "-machine", qemu.machine),
            *("-accel", accelerator(accel, self._version), "-cpu", cpu_model(settings, accel)),
            *("-smp", str(settings.cpus), "-m", str(settings.memory_mib)),
            *(("-bios", qemu.firmware) if qemu.firmware else ()),
            *("-kernel", str(elf_kernel(self._image.kernel)), "-initrd", str(self._image.initrd)),
            *("-append", f"{COMMAND_LINE} {PATIENT_KERNEL} snapshot=1 {kernel_words(settings)}".rstrip()),
            *("-device", "virtio-net-pci,netdev=net,romfile=", "-device", "pvpanic-pci"),
            *qemu.arguments,
        ]

    def _arguments(self) -> list[str]:
        return [
            *("-S", *self._snapshot_arguments()),
            # Nothing leaves the machine, and only this host reaches its port.
            *("-netdev", "user,id=net,restrict=on,ipv6=off,hostfwd=tcp:127.0.0.1:0-:22"),
            *("-chardev", f"file,id={CONSOLE},path={self.directory}/{CONSOLE}"),
            *("-serial", f"chardev:{CONSOLE}", "-serial", f"chardev:{SERIAL}"),
        ]

    def _on_event(self, event: Mapping[str, Any]) -> None:
        name, data = event["event"], event.get("data", {})
        if name == "JOB_STATUS_CHANGE":
            self._job_changes.put((data["id"], data["status"]))
        elif name == "RESET":
            self._resets.put(describe_reset(name, data))
        elif name == "SHUTDOWN":
            self.death.give(describe_reset(name, data), from_outside=data.get("reason") == "host-signal")
        elif name == "GUEST_PANICKED":
            self.death.give(f"the target's Linux panicked (QEMU: GUEST_PANICKED, {data.get('action', '')})")

    @property
    def has_snapshot(self) -> bool:
        """Whether there is a state of the booted machine to put back."""
        return self._store.filled

    def attach_snapshots(self) -> None:
        """Give QEMU the file that snapshots are kept in."""
        self._store.attach(self.running_monitor(), self._jobs)

    def save_snapshot(self) -> None:
        """Keep the state of the machine, for the next start as well."""
        self.death.disarm()
        self._store.save(self.running_monitor(), self._jobs)
        self.death.arm()

    def restore_snapshot(self) -> None:
        """Put the kept state back and let the machine run."""
        self.death.disarm()
        self._store.restore(self.running_monitor(), self._jobs)
        self.death.arm()

    def forget_snapshot(self) -> None:
        """The kept state is of no use: the next machine boots."""
        self._store.forget()

    def run_from_boot(self) -> None:
        """Let a machine that was started stopped run."""
        self.death.arm()
        self.running_monitor().execute("cont")

    def press_reset(self) -> None:
        """Press the reset button and let the machine run. What it said on its serial port is dropped."""
        monitor = self.running_monitor()
        self.death.disarm()
        monitor.execute("stop")
        with contextlib.suppress(BlockingIOError):
            while self.connection.recv(4096):
                pass
        # While a reset from inside stops the machine, one from outside would too.
        self.let_reboot(True)
        while not self._resets.empty():
            self._resets.get_nowait()
        monitor.execute("system_reset")
        try:
            self._resets.get(timeout=RESET_TIMEOUT)
        except Empty:
            raise InfrastructureError(f"QEMU did not reset the machine within {RESET_TIMEOUT:g} s") from None
        self.death.arm()
        monitor.execute("cont")

    def let_reboot(self, allowed: bool) -> None:
        """Whether a reset from inside boots the machine again. If not, it stops, for an autopsy."""
        self.running_monitor().execute("set-action", reboot="reset" if allowed else "shutdown")

    def forwarded_port(self) -> int:
        """The port of this host that leads to the machine's sshd, as the kernel gave it to QEMU."""
        said = self.running_monitor().human("info usernet")
        for line in said.splitlines():
            fields = line.split()
            if fields and fields[0].startswith("TCP[HOST_FORWARD]"):
                return int(fields[3])
        raise InfrastructureError(f"QEMU does not forward a port to {self.name}: {said.strip()}")


class QemuLinuxMachine(LinuxMachine[LinuxQemu]):
    """One QEMU machine. See ``LinuxMachine`` for what the methods promise."""

    emulator = "QEMU"
    install = INSTALL

    def __init__(
        self, settings: TargetSettings, provide_image: Callable[[Say], LinuxImage], log_directory: Path
    ) -> None:
        """Starts nothing. The target's options are what QEMU's driver reads."""
        super().__init__(settings, provide_image, log_directory)
        self._qemu = read_linux_settings(settings)
        self.program = self._qemu.binary

    def restore(self, progress: Say) -> None:
        """See LinuxMachine. With the same address, if QEMU lives; connections into the machine are dead."""
        qemu = self._emulator
        if qemu is None or qemu.ended:
            super().restore(progress)
        elif qemu.has_snapshot:
            began = time.monotonic()
            qemu.restore_snapshot()
            self.boot_seconds = time.monotonic() - began
        else:
            self.reset(progress)

    def reset(self, progress: Say) -> None:
        """Press its reset button, and wait until it has booted."""
        qemu = self._running()
        progress(f"resetting {self.name}")
        began = time.monotonic()
        qemu.press_reset()
        self._wait_ready(qemu, began)
        qemu.let_reboot(False)  # not before: SeaBIOS resets the machine once more

    def let_reboot(self, allowed: bool) -> None:
        """Whether a reset from inside boots the machine again. If not, it stops, for an autopsy."""
        self._running().let_reboot(allowed)

    def _launch(self, image: LinuxImage, progress: Say) -> None:
        version = installed_version(self._qemu.binary)
        if UNKNOWN_VERSION < version < OLDEST:
            raise InfrastructureError(too_old(self._qemu.binary, version))
        qemu = LinuxQemu(self.settings, self._qemu, version, image, progress)
        began = time.monotonic()
        how = "from its snapshot" if qemu.has_snapshot else f"booting Linux {image.release}"
        progress(f"starting {self.name}: {self._description()}, {self._size()}, {how}")
        self._connect(qemu, began)
        qemu.monitor.established(BOOT_TIMEOUT)
        self.emulator_version = version
        qemu.attach_snapshots()
        self._port = qemu.forwarded_port()
        if qemu.has_snapshot:
            try:
                qemu.restore_snapshot()
                self.boot_seconds = time.monotonic() - began
                return
            except InfrastructureError as error:
                qemu.forget_snapshot()
                progress(f"{self.name}: its snapshot is of no use ({error}); booting")
                self.stop()
                self._launch(image, progress)
                return
        qemu.run_from_boot()
        self._wait_ready(qemu, began)
        progress(f"{self.name}: keeping a snapshot for the next start")
        qemu.save_snapshot()

    def _description(self) -> str:
        return f"{self._qemu.accel}, {cpu_model(self.settings, self._qemu.accel)}"


def accelerator(accel: str, version: tuple[int, int]) -> str:
    """QEMU's -accel for a machine that runs Linux, by the version of that QEMU.

    Linux patches its text while other CPUs run it: an INT3 first, then the rest, then an IPI to all. Before
    8.1 ("accel/tcg: Always lock pages before translation") a CPU's thread may have read the INT3, take the
    IPI, and run its translation of the INT3 when nobody expects one any more: "Oops: int3". Seen on 6.12 with
    7.2, without Veneer, seconds after schedule() began to be patched (tests/linux/poke.c); not with one
    thread for all CPUs, nor with 10.0. One thread gets one core: on a busy host of two, a boot took 45 s
    instead of 33, and 200 load/unload cycles of Veneer 65 s instead of 85.
    """
    if accel != "tcg":
        return accel
    return "tcg,thread=multi" if version >= PATCHES_IN_PARALLEL else "tcg,thread=single"
