"""A box's kernel log: followed while the agent runs, read afterwards, and what of it tells of a panic."""

from __future__ import annotations

import contextlib
import re
import select

from touchstone.drivers.ssh.link import hang_up
from touchstone.drivers.ssh.root import Root
from touchstone.machine.driver import TargetError
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


def find_panic(text: str) -> str:
    """The line in which a kernel reports a panic or, if there is none, an oops or a BUG; nothing without."""
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
    """The box's kernel log since an uptime; nothing if it cannot be read."""
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
    """The kernel log over a channel of its own, as long as the connection stands. See LogSource."""

    def __init__(self, root: Root, since: float) -> None:
        """From ``since`` on, in seconds after the boot.

        ``dmesg`` runs when this returns: a program that starts executes CPUID, and must not do so later, in
        the middle of a check that counts exits.
        """
        self._since: float | None = since
        self._rest = b""
        self._channel = root.link.session(root.wrap("exec dmesg --follow"))
        poll = select.poll()
        poll.register(self._channel.fileno(), select.POLLIN)
        poll_for(poll, STARTED * root.link.factor)  # it begins with the old lines

    def collect(self) -> bytes:
        """See LogSource."""
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
        """See LogSource."""
        hang_up(self._channel)
