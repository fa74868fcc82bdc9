"""A QEMU machine that runs a Linux of ours: kept as a snapshot after its boot, and driven over QMP."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from touchstone.drivers.agent_driver import DeathNotice, Progress
from touchstone.drivers.emulated.linux_machine import BOOT_TIMEOUT, COMMAND_LINE, LinuxMachine
from touchstone.drivers.emulated.machine import Evidence
from touchstone.drivers.emulated.process import EmulatorProcess, private_directory
from touchstone.drivers.linux_image.image import LinuxImage
from touchstone.drivers.linux_image.vmlinux import elf_kernel
from touchstone.drivers.qemu.config import (
    INSTALL,
    OLDEST,
    cpu_model,
    installed_version,
    read_linux_settings,
    too_old,
)
from touchstone.drivers.qemu.driver import describe_reset, read_guest_memory
from touchstone.drivers.qemu.qmp import Monitor
from touchstone.drivers.qemu.snapshot import Jobs, SnapshotStore
from touchstone.machine.driver import Autopsy, InfrastructureError
from touchstone.machine.settings import TargetSettings

RESET_TIMEOUT = 60.0
PATIENT_KERNEL = "watchdog_thresh=60 rcupdate.rcu_cpu_stall_timeout=240"
"""Its time is the host's: what the host keeps waiting for 20 s is no soft lockup, and no stall of RCU."""
PATCHES_IN_PARALLEL = (8, 1)
"""The first QEMU whose CPUs may have a thread each while a Linux that runs on them patches its own text."""


