"""Writes a journal as things happen: every process of a run appends to one file, a line by one write(2).

Linux appends the bytes of one write to a local file in one piece, so lines of several processes never mix.
What was written is the kernel's when the process dies, and on the disk a few seconds later.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path

import msgspec

from touchstone.journal.lines import Line

SYNC = 5.0
"""Seconds that a loss of power may cost, of what this process has written."""


class JournalInUse(Exception):
    """Another run is writing the journal."""


class JournalWriter:
    """Appends lines to a journal, which is made if it is not there.

    What cannot be written is lost, and ``lost`` says why; later lines are tried all the same.
    """

    def __init__(self, path: Path) -> None:
        """OSError if the file cannot be opened."""
        self.path = path
        self.lost = ""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._encode = msgspec.json.Encoder().encode
        self._synced = time.monotonic()
        self._broken = not self._ends_with_a_line()

    def _ends_with_a_line(self) -> bool:
        size = os.fstat(self._file).st_size
        return size == 0 or os.pread(self._file, 1, size - 1) == b"\n"

    def claim(self) -> None:
        """Keep other runs from writing it, as long as this process lives. JournalInUse if one does."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise JournalInUse(f"{self.path}: another run is writing this journal") from None
        except OSError:  # a file system without locks
            return

    def write(self, line: Line) -> None:
        """Append a line."""
        data = self._encode(line) + b"\n"
        if self._broken:  # half a line must not spoil this one
            data = b"\n" + data
        try:
            written = os.write(self._file, data)
        except OSError as error:
            self.lost = f"{self.path}: {error.strerror or error}"
            return
        self._broken = written < len(data)
        if self._broken:
            self.lost = f"{self.path}: the disk took half a line"
        elif (now := time.monotonic()) - self._synced >= SYNC:
            self._synced = now
            self.sync()

    def sync(self) -> None:
        """Have it on the disk."""
        with contextlib.suppress(OSError):  # not a file of a disk
            os.fdatasync(self._file)

    def close(self) -> None:
        """Safe to repeat."""
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)
