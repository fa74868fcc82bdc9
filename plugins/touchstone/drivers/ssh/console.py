"""A box's serial console, as the inventory names it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from touchstone.machine.driver import InfrastructureError
from touchstone.machine.followed_file import FollowedFile

READ_SIZE = 65536


class LogSource(Protocol):
    """Bytes for the log of a box, which come unasked: its console, its kernel log."""

    def collect(self) -> bytes:
        """What came since the last time, without waiting."""

    def close(self) -> None:
        """Stop reading."""


class DescriptorConsole:
    """A console behind a descriptor: a command's output, or a socket. See LogSource."""

    def __init__(self, fd: int, close: Callable[[], None]) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._close = close

    def collect(self) -> bytes:
        """See LogSource."""
        data = bytearray()
        with contextlib.suppress(OSError):
            while piece := os.read(self._fd, READ_SIZE):
                data += piece
        return bytes(data)

    def close(self) -> None:
        """See LogSource."""
        self._close()


class FileConsole:
    """A file that another program writes the console into. See LogSource."""

    def __init__(self, path: Path) -> None:
        self._file = FollowedFile(path, from_end=True)

    def collect(self) -> bytes:
        """See LogSource."""
        return self._file.read_new()

    def close(self) -> None:
        """See LogSource."""


def open_console(what: str) -> LogSource:
    """A console as the inventory names it: a path, ``tcp:HOST:PORT``, or a shell command that prints it."""
    path = Path(what).expanduser()
    try:
        if what.startswith("tcp:"):
            host, _, port = what[4:].rpartition(":")
            wire = socket.create_connection((host.strip("[]"), int(port)), 10.0)
            return DescriptorConsole(wire.fileno(), wire.close)
        if what.startswith(("/", "~/")) and path.exists():
            if stat.S_ISSOCK(path.stat().st_mode):
                local = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                try:
                    local.connect(str(path))
                except OSError:
                    local.close()
                    raise
                return DescriptorConsole(local.fileno(), local.close)
            if stat.S_ISREG(path.stat().st_mode):
                return FileConsole(path)
    except (OSError, ValueError) as error:
        raise InfrastructureError(f"console {what!r}: {error}") from None
    process = subprocess.Popen(
        ["sh", "-c", what],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    assert process.stdout is not None
    stream = process.stdout

    def close() -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait()
        stream.close()

    return DescriptorConsole(stream.fileno(), close)
