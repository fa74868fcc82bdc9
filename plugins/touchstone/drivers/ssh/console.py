"""What a box says unasked: on its serial console where the inventory names one, else in its kernel log."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import socket
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from touchstone.drivers.ssh.link import hang_up
from touchstone.drivers.ssh.root import Root
from touchstone.machine.driver import InfrastructureError, TargetError
from touchstone.machine.polling import poll_for

READ_SIZE = 65536
STARTED = 2.0
"""Seconds to wait for the first line of a kernel log; an empty log has none."""
_FATAL = re.compile(
    r"^.*(?:Kernel panic - not syncing|: [0-9a-f]{4} \[#\d+\]|, .*\[#\d+\]|kernel BUG at "
    r"|BUG: unable to handle).*$",
    re.MULTILINE,
)
_STAMP = re.compile(r"^(?:<\d+>)?\[\s*(\d+\.\d+)\]")


class Console(Protocol):
    """A stream of console bytes that is looked at now and then."""

    def collect(self) -> bytes:
        """What came since the last time, without waiting."""

    def close(self) -> None:
        """Let go of it."""


def find_panic(text: str) -> str:
    """The line in which a kernel says that it, or a part of it, is lost; a panic before all others."""
    found = [match[0].strip() for match in _FATAL.finditer(text)]
    return next((line for line in found if "Kernel panic" in line), found[0] if found else "")


def newer_than(log: str, uptime: float) -> str:
    """The lines of a kernel log that were written later than ``uptime`` seconds after the boot."""
    lines = log.splitlines()
    for index, line in enumerate(lines):
        stamp = _STAMP.match(line)
        if stamp and float(stamp[1]) >= uptime:
            return "\n".join(lines[index:])
    return ""


def read_kernel_log(root: Root, since: float, timeout: float = 15.0) -> str:
    """The box's kernel log since an uptime; nothing if it does not give it."""
    with contextlib.suppress(TargetError):
        return newer_than(root.run("dmesg", timeout=timeout).text, since)
    return ""


def read_pstore(root: Root) -> str:
    """What the kernel of an earlier boot left in persistent memory, newest last (pstore)."""
    with contextlib.suppress(TargetError):
        return root.run(
            "for file in $(ls -tr /sys/fs/pstore/dmesg-* 2>/dev/null | tail -n 3); do cat $file; done",
            timeout=15.0,
        ).text
    return ""


class KernelLog:
    """The kernel log over a channel of its own, as long as the connection stands."""

    def __init__(self, root: Root, since: float) -> None:
        """From ``since`` on, in seconds after the boot.

        It runs when this returns: a program that starts executes CPUID, and must not do so later, in the
        middle of a check that counts exits.
        """
        self._since: float | None = since
        self._rest = b""
        self._channel = root.link.session(root.wrap("exec dmesg --follow"))
        poll = select.poll()
        poll.register(self._channel.fileno(), select.POLLIN)
        poll_for(poll, STARTED * root.link.factor)  # it begins with the old lines

    def collect(self) -> bytes:
        """See Console."""
        data = bytearray()
        while self._channel.recv_ready():
            data += self._channel.recv(READ_SIZE)
        if self._since is None:
            return bytes(data)
        # Whole lines only, until the first that is new enough.
        whole, newline, self._rest = (self._rest + bytes(data)).rpartition(b"\n")
        found = newer_than((whole + newline).decode("utf-8", "surrogateescape"), self._since)
        if not found:
            return b""
        self._since = None
        rest, self._rest = self._rest, b""
        return found.encode("utf-8", "surrogateescape") + b"\n" + rest

    def close(self) -> None:
        """See Console."""
        hang_up(self._channel)


class DescriptorConsole:
    """A console behind a descriptor: a command's output, or a socket."""

    def __init__(self, fd: int, close: Callable[[], None]) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._close = close

    def collect(self) -> bytes:
        """See Console."""
        data = bytearray()
        with contextlib.suppress(OSError):
            while piece := os.read(self._fd, READ_SIZE):
                data += piece
        return bytes(data)

    def close(self) -> None:
        """See Console."""
        self._close()


class FileConsole:
    """A file that something else writes the console into."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = path.stat().st_size

    def collect(self) -> bytes:
        """See Console."""
        try:
            with self._path.open("rb") as file:
                if file.seek(0, os.SEEK_END) < self._position:
                    self._position = 0  # rotated
                file.seek(self._position)
                data = file.read()
        except OSError:
            return b""
        self._position += len(data)
        return data

    def close(self) -> None:
        """See Console."""


def open_console(what: str) -> Console:
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
