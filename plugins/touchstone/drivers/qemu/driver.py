"""Drives the agent on QEMU machines: the command that starts one, the events that tell of its death."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from touchstone.drivers.build import BareImage
from touchstone.drivers.emulated.driver import EmulatorDriver, ImageProvider
from touchstone.drivers.emulated.firmware import uefi_firmware
from touchstone.drivers.emulated.process import EmulatorProcess
from touchstone.drivers.emulated.uefi import ProvideProgram
from touchstone.drivers.qemu import config as qemu_config
from touchstone.drivers.qemu.config import INSTALL, QemuSettings, cpu_model, read_settings
from touchstone.drivers.qemu.emulator import SERIAL, Qemu, describe_reset
from touchstone.machine.driver import InfrastructureError, Say, TargetInfo
from touchstone.machine.followed_file import FollowedFile
from touchstone.machine.payload import Payload
from touchstone.machine.settings import TargetSettings

COM1 = "com1"
"""What the image says before it has found the agent's console, or when that does not work."""


Boots = Callable[[Path], list[str]]
"""Takes QEMU's directory, may put a disk into it, and returns the arguments for what the machine boots."""


class BareQemu(Qemu):
    """A QEMU that boots a bare image. Its serial port is the agent's console on virtio-serial."""

    def __init__(self, settings: TargetSettings, qemu: QemuSettings, accel: str, boots: Boots) -> None:
        """``accel``: ``tcg`` or ``kvm``."""
        self._settings = settings
        self._qemu = qemu
        self._accel = accel
        self._boots = boots
        super().__init__(settings.name, settings.cpus, qemu.binary)
        self._com1 = FollowedFile(self.directory / COM1)

    def _start_process(self) -> EmulatorProcess:
        self.death.arm()
        return super()._start_process()

    def _arguments(self) -> list[str]:
        settings = self._settings
        return [
            *("-nodefaults", "-no-user-config", "-display", "none", "-machine", self._qemu.machine),
            *("-accel", self._accelerator(), "-cpu", cpu_model(settings, self._accel)),
            *("-smp", str(settings.cpus), "-m", str(settings.memory_mib)),
            *self._boots(self.directory),
            *("-chardev", f"file,id={COM1},path={self.directory}/{COM1}", "-serial", f"chardev:{COM1}"),
            # The agent's: a line costs it one access to a port here, and a byte costs one on COM1. Without
            # ioeventfd the line is gone when the access is over: no other thread is waited for, by polling.
            *("-device", "virtio-serial-pci,id=ports,disable-modern=on,max_ports=1,vectors=2,ioeventfd=off"),
            *("-device", f"virtconsole,bus=ports.0,chardev={SERIAL}"),
            *self._qemu.arguments,
        ]

    def _accelerator(self) -> str:
        if self._accel != "tcg":
            return self._accel
        # -icount, which makes the TSC count instructions, takes one thread for all CPUs.
        return "tcg,thread=single" if "-icount" in self._qemu.arguments else "tcg,thread=multi"

    def _on_event(self, event: Mapping[str, Any]) -> None:
        name, data = event["event"], event.get("data", {})
        if name in ("SHUTDOWN", "RESET"):
            self.death.give(describe_reset(name, data), from_outside=data.get("reason") == "host-signal")
        elif name == "GUEST_PANICKED":
            self.death.give(f"guest panic (QEMU: GUEST_PANICKED, {data.get('action', '')})")
        elif name == "STOP":
            self.death.give("somebody else stopped the machine (QEMU: STOP)", from_outside=True)

    def _on_monitor(self) -> None:
        """What happened before the monitor answered sent no event: ask."""

        def judge(status: Mapping[str, Any]) -> None:
            now = status["status"]
            if now in ("running", "prelaunch"):
                return
            guest = now == "shutdown"  # what -action makes of a reset and of a shutdown
            what = "guest triple fault, reset or shutdown" if guest else "the machine stopped"
            self.death.give(f"{what} while it was starting (QEMU: {now})")

        self.monitor.submit("query-status", judge)

    def collect(self) -> bytes:
        """See Emulator: what came out of COM1."""
        return self._com1.read_new()


