"""Machines of Bochs: an Intel CPU with VMX, or an AMD one with SVM, without any of it in the host."""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from touchstone.drivers.agent_driver import DeathNotice, ImageProvider
from touchstone.drivers.bochs.config import INSTALL, check_firmware, read_settings
from touchstone.drivers.bochs.ports import accept_ours
from touchstone.drivers.bochs.process import BochsProcess
from touchstone.drivers.emulated.machine import EmulatorDriver, Evidence
from touchstone.drivers.emulated.process import private_directory
from touchstone.machine.driver import AgentRefused, InfrastructureError, TargetError, TargetInfo
from touchstone.machine.settings import TargetSettings


class BochsDriver(EmulatorDriver):
    """One Bochs machine. See ``touchstone.machine.driver.Driver`` for what the methods promise."""

    emulator = "Bochs"
    install = INSTALL
    boot_timeout = 40.0

    def __init__(self, settings: TargetSettings, provide_image: ImageProvider, log_directory: Path) -> None:
        """SettingsError when the settings cannot be a Bochs machine; starts nothing."""
        super().__init__(settings, provide_image, log_directory)
        self._bochs = read_settings(settings)
        self.program = self._bochs.binary
        self._process: BochsProcess | None = None

    def inject_nmi(self) -> None:
        """See Driver. Bochs has no way to do it."""
        raise AgentRefused("unsupported", "Bochs cannot inject an NMI from outside")

    def read_memory(self, address: int, length: int, cpu: int = 0) -> bytes:
        """Guest memory at a linear address of a CPU. Stops the machine."""
        if self._process is None or not self._alive():
            raise InfrastructureError("Bochs is not running")
        return self._process.memory(address, length, cpu)

    def _boot(self) -> TargetInfo:
        assert self._image is not None
        directory = self._directory = private_directory()
        death = self._death = DeathNotice()
        check_firmware(self._bochs)
        # A copy: Bochs opens it for writing, and a new build must not change a disk under a running machine.
        shutil.copyfile(self._image.disk, directory.path / "disk.img")
        with socket.create_server(("127.0.0.1", 0), backlog=1) as listener:
            port = listener.getsockname()[1]
            device = f"com1: enabled=1, mode=socket-client, dev=127.0.0.1:{port}\n"
            death.arm()
            began = time.monotonic()
            process = self._process = BochsProcess(self._bochs, directory.path, device)
            connection = accept_ours(lambda: self._accept(listener, process, began))
        process.keep_readable()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        info = self._reach(connection, quick_ack=True)
        self.emulator_version = process.version()
        self.reach_seconds = time.monotonic() - began
        return info

    def _image_file(self) -> Path:
        assert self._image is not None
        return self._image.disk

    def _description(self) -> str:
        return self._bochs.model

    def _alive(self) -> bool:
        return self._process is not None and self._process.status() is None

    def _reason(self) -> str:
        panic = self._process.panic() if self._process else ""
        return super()._reason() + (f": {panic}" if panic else "")

    def _state(self) -> str:
        return "Bochs is still running"

    def _emulator_log(self) -> str:
        return self._process.log_tail() if self._process else ""

    def _failure(self, error: TargetError) -> str:
        if "wrong value for parameter 'model'" in self._emulator_log():
            return f"{self.name}: this Bochs has no CPU model {self._bochs.model!r} (see bochs --help cpu)"
        return super()._failure(error)

    def _registers(self, evidence: Evidence) -> Mapping[int, str]:
        assert self._process is not None
        return (
            self._process.registers(self.settings.cpus) if self._alive() else self._process.last_registers()
        )

    def _reader(self, cpu: int) -> Callable[[int, int], bytes] | None:
        return partial(self.read_memory, cpu=cpu) if self._alive() else None
