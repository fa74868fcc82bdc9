"""The bytes between us and an agent: what a driver offers, and the usual way to do it with sockets."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable
from typing import Protocol

from touchstone.machine.polling import poll_for

READ_SIZE = 65536
LINE_PAUSE = 0.0002
"""Seconds in which the other side writes many bytes of a line, or none."""


class Channel(Protocol):
    """A two-way stream of bytes. Deadlines are ``time.monotonic()`` values.

    Both methods raise TimeoutError at the deadline, and TargetDied as soon as it is known that no answer can
    come any more.
    """

    def send(self, data: bytes, deadline: float) -> None:
        """Send everything."""

    def receive(self, deadline: float) -> bytes:
        """At least one byte; ``b""`` when the other side has closed the stream."""


class SocketChannel:
    """A channel over a connected stream socket, and other descriptors that tell of a death.

    ``watch`` adds a file descriptor; when it becomes readable while we wait for the agent, and no bytes of
    the agent are left, its callback runs and either raises (TargetDied) or returns to go on.
    """

    def __init__(self, connection: socket.socket, *, quick_ack: bool = False) -> None:
        """``quick_ack``: TCP_QUICKACK before every read; the other side writes byte by byte with Nagle on."""
        connection.setblocking(False)
        self._socket = connection
        self._quick_ack = quick_ack
        self._watched: dict[int, Callable[[], None]] = {}
        self._poll = select.poll()
        self._poll.register(connection, select.POLLIN)

    def watch(self, fd: int, callback: Callable[[], None]) -> None:
        """Call ``callback`` when ``fd`` becomes readable during a wait."""
        self._watched[fd] = callback
        self._poll.register(fd, select.POLLIN)

    def send(self, data: bytes, deadline: float) -> None:
        """Send everything; TimeoutError at the deadline. A broken connection is told by ``receive``."""
        view = memoryview(data)
        while view:
            try:
                view = view[self._socket.send(view) :]
            except BlockingIOError:
                self._poll.modify(self._socket, select.POLLIN | select.POLLOUT)
                try:
                    events = dict(self._wait(deadline))
                finally:
                    self._poll.modify(self._socket, select.POLLIN)
                if not events.get(self._socket.fileno(), 0):
                    self._report(events)
            except OSError:
                return  # reset by peer: the reader sees the last bytes and then the end, in that order

    def receive(self, deadline: float) -> bytes:
        """See Channel. Bytes of the agent are returned first; watched descriptors come after them."""
        while True:
            events = dict(self._wait(deadline))
            if self._socket.fileno() not in events:
                self._report(events)
                continue
            try:
                data = self._read()
            except BlockingIOError:
                continue
            except ConnectionError:
                return b""
            return self._with_rest_of_line(data, deadline) if self._quick_ack else data

    def _read(self) -> bytes:
        if self._quick_ack:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return self._socket.recv(READ_SIZE)

    def _with_rest_of_line(self, data: bytes, deadline: float) -> bytes:
        """What came, and what comes behind it while the other side is in the middle of a line.

        To be woken for each byte costs more than all else that is done with an answer.
        """
        said = bytearray(data)
        while data and not data.endswith(b"\n") and len(said) < READ_SIZE and time.monotonic() < deadline:
            time.sleep(LINE_PAUSE)
            try:
                data = self._read()
            except OSError:  # silence, or the end, which the next call finds
                break
            said += data
        return bytes(said)

    def drain(self) -> bytes:
        """Whatever has arrived already, without waiting."""
        parts: list[bytes] = []
        try:
            while data := self._socket.recv(READ_SIZE):
                parts.append(data)
        except OSError:
            pass
        return b"".join(parts)

    def close(self) -> None:
        """Close the socket; watched descriptors stay open."""
        self._socket.close()

    def _wait(self, deadline: float) -> list[tuple[int, int]]:
        left = deadline - time.monotonic()
        events = poll_for(self._poll, left)
        if not events and time.monotonic() >= deadline:
            raise TimeoutError
        return events

    def _report(self, events: dict[int, int]) -> None:
        for fd in events:
            if callback := self._watched.get(fd):
                callback()
