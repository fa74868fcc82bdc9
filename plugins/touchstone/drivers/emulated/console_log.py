"""The log of a console that an emulator writes into a file of its own."""

from __future__ import annotations

from pathlib import Path

from touchstone.machine.followed_file import FollowedFile
from touchstone.machine.serial_log import SerialLog


class ConsoleLog:
    """A machine's console: each process of its emulator writes a file, and all are copied into one log."""

    def __init__(self, path: Path) -> None:
        self._log = SerialLog(path)
        self._source: FollowedFile | None = None

    def follow(self, source: Path) -> None:
        """A new process writes the console there."""
        self.collect()
        self._source = FollowedFile(source)

    def collect(self) -> None:
        """Copy what is new."""
        if self._source is not None:
            self._log.append(self._source.read_new())

    def mark(self) -> int:
        """See SerialLog."""
        self.collect()
        return self._log.mark()

    def since(self, mark: int) -> str:
        """See SerialLog."""
        self.collect()
        return self._log.since(mark)

    def tail(self, size: int = 8192) -> str:
        """See SerialLog."""
        self.collect()
        return self._log.tail(size)