class QemuLinuxMachine(LinuxMachine):
    """One QEMU machine. See ``LinuxMachine`` for what the methods promise."""

    emulator = "QEMU"
    install = INSTALL

    def __init__(
        self, settings: TargetSettings, provide_image: Callable[[Progress], LinuxImage], log_directory: Path
    ) -> None:
        """Starts nothing. The target's options are what QEMU's driver reads."""
        super().__init__(settings, provide_image, log_directory)
        self._qemu = read_linux_settings(settings)
        self.program = self._qemu.binary
        self._version = (0, 0)
        self._monitor: Monitor | None = None
        self._jobs: Jobs | None = None
        self._store: SnapshotStore | None = None
        self._death: DeathNotice | None = None
        self._resets = Resets()

    def restore(self, progress: Progress) -> None:
        """See LinuxMachine. With the address of before, if QEMU lives; connections of before are dead."""
        if self._ended() or self._store is None:
            super().restore(progress)
            return
        began = time.monotonic()
        assert self._death is not None
        monitor, jobs = self._living()
        if not self._store.filled:
            self.reset(progress)
            return
        self._death.disarm()
        self._store.restore(monitor, jobs)
        self._death.arm()
        self.boot_seconds = time.monotonic() - began

    def reset(self, progress: Progress) -> None:
        """Press its reset button, and wait until it has booted."""
        monitor, _ = self._living()
        assert self._death is not None
        progress(f"resetting {self.name}")
        began = time.monotonic()
        self._death.disarm()
        monitor.execute("stop")
        self._drain_signal()
        # While a reset from inside stops the machine, one from outside would too.
        self.let_reboot(True)
        self._resets.drain()
        monitor.execute("system_reset")
        self._resets.wait(RESET_TIMEOUT)
        self._death.arm()
        monitor.execute("cont")
        self._wait_ready(began)
        self.let_reboot(False)  # not before: SeaBIOS resets the machine once more

    def stop(self) -> None:
        """See LinuxMachine."""
        if self._death is not None:
            self._death.disarm()
        super().stop()

    def inject_nmi(self) -> None:
        """See LinuxMachine. The line leads to every CPU that listens to it."""
        self._living()[0].execute("inject-nmi")

    def let_reboot(self, allowed: bool) -> None:
        """Whether a reset from inside boots the machine again. If not, it stops, for an autopsy."""
        self._living()[0].execute("set-action", reboot="reset" if allowed else "shutdown")

    @property
    def death_fd(self) -> int:
        """Readable once the machine has died by itself: panic, power-off, reset that was not allowed."""
        if self._death is None:
            raise InfrastructureError(f"{self.name} is not running")
        return self._death.fd

    def death(self) -> str:
        """See LinuxMachine. Of a guest that died in a living QEMU, too."""
        return super().death() or (self._death.reason if self._death else "")

    def autopsy(self) -> Autopsy:
        """See LinuxMachine."""
        if self._death is not None:
            self._death.disarm()
        return super().autopsy()

    def read_memory(self, address: int, length: int, cpu: int = 0) -> bytes:
        """Guest memory at a virtual address of a CPU; at a physical one where that translation fails."""
        assert self._directory is not None
        return read_guest_memory(self._living()[0], self._directory.path, address, length, cpu)

    def _launch(self, progress: Progress) -> None:
        directory = self._directory = private_directory()
        death = self._death = DeathNotice()
        monitor = self._monitor = Monitor(directory.path / "qmp", self._on_event, self.name)
        jobs = self._jobs = Jobs(monitor)
        self._version = installed_version(self._qemu.binary)
        command = self._command(directory.path)
        store = self._store = SnapshotStore(
            directory.path / "snapshot.qcow2",
            self.image.directory,
            [str(self._version), *self._machine_words()],
        )
        store.fetch()
        how = "from its snapshot" if store.filled else f"booting Linux {self.image.release}"
        progress(f"starting {self.name}: {self._describe()}, {how}")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(str(directory.path / "signal"))
            listener.listen(1)
            self._console.follow(directory.path / "console")
            began = time.monotonic()
            self._process = EmulatorProcess(command, stderr=directory.path / "stderr")
            monitor.accept(lambda: None)
            self._signal = self._accept(listener, began)
        monitor.established(BOOT_TIMEOUT)
        if (version := monitor.version()) < OLDEST:
            raise InfrastructureError(too_old(self._qemu.binary, version))
        self.version = version
        store.attach(monitor, jobs)
        self._port = self._forwarded_port(monitor)
        if store.filled:
            try:
                store.restore(monitor, jobs)
                death.arm()
                self.boot_seconds = time.monotonic() - began
                return
            except InfrastructureError as error:
                store.forget()
                progress(f"{self.name}: its snapshot is of no use ({error}); booting")
                self.stop()
                self._launch(progress)
                return
        death.arm()
        monitor.execute("cont")
        self._wait_ready(began)
        progress(f"{self.name}: keeping a snapshot for the next start")
        death.disarm()
        store.save(monitor, jobs)
        death.arm()

    def _machine_words(self) -> list[str]:
        """The part of the command that a snapshot depends on."""
        accel = self._qemu.accel
        return [
            *("-nodefaults", "-no-user-config", "-display", "none", "-machine", self._qemu.machine),
            *("-accel", accelerator(accel, self._version), "-cpu", cpu_model(self.settings, accel)),
            *("-smp", str(self.settings.cpus), "-m", str(self.settings.memory_mib)),
            *(("-bios", self._qemu.firmware) if self._qemu.firmware else ()),
            *("-kernel", str(elf_kernel(self.image.kernel)), "-initrd", str(self.image.initrd)),
            *("-append", f"{COMMAND_LINE} {PATIENT_KERNEL} snapshot=1"),
            *("-device", "virtio-net-pci,netdev=net,romfile=", "-device", "pvpanic-pci"),
            *self._qemu.arguments,
        ]

    def _command(self, directory: Path) -> list[str]:
        return [
            *(self._qemu.binary, "-name", self.name, "-S", *self._machine_words()),
            # Nothing leaves the machine, and only this host reaches its port.
            *("-netdev", "user,id=net,restrict=on,ipv6=off,hostfwd=tcp:127.0.0.1:0-:22"),
            *("-action", "reboot=shutdown", "-action", "shutdown=pause", "-action", "panic=pause"),
            *("-chardev", f"socket,id=qmp,path={directory}/qmp", "-mon", "chardev=qmp,mode=control"),
            *("-chardev", f"file,id=console,path={directory}/console", "-serial", "chardev:console"),
            *("-chardev", f"socket,id=signal,path={directory}/signal", "-serial", "chardev:signal"),
        ]

    def _description(self) -> str:
        return f"{self._qemu.accel}, {cpu_model(self.settings, self._qemu.accel)}"

    def _forwarded_port(self, monitor: Monitor) -> int:
        """The port of this host that QEMU was given by the kernel."""
        said = monitor.human("info usernet")
        for line in said.splitlines():
            fields = line.split()
            if fields and fields[0].startswith("TCP[HOST_FORWARD]"):
                return int(fields[3])
        raise InfrastructureError(f"QEMU does not forward a port to {self.name}: {said.strip()}")

    def _release(self) -> None:
        if self._monitor is not None:
            self._monitor.close()
            self._monitor = None
        self._jobs = None
        if self._death is not None:
            self._death.close()
            self._death = None
        self._store = None

    def _state(self) -> str:
        return f"QEMU's state is {self._living()[0].execute('query-status')['status']}"

    def _registers(self) -> Iterator[tuple[int, str]]:
        monitor, _ = self._living()
        monitor.execute("stop")
        for cpu in range(self.settings.cpus):
            yield cpu, monitor.human("info registers", cpu=cpu).strip()

    def _examine_remains(self, evidence: Evidence) -> None:
        evidence.notes.append("QEMU is gone: no registers, no backtrace")

    def _drain_signal(self) -> None:
        assert self._signal is not None
        try:
            while self._signal.recv(4096):
                pass
        except BlockingIOError:
            pass

    def _living(self) -> tuple[Monitor, Jobs]:
        if self._monitor is None or self._jobs is None or self._process is None:
            raise InfrastructureError(f"{self.name} is not running: start it first")
        if self._process.status() is not None:
            raise InfrastructureError(f"QEMU of {self.name} {self._process.describe_end()}")
        return self._monitor, self._jobs

    def _on_event(self, event: Mapping[str, Any]) -> None:
        """In the loop's thread."""
        if self._jobs is not None:
            self._jobs.on_event(dict(event))
        name, data = event["event"], event.get("data", {})
        if name == "RESET":
            self._resets.happened.put(describe_reset(name, data))
        if self._death is None:
            return
        if name == "SHUTDOWN":
            self._death.give(describe_reset(name, data))
        elif name == "GUEST_PANICKED":
            self._death.give(f"the target's Linux panicked (QEMU: GUEST_PANICKED, {data.get('action', '')})")


class Resets:
    """The resets that QEMU tells of, to be waited for."""

    def __init__(self) -> None:
        self.happened: SimpleQueue[str] = SimpleQueue()

    def drain(self) -> None:
        """Forget the ones so far."""
        while not self.happened.empty():
            self.happened.get_nowait()

    def wait(self, timeout: float) -> None:
        """InfrastructureError unless there is one within ``timeout`` seconds."""
        try:
            self.happened.get(timeout=timeout)
        except Empty:
            raise InfrastructureError(f"QEMU did not reset the machine within {timeout:g} s") from None


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
