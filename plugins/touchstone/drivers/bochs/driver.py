"""Drives the agent on Bochs machines: an Intel CPU with VMX, or an AMD one with SVM, on any host."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from touchstone.drivers.bochs.config import INSTALL, check_firmware, read_settings
from touchstone.drivers.bochs.emulator import Bochs
from touchstone.drivers.build import BareImage
from touchstone.drivers.emulated.driver import EmulatorDriver, ImageProvider
from touchstone.machine.settings import TargetSettings


class BochsDriver(EmulatorDriver[Bochs]):
    """One Bochs machine. See ``touchstone.machine.driver.Driver`` for what the methods promise."""

    emulator = "Bochs"
    install = INSTALL
    boot_timeout = 40.0

    def __init__(self, settings: TargetSettings, provide_image: ImageProvider, log_directory: Path) -> None:
        """SettingsError when the settings cannot be a Bochs machine; starts nothing."""
        super().__init__(settings, provide_image, log_directory)
        self._bochs = read_settings(settings)
        self.program = self._bochs.binary

    def facts(self) -> Mapping[str, str]:
        """See Driver."""
        return {**super().facts(), "firmware": Path(self._bochs.bios).name}

    def _check_host(self) -> None:
        check_firmware(self._bochs)

    def _start_emulator(self, image: BareImage) -> Bochs:
        def furnish(directory: Path, serial: str) -> str:
            # A copy: Bochs opens it for writing, and a new build must not change a running machine's disk.
            shutil.copyfile(image.disk, directory / "disk.img")
            return f"com1: enabled=1, mode=socket-client, dev={serial}\n"

        return Bochs(self._bochs, furnish)

    def _image_file(self, image: BareImage) -> Path:
        return image.disk

    def _description(self) -> str:
        return self._bochs.model
