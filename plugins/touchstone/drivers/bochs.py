"""Machines of Bochs: an Intel CPU with VMX, or an AMD one with SVM, without any of it in the host."""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from touchstone.drivers.base import DeathNotice, ImageProvider
from touchstone.drivers.bochs_config import INSTALL, check_firmware, prepare, read_settings
from touchstone.drivers.bochs_log import dumped_registers, last_panic, log_tail, read_log
from touchstone.drivers.bochs_ports import is_ours
from touchstone.drivers.bochs_terminal import Terminal
from touchstone.drivers.emulator import EmulatorDriver, Evidence
from touchstone.drivers.process import EmulatorProcess, private_directory
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
        self._terminal: Terminal | None = None
        self._stopped = False

    def inject_nmi(self) -> None:
        """See Driver. Bochs has no way to do it."""
        raise AgentRefused("unsupported", "Bochs cannot inject an NMI from outside")

    def read_memory(self, address: int, length: int, cpu: int = 0) -> bytes:
        """Guest memory at a linear address of a CPU. The machine must stand in the debugger (``autopsy``)."""
        if self._terminal is None or self._directory is None or not self._alive():
            raise InfrastructureError("Bochs is not running")
        self._interrupt()
        return self._terminal.memory(self._directory.path, address, length, cpu)

    def _boot(self) -> TargetInfo:
        assert self._image is not None
        directory = self._directory = private_directory()
        death = self._death = DeathNotice()
        terminal = self._terminal = Terminal()
        self._stopped = False
        check_firmware(self._bochs)
        # A copy: Bochs opens it for writing, and a new build must not change a disk under a running machine.
        shutil.copyfile(self._image.disk, directory.path / "disk.img")
        with socket.create_server(("127.0.0.1", 0), backlog=1) as listener:
            port = listener.getsockname()[1]
            command = prepare(
                self._bochs, directory.path, f"com1: enabled=1, mode=socket-client, dev=127.0.0.1:{port}\n"
            )
            death.arm()
            began = time.monotonic()
            try:
                process = self._process = EmulatorProcess(
                    command,
                    stderr=directory.path / "stderr",
                    stdio=terminal.slave,
                    environment={**os.environ, "TERM": "xterm"},
                    cwd=directory.path,
                )
            finally:
                terminal.started()
            connection = self._accept(listener, process, began)
            while not is_ours(connection):
                connection.close()
                connection = self._accept(listener, process, began)
        terminal.keep_readable()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        info = self._reach(connection, quick_ack=True)
        self.reach_seconds = time.monotonic() - began
        return info

    def _image_file(self) -> Path:
        assert self._image is not None
        return self._image.disk

    def _description(self) -> str:
        return self._bochs.model

    def _release(self) -> None:
        if self._terminal is not None:
            self._terminal.close()
            self._terminal = None

    def _alive(self) -> bool:
        return self._process is not None and self._process.status() is None

    def _reason(self) -> str:
        panic = last_panic(self._log_text())
        return super()._reason() + (f": {panic}" if panic else "")

    def _state(self) -> str:
        return "Bochs is still running"

    def _emulator_log(self) -> str:
        said = self._terminal.tail(ended=not self._alive()) if self._terminal else ""
        return log_tail(self._log_text(), said)

    def _log_text(self) -> str:
        return read_log(self._directory.path / "log") if self._directory else ""

    def _interrupt(self) -> None:
        """Stop the machine: SIGINT makes Bochs enter its debugger at the next instruction."""
        if not self._stopped:
            assert self._process is not None
            assert self._terminal is not None
            self._process.interrupt()
            self._terminal.entered()
            self._stopped = True

    def _failure(self, error: TargetError) -> str:
        if "wrong value for parameter 'model'" in self._emulator_log():
            return f"{self.name}: this Bochs has no CPU model {self._bochs.model!r} (see bochs --help cpu)"
        return super()._failure(error)

    def _registers(self, evidence: Evidence) -> Mapping[int, str]:
        if not self._alive():
            return dumped_registers(self._log_text())
        self._interrupt()
        assert self._terminal is not None
        return self._terminal.registers(self.settings.cpus)

    def _reader(self, cpu: int) -> Callable[[int, int], bytes] | None:
        return partial(self.read_memory, cpu=cpu) if self._alive() else None
