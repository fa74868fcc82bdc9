"""The agent's bytes over one channel of an SSH connection."""

from __future__ import annotations

import contextlib
import select
import time
from collections.abc import Callable

import paramiko

from touchstone.drivers.ssh.link import CONNECTION_ENDED
from touchstone.machine.polling import poll_for

READ_SIZE = 65536


class SshChannel:
    """A ``Channel`` over a command's standard input and output, and other descriptors that tell of a death.

    ``watch`` adds a file descriptor; when it becomes readable while we wait, its callback runs, and either
    raises (TargetDied) or returns to go on.
    """

    def __init__(self, channel: paramiko.Channel) -> None:
        self._channel = channel
        self._errors = bytearray()
        self._watched: dict[int, Callable[[], None]] = {}
        self._poll = select.poll()
        self._poll.register(channel.fileno(), select.POLLIN)

    def watch(self, fd: int, callback: Callable[[], None]) -> None:
        """Call ``callback`` when ``fd`` becomes readable during a wait."""
        self._watched[fd] = callback
        self._poll.register(fd, select.POLLIN)

    def send(self, data: bytes, deadline: float) -> None:
        """See Channel. A broken connection is told by ``receive``."""
        self._channel.settimeout(max(0.001, deadline - time.monotonic()))
        try:
            self._channel.sendall(data)
        except TimeoutError:
            raise
        except CONNECTION_ENDED:
            return

    def receive(self, deadline: float) -> bytes:
        """See Channel."""
        while True:
            ended = self.ended
            if self._channel.recv_ready():
                return self._channel.recv(READ_SIZE)
            self._drain_errors()
            if ended:
                return b""
            left = deadline - time.monotonic()
            events = poll_for(self._poll, left)
            if not events and left <= 0:
                raise TimeoutError
            if self._channel.recv_ready():
                continue
            for fd, _ in events:
                if callback := self._watched.get(fd):
                    callback()

    @property
    def ended(self) -> bool:
        """Whether the other side has closed the stream, or is gone."""
        return bool(self._channel.closed or self._channel.eof_received)

    def status(self, wait: float) -> int | None:
        """Exit status of the command; None while it runs, or if the connection ended before it."""
        if not self._channel.status_event.wait(wait) or self._channel.exit_status < 0:
            return None
        return self._channel.exit_status

    def complaint(self) -> str:
        """What the command wrote to standard error."""
        self._drain_errors()
        return self._errors.decode("utf-8", "backslashreplace").strip()

    def close(self) -> None:
        """Close it: the command sees the end of its input. Watched descriptors stay open."""
        with contextlib.suppress(Exception):
            self._channel.close()

    def _drain_errors(self) -> None:
        while self._channel.recv_stderr_ready():
            self._errors += self._channel.recv_stderr(READ_SIZE)
            del self._errors[:-READ_SIZE]
