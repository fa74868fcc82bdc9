"""Loopback ports between us and a Bochs, which knows no other sockets."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import re
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

from touchstone.machine.driver import InfrastructureError

TABLES = ("tcp", "tcp6")
"""A socket of IPv6 can be at the other end of one of IPv4: its address is ``::ffff:127.0.0.1`` then."""


def accept_ours(accept: Callable[[], socket.socket], pid: int) -> socket.socket:
    """The first of the connections that ``accept`` waits for that is the emulator's; others are closed."""
    while not is_of(connection := accept(), pid):
        connection.close()
    return connection


def is_of(connection: socket.socket, pid: int, proc: Path = Path("/proc")) -> bool:
    """Whether a process has the other end: ``pid``, or one of its session.

    Everybody on this host can reach a loopback port, so whoever is not proven to be ours is not.
    """
    inode = _inode(connection, proc)
    return inode is not None and any(inode in _sockets(proc / str(one)) for one in _session(pid, proc))


def _inode(connection: socket.socket, proc: Path) -> str | None:
    """The inode of the socket at the other end of a connection within this host; None if there is none."""
    near, far = connection.getsockname(), connection.getpeername()
    ends = {(_shown(far), _shown(near)), (_shown(far, mapped=True), _shown(near, mapped=True))}
    for name in TABLES:
        try:
            rows = (proc / "net" / name).read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, rows):
            # A connection that is over may have had the same ports: it has no socket any more.
            if (fields[1], fields[2]) in ends and fields[9] != "0":
                return fields[9]
    return None


def _sockets(process: Path) -> set[str]:
    """Inodes of the sockets that a process has open; none of a process that we may not look into."""
    found = set()
    with contextlib.suppress(OSError):
        for link in (process / "fd").iterdir():
            with contextlib.suppress(OSError):  # closed meanwhile
                found.update(re.findall(r"^socket:\[([0-9]+)\]$", os.readlink(link)))
    return found


def _session(leader: int, proc: Path) -> Iterator[int]:
    """A process, and then those of its session: the program of an emulator may be a script that starts it."""
    yield leader
    for entry in proc.iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                # After the name, which may hold anything: state, parent, process group, session.
                fields = (
                    (entry / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
                )
                if fields[3] == str(leader) and entry.name != str(leader):
                    yield int(entry.name)


def _shown(address: tuple[str, int], *, mapped: bool = False) -> str:
    """An address of IPv4 and its port, as the kernel's tables have them; ``mapped``: into IPv6."""
    host, port = address
    words = [*struct.unpack("=3I", bytes(10) + b"\xff\xff")] if mapped else []
    words += struct.unpack("=I", socket.inet_aton(host))
    return f"{''.join(f'{word:08X}' for word in words)}:{port:04X}"


def free_port(range_file: Path = Path("/proc/sys/net/ipv4/ip_local_port_range")) -> int:
    """A loopback port that nobody has now, for Bochs to listen on.

    None of those that the kernel gives to whoever asks for any: it could be somebody's before Bochs is there.
    """
    try:
        first, last = map(int, range_file.read_text(encoding="ascii").split())
    except (OSError, ValueError):
        first, last = 32768, 60999
    candidates = [*range(10000, first), *range(last + 1, 65536)] or list(range(10000, 65536))
    port: int
    for port in random.sample(candidates, min(1000, len(candidates))):
        try:
            with socket.create_server(("127.0.0.1", port)):
                return port
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
    raise InfrastructureError("no free port on the loopback interface for Bochs to listen on")
