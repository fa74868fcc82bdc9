"""Drives the agent on Bochs machines: an Intel CPU with VMX, or an AMD one with SVM, on any host."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from touchstone.drivers.bochs.config import INSTALL, check_firmware, read_settings
from touchstone.drivers.bochs.disk import write_payload_disk
from touchstone.drivers.bochs.emulator import Bochs
from touchstone.drivers.build import BareImage
from touchstone.drivers.emulated.driver import EmulatorDriver, ImageProvider
from touchstone.drivers.emulated.firmware import uefi_firmware
from touchstone.drivers.emulated.uefi import ProvideProgram
from touchstone.machine.driver import Say, TargetInfo
from touchstone.machine.multiboot import read_elf
from touchstone.machine.payload import Payload
from touchstone.machine.settings import TargetSettings

COM1 = "com1: enabled=1, mode=socket-client, dev={serial}\n"


class BochsDriver(EmulatorDriver[Bochs]):
    """One Bochs machine. See ``touchstone.machine.driver.Driver`` for what the methods promise."""

    emulator = "Bochs"
    install = INSTALL
    boot_timeout = 40.0

    uefi_boot_timeout = 240.0

    def __init__(
        self,
        settings: TargetSettings,
        provide_image: ImageProvider,
        log_directory: Path,
        provide_program: ProvideProgram | None = None,
        payload: Payload | None = None,
    ) -> None:
        """SettingsError when the settings cannot be a Bochs machine; starts nothing."""
        super().__init__(settings, provide_image, log_directory, provide_program, payload)
        self._bochs = read_settings(settings)
        self.program = self._bochs.binary

    def facts(self) -> Mapping[str, str]:
        """See Driver."""
        return {**super().facts(), "firmware": Path(self._bochs.bios).name}

    def _check_host(self) -> None:
        check_firmware(self._bochs)

    def _start_emulator(self, image: BareImage) -> Bochs:
        def furnish(directory: Path, serial: str) -> str:
            disk = directory / "disk.img"
            if self._bochs.uefi:
                self._write_uefi_disk(image, disk)
                return COM1.format(serial=serial)
            if self._payload is not None:
                write_payload_disk(read_elf(image.elf), self._packed(image), disk)
                return COM1.format(serial=serial)
            # A copy: Bochs opens it for writing, and a new build must not change a running machine's disk.
            shutil.copyfile(image.disk, disk)
            return COM1.format(serial=serial)

        return Bochs(self._bochs, furnish)

    def _switched_off(self, emulator: Bochs) -> bool:
        # By "Shutdown", written to port 8900h: Bochs takes it for a panic of its own.
        return "shutdown requested" in emulator.panic()

    def _image_file(self, image: BareImage) -> Path:
        if self._payload is not None:
            return image.elf
        return image.efi if self._bochs.uefi else image.disk

    def _boot(self, image: BareImage, progress: Say) -> TargetInfo:
        if self._bochs.uefi:
            self._bochs = replace(self._bochs, bios=str(uefi_firmware(self._bochs.bios, progress)))
        return super()._boot(image, progress)

    def _description(self) -> str:
        return self._bochs.model
