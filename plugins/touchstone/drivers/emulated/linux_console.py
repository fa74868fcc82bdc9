"""A console that an emulator writes into a file: taken over into the log of the run."""

from __future__ import annotations

from pathlib import Path

from touchstone.machine.serial_log import SerialLog


class Console:
    """The machine's console: a file that QEMU writes, taken over into the log whenever somebody looks."""

    def __init__(self, path: Path) -> None:
        self._log = SerialLog(path)
        self._source: Path | None = None
        self._position = 0

    def follow(self, source: Path) -> None:
        """A new machine writes there."""
        self.collect()
        self._source, self._position = source, 0

    def collect(self) -> None:
        """Take over what is new."""
        if self._source is None:
            return
        try:
            with self._source.open("rb") as console:
                console.seek(self._position)
                data = console.read()
        except OSError:
            return
        self._position += len(data)
        self._log.append(data)

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
