"""A running Bochs: its process, the terminal that its debugger speaks on, and its log."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from touchstone.drivers.bochs.config import BochsSettings, prepare
from touchstone.drivers.bochs.log import dumped_registers, last_panic, log_tail, read_log
from touchstone.drivers.bochs.terminal import Terminal
from touchstone.drivers.emulated.process import EmulatorProcess


class BochsProcess(EmulatorProcess):
    """One Bochs, from its start in a directory that has its ``disk.img`` until it is killed."""

    def __init__(self, bochs: BochsSettings, directory: Path, devices: str) -> None:
        """``devices``: see ``prepare``."""
        self._directory = directory
        self._terminal = Terminal()
        self._stopped = False
        try:
            super().__init__(
                prepare(bochs, directory, devices),
                stderr=directory / "stderr",
                stdio=self._terminal.slave,
                environment={**os.environ, "TERM": "xterm"},
                cwd=directory,
            )
        except BaseException:
            self._terminal.started()
            self._terminal.close()
            raise
        self._terminal.started()

    def keep_readable(self) -> None:
        """See Terminal. For a Bochs that has come as far as to read."""
        self._terminal.keep_readable()

    def stop(self) -> None:
        """Stop the machine: SIGINT makes Bochs enter its debugger at the next instruction."""
        if not self._stopped:
            self.interrupt()
            self._terminal.entered()
            self._stopped = True

    def registers(self, cpus: int) -> Mapping[int, str]:
        """The registers of every CPU. Stops the machine."""
        self.stop()
        return self._terminal.registers(cpus)

    def memory(self, address: int, length: int, cpu: int) -> bytes:
        """Guest memory at a linear address of a CPU. Stops the machine."""
        self.stop()
        return self._terminal.memory(self._directory, address, length, cpu)

    def panic(self) -> str:
        """What it ended with, or nothing."""
        return last_panic(self._log())

    def last_registers(self) -> dict[int, str]:
        """What it wrote of every CPU when it panicked."""
        return dumped_registers(self._log())

    def log_tail(self) -> str:
        """End of its log, or its last words on the terminal."""
        return log_tail(self._log(), self._terminal.tail(ended=self.status() is not None))

    def kill(self) -> None:
        """See EmulatorProcess. Its terminal is closed as well."""
        super().kill()
        self._terminal.close()

    def _log(self) -> str:
        return read_log(self._directory / "log")
