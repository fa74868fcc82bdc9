"""The log of a target's console, from the first byte on."""

from __future__ import annotations

import os
import re
from pathlib import Path

_LONGEST_LINE = 4096
"""Bytes of an unfinished line that are kept back from the file."""
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def readable(data: bytes) -> str:
    r"""Console bytes as text: undecodable bytes and control characters as ``\xNN``, CR LF as LF."""
    text = data.decode("utf-8", "backslashreplace").replace("\r\n", "\n")
    return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


class SerialLog:
    """An append-only log, whole in its file, its end in memory too.

    The file gets whole lines, because Bochs sends byte by byte; the rest of one with the next, or at the end.

    A position (a *mark*) counts bytes since the log was opened. Without a file, what no longer fits in
    memory is gone, and ``since`` says how much. An existing file is continued: it belongs to an
    earlier process of the same run.
    """

    def __init__(self, path: Path | None = None, keep: int = 4 * 2**20) -> None:
        """``keep`` is how many bytes at least stay in memory."""
        self.path = path
        self._keep = keep
        self._tail = bytearray()
        self._tail_start = 0
        self._fd: int | None = None
        self._unwritten = bytearray()
        self._file_start = 0
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            self._file_start = os.fstat(self._fd).st_size

    def append(self, data: bytes) -> None:
        """Add bytes. If the disk is full, the file is given up; the copy in memory goes on."""
        self._tail += data
        if len(self._tail) > 2 * self._keep:
            surplus = len(self._tail) - self._keep
            del self._tail[:surplus]
            self._tail_start += surplus
        if self._fd is not None:
            self._unwritten += data
            if b"\n" in data or len(self._unwritten) > _LONGEST_LINE:
                self.flush()

    def mark(self) -> int:
        """The position behind the last byte."""
        return self._tail_start + len(self._tail)

    def bytes_since(self, mark: int) -> bytes:
        """Everything behind a position, as it came."""
        if mark >= self._tail_start:
            return bytes(self._tail[mark - self._tail_start :])
        self.flush()
        gap = self._tail_start - mark
        old = b""
        if self._fd is not None:
            old = os.pread(self._fd, gap, self._file_start + mark)
        if len(old) < gap:
            old = f"[{gap - len(old)} bytes are no longer kept]\n".encode() + old
        return old + bytes(self._tail)

    def since(self, mark: int) -> str:
        """Everything behind a position, as text."""
        return readable(self.bytes_since(mark))

    def tail(self, size: int = 8192) -> str:
        """The last ``size`` bytes, as text."""
        return readable(bytes(self._tail[-size:]))

    def flush(self) -> None:
        """Write what there is of an unfinished line to the file."""
        data, self._unwritten = self._unwritten, bytearray()
        if self._fd is None:
            return
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError:
            os.close(self._fd)
            self._fd = None

    def close(self) -> None:
        """Close the file; what is in memory stays readable."""
        self.flush()
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