class QemuDriver(EmulatorDriver[BareQemu]):
    """One QEMU machine. See ``touchstone.machine.driver.Driver`` for what the methods promise."""

    emulator = "QEMU"
    install = INSTALL

    def __init__(
        self,
        settings: TargetSettings,
        provide_image: ImageProvider,
        log_directory: Path,
        kvm_problem: Callable[[Say], str],
        provide_program: ProvideProgram | None = None,
        payload: Payload | None = None,
    ) -> None:
        """SettingsError when the settings cannot be a QEMU machine; starts nothing.

        ``kvm_problem``: why KVM of this host cannot run the machine, or nothing; for ``accel = "auto"``.
        """
        super().__init__(settings, provide_image, log_directory, provide_program, payload)
        self._qemu = read_settings(settings)
        self.program = self._qemu.binary
        self.boot_timeout = 20.0 + settings.cpus
        self._accel = self._qemu.accel
        self._kvm_problem = kvm_problem

    def start(self, progress: Say) -> TargetInfo:
        """See Driver."""
        if self._accel == "auto":
            problem = self._kvm_problem(progress)
            self._accel = "tcg" if problem else "kvm"
            if problem:
                progress(f"{self.name}: QEMU's software CPU, for {problem}")
        return super().start(progress)

    def facts(self) -> Mapping[str, str]:
        """See Driver."""
        return {**super().facts(), "accelerator": self._accel, "firmware": self._qemu.firmware or "SeaBIOS"}

    def _boot(self, image: BareImage, progress: Say) -> TargetInfo:
        if self._qemu.uefi:
            firmware = str(uefi_firmware(self._qemu.firmware, progress))
            self._qemu = replace(self._qemu, firmware=firmware)
        try:
            return super()._boot(image, progress)
        except InfrastructureError as error:
            absent = f"could not load PC BIOS '{qemu_config.FAST_FIRMWARE}'" in str(error)
            if not absent or "firmware" in self.settings.options:
                raise
            progress(f"{self.name}: this QEMU comes without {qemu_config.FAST_FIRMWARE}; with SeaBIOS then")
            self._qemu = replace(self._qemu, firmware="")
            return super()._boot(image, progress)

    def _start_emulator(self, image: BareImage) -> BareQemu:
        def boots(directory: Path) -> list[str]:
            firmware = ["-bios", self._qemu.firmware] if self._qemu.firmware else []
            if not self._qemu.uefi:
                kernel = [*firmware, "-kernel", str(image.elf)]
                return kernel if self._payload is None else [*kernel, *self._with_payload(image, directory)]
            disk = directory / "disk.img"
            self._write_uefi_disk(image, disk)
            return [*firmware, "-drive", f"file={disk},format=raw,if=ide"]

        return BareQemu(self.settings, self._qemu, self._accel, boots)

    def _with_payload(self, image: BareImage, directory: Path) -> list[str]:
        """The payload in memory, and the devices that kvm-unit-tests and others end and test by."""
        packed, path = self._packed(image), directory / "payload"
        path.write_bytes(packed.data)
        return [
            *("-device", f"loader,file={path},addr={packed.address:#x},force-raw=on"),
            *("-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-device", "pc-testdev"),
        ]

    def _exit_code(self, status: int) -> int | None:
        # isa-debug-exit: twice what was written, plus 1.
        return status >> 1 if status > 0 and status & 1 else None

    def _switched_off(self, emulator: BareQemu) -> bool:
        return "guest-shutdown" in emulator.died()

    def _image_file(self, image: BareImage) -> Path:
        return image.efi if self._qemu.uefi else image.elf

    def _description(self) -> str:
        return f"{self._accel}, {cpu_model(self.settings, self._accel)}"
