"""Machines of QEMU: started, reached, reset, shot at and autopsied over QMP and the agent's console."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from touchstone.drivers.agent_driver import DeathNotice, ImageProvider, Progress
from touchstone.drivers.emulated.machine import EmulatorDriver, Evidence
from touchstone.drivers.emulated.process import EmulatorProcess, private_directory
from touchstone.drivers.qemu import config as qemu_config
from touchstone.drivers.qemu.config import (
    INSTALL,
    OLDEST,
    cpu_model,
    installed_version,
    read_settings,
    too_old,
)
from touchstone.drivers.qemu.kvm import decide
from touchstone.drivers.qemu.qmp import TIMEOUT, Monitor, MonitorRefused
from touchstone.machine.driver import InfrastructureError, TargetError, TargetInfo
from touchstone.machine.settings import TargetSettings

COM1 = "com1"
"""What the image says before it has found the agent's console, or when that does not work."""


class QemuDriver(EmulatorDriver):
    """One QEMU machine. See ``touchstone.machine.driver.Driver`` for what the methods promise."""

    emulator = "QEMU"
    install = INSTALL

    def __init__(self, settings: TargetSettings, provide_image: ImageProvider, log_directory: Path) -> None:
        """SettingsError when the settings cannot be a QEMU machine; starts nothing."""
        super().__init__(settings, provide_image, log_directory)
        self._qemu = read_settings(settings)
        self.program = self._qemu.binary
        self.boot_timeout = 20.0 + settings.cpus
        self._accel = self._qemu.accel
        self._firmware = self._qemu.firmware
        self._monitor: Monitor | None = None
        self._com1_read = 0

    def start(self, progress: Progress) -> TargetInfo:
        """See Driver."""
        if self._accel == "auto":
            decision = decide("amd", progress)
            self._accel = "kvm" if decision.possible else "tcg"
            if decision.reason:
                progress(f"{self.name}: QEMU's software CPU, for {decision.reason}")
        return super().start(progress)

    def inject_nmi(self) -> None:
        """See Driver. QEMU pulls the NMI line, which leads to every CPU (LINT1)."""
        self._ask(lambda _: self._living_monitor().execute("inject-nmi"))

    def read_memory(self, address: int, length: int, cpu: int = 0) -> bytes:
        """Guest memory at a virtual address of a CPU; at a physical one where that translation fails."""
        assert self._directory is not None
        return read_guest_memory(self._living_monitor(), self._directory.path, address, length, cpu)

    def _launch(self, progress: Progress) -> TargetInfo:
        try:
            return super()._launch(progress)
        except InfrastructureError as error:
            absent = f"could not load PC BIOS '{qemu_config.FAST_FIRMWARE}'" in str(error)
            if not absent or "firmware" in self.settings.options:
                raise
            progress(f"{self.name}: this QEMU comes without {qemu_config.FAST_FIRMWARE}; with SeaBIOS then")
            self._firmware = ""
            return super()._launch(progress)

    def _boot(self) -> TargetInfo:
        self._directory = private_directory()
        death = self._death = DeathNotice()
        monitor = self._monitor = Monitor(self._directory.path / "qmp", self._on_event, self.name)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(str(self._directory.path / "agent"))
            listener.listen(1)
            death.arm()
            began = time.monotonic()
            process = self._process = EmulatorProcess(
                self._command(self._directory.path), stderr=self._directory.path / "stderr"
            )
            monitor.accept(self._on_monitor)
            connection = self._accept(listener, process, began)
        info = self._reach(connection)
        monitor.established(self.boot_timeout)
        self.reach_seconds = time.monotonic() - began
        self.emulator_version = monitor.version()
        if self.emulator_version < OLDEST:
            raise InfrastructureError(too_old(self._qemu.binary, self.emulator_version))
        return info

    def _accelerator(self) -> str:
        if self._accel != "tcg":
            return self._accel
        # -icount, which makes the TSC count instructions, takes one thread for all CPUs.
        return "tcg,thread=single" if "-icount" in self._qemu.arguments else "tcg,thread=multi"

    def _command(self, directory: Path) -> list[str]:
        return [
            self._qemu.binary,
            *("-name", self.name, "-nodefaults", "-no-user-config", "-display", "none"),
            *("-machine", self._qemu.machine),
            *("-accel", self._accelerator()),
            *(
                "-cpu",
                cpu_model(self.settings, self._accel),
                "-smp",
                str(self.settings.cpus),
                "-m",
                str(self.settings.memory_mib),
            ),
            *(("-bios", self._firmware) if self._firmware else ()),
            *("-kernel", str(self._image_file())),
            # A machine that resets or shuts down stops instead, and keeps its state for the autopsy.
            *("-action", "reboot=shutdown", "-action", "shutdown=pause", "-action", "panic=pause"),
            *("-chardev", f"socket,id=qmp,path={directory}/qmp", "-mon", "chardev=qmp,mode=control"),
            *("-chardev", f"file,id=com1,path={directory}/{COM1}", "-serial", "chardev:com1"),
            # The agent's: a line costs it one access to a port here, and a byte costs one on COM1.
            *("-chardev", f"socket,id=agent,path={directory}/agent"),
            *("-device", "virtio-serial-pci,id=ports,disable-modern=on,max_ports=1,vectors=2"),
            *("-device", "virtconsole,bus=ports.0,chardev=agent"),
            *self._qemu.arguments,
        ]

    def _image_file(self) -> Path:
        assert self._image is not None
        return self._image.elf

    def _description(self) -> str:
        return f"{self._accel}, {cpu_model(self.settings, self._accel)}"

    def _collect(self) -> None:
        if self._directory is None:
            return
        with contextlib.suppress(OSError), (self._directory.path / COM1).open("rb") as com1:
            com1.seek(self._com1_read)
            said = com1.read()
            self._com1_read += len(said)
            self._log.append(said)

    def _release(self) -> None:
        self._com1_read = 0
        if self._monitor is not None:
            self._monitor.close()
            self._monitor = None

    def _on_event(self, event: Mapping[str, Any]) -> None:
        """In the loop's thread: an event that tells of a death gives notice of it."""
        death = self._death
        if death is None:
            return
        name, data = event["event"], event.get("data", {})
        if name in ("SHUTDOWN", "RESET"):
            death.give(describe_reset(name, data))
        elif name == "GUEST_PANICKED":
            death.give(f"guest panic (QEMU: GUEST_PANICKED, {data.get('action', '')})")
        elif name == "STOP":
            death.give("somebody else stopped the machine (QEMU: STOP)")

    def _on_monitor(self) -> None:
        """In the loop's thread, once QEMU's monitor speaks: what happened before that sent no event."""
        death, monitor = self._death, self._monitor
        if death is None or monitor is None:
            return

        def judge(status: Mapping[str, Any]) -> None:
            if status["status"] not in ("running", "prelaunch"):
                death.give(f"the machine stopped while it was starting (QEMU: {status['status']})")

        monitor.submit("query-status", judge)

    def _alive(self) -> bool:
        return self._process is not None and self._process.status() is None

    def _living_monitor(self) -> Monitor:
        if self._monitor is None or not self._alive():
            raise InfrastructureError(f"QEMU of {self.name} is not running")
        self._monitor.established(TIMEOUT)
        return self._monitor

    def _state(self) -> str:
        return f"QEMU's state is {self._living_monitor().execute('query-status')['status']}"

    def _registers(self, evidence: Evidence) -> Mapping[int, str]:
        if not self._alive():
            evidence.notes.append("QEMU is gone: no registers, no backtrace, no memory")
            return {}
        monitor = self._living_monitor()
        monitor.execute("stop")  # a hung machine goes on until it is stopped
        return {cpu: monitor.human("info registers", cpu=cpu).strip() for cpu in range(self.settings.cpus)}

    def _reader(self, cpu: int) -> Callable[[int, int], bytes] | None:
        return partial(self.read_memory, cpu=cpu) if self._alive() else None

    def _failure(self, error: TargetError) -> str:
        if not self._alive() and (version := installed_version(self._qemu.binary)) < OLDEST:
            return too_old(self._qemu.binary, version)
        return super()._failure(error)


def read_guest_memory(monitor: Monitor, directory: Path, address: int, length: int, cpu: int) -> bytes:
    """Guest memory at a virtual address of a CPU; at a physical one where that translation fails."""
    dump = directory / "memory"
    where: dict[str, Any] = {"val": address, "size": length, "filename": str(dump)}
    try:
        try:
            monitor.execute("memsave", cpu_index=cpu, **where)
        except MonitorRefused:
            monitor.execute("pmemsave", **where)
        return dump.read_bytes()
    finally:
        dump.unlink(missing_ok=True)


def describe_reset(name: str, data: Mapping[str, Any]) -> str:
    """What an event of QEMU (RESET, SHUTDOWN) says about the guest."""
    reason = data.get("reason", "unknown")
    what = {
        "guest-reset": "guest triple fault, or a reset that the guest asked for",
        "guest-shutdown": "the guest switched the machine off",
        "guest-panic": "guest panic",
        "host-signal": "QEMU was told to end by a signal",
    }.get(reason, "the machine was stopped")
    return f"{what} (QEMU: {name}, {reason})"
