"""Loopback ports between us and a Bochs, which knows no other sockets."""

from __future__ import annotations

import errno
import os
import random
import socket
import struct
from collections.abc import Callable
from pathlib import Path

from touchstone.machine.driver import InfrastructureError


def accept_ours(accept: Callable[[], socket.socket]) -> socket.socket:
    """The first of the connections that ``accept`` waits for that is ours; others are hung up on."""
    while not is_ours(connection := accept()):
        connection.close()
    return connection


def is_ours(connection: socket.socket, table: Path = Path("/proc/net/tcp")) -> bool:
    """Whether a process of our user is at the other end: anybody on this host can reach a loopback port."""
    # Both ends count: a connection that is over may have had the same port, and is nobody's, which is root's.
    other_end = [_shown(connection.getpeername()), _shown(connection.getsockname())]
    try:
        rows = table.read_text(encoding="ascii").splitlines()[1:]
    except OSError:
        return True
    owners = [fields[7] for fields in map(str.split, rows) if fields[1:3] == other_end]
    return not owners or owners[0] == str(os.getuid())


def _shown(address: tuple[str, int]) -> str:
    """An address and its port, as the kernel's table has them."""
    host, port = address
    return f"{struct.unpack('=I', socket.inet_aton(host))[0]:08X}:{port:04X}"


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
