"""A running emulator: its process, the machine in it, and everything that exists as long as they do."""

from __future__ import annotations

import contextlib
import select
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import ClassVar

from touchstone.drivers.emulated.death_notice import DeathNotice
from touchstone.drivers.emulated.process import EmulatorProcess, private_directory
from touchstone.machine.driver import InfrastructureError, TargetDied
from touchstone.machine.polling import poll_for

END_TIMEOUT = 10.0
"""Seconds that a process may take to end once its connection to us has: on a busy machine, not a moment."""


class Emulator(ABC):
    """One process of an emulator, from its start until ``close``.

    The emulator connects a serial port of the machine to us (``connect``). Subclasses say how it is started
    and how it is looked into; what ``_listen`` and ``_start_process`` need, they set before they call
    ``__init__`` of this class.
    """

    title: ClassVar[str]
    """The emulator's name in sentences."""
    quick_ack: ClassVar[bool] = False
    """It writes to the serial port byte by byte, with Nagle's algorithm on: see SocketChannel."""

    def __init__(self) -> None:
        """Start the process. InfrastructureError if that cannot be done."""
        self._resources = contextlib.ExitStack()
        self._connection: socket.socket | None = None
        self.death = DeathNotice()
        """For deaths of the machine that the emulator survives."""
        self._resources.callback(self.death.close)
        try:
            directory = private_directory()
            self._resources.callback(directory.remove)
            self.directory: Path = directory.path
            self._listener = self._resources.enter_context(self._listen())
            self.process = self._start_process()
            self._resources.callback(self.process.kill)
            self._deaths = self._resources.enter_context(contextlib.closing(select.epoll()))
            self._deaths.register(self.process.pidfd, select.EPOLLIN)
            self._deaths.register(self.death.fd, select.EPOLLIN)
        except BaseException:
            self._resources.close()
            raise

    # What a subclass says of its emulator.

    @abstractmethod
    def _listen(self) -> socket.socket:
        """A listening socket for the serial port."""

    @abstractmethod
    def _start_process(self) -> EmulatorProcess:
        """Start the process, which connects to ``_listener``."""

    @abstractmethod
    def version(self) -> tuple[int, ...] | None:
        """The emulator's version, None if it is not known. InfrastructureError if it is too old."""

    @abstractmethod
    def state(self) -> str:
        """What a running emulator says of the machine's state, as a sentence."""

    @abstractmethod
    def registers(self) -> Iterable[tuple[int, str]]:
        """Stop the machine and read the registers: CPU and text, one after the other."""

    @abstractmethod
    def read_memory(self, address: int, length: int, cpu: int = 0) -> bytes:
        """Guest memory at a virtual address of a CPU. OSError or TargetError where it cannot be read."""

    @abstractmethod
    def inject_nmi(self) -> None:
        """Pull the machine's NMI line. AgentRefused (``unsupported``) by an emulator that cannot."""

    def last_registers(self) -> Mapping[int, str]:
        """What an emulator that has ended wrote of the registers of every CPU before."""
        return {}

    def panic(self) -> str:
        """What the emulator itself gave as the reason for its end, or nothing."""
        return ""

    def log(self) -> str:
        """End of the emulator's own log."""
        return self.process.stderr()

    def collect(self) -> bytes:
        """What the machine said since the last call elsewhere than on the serial port that is connected."""
        return b""

    def start_problem(self) -> str:
        """Why the machine did not start, if the emulator is known to be the reason; else nothing."""
        return ""

    # What is the same for all of them.

    @property
    def ended(self) -> bool:
        """Whether the process has ended."""
        return self.process.status() is not None

    @property
    def death_fd(self) -> int:
        """Readable once the machine has died or the process has ended."""
        return self._deaths.fileno()

    def died(self) -> str:
        """What the process ended with, or what the machine in it died of; nothing while both live."""
        return f"{self.title} {self.process.describe_end()}" if self.ended else self.death.reason

    @property
    def shot(self) -> bool:
        """Whether somebody on this host ended it: no fault of what runs in the machine.

        What the machine died of before counts more.
        """
        if self.death.reason:
            return self.death.from_outside
        return self.process.killed_from_outside

    def died_with_panic(self) -> str:
        """The same with the emulator's own reason."""
        died, panic = self.died(), self.panic()
        return f"{died}: {panic}" if died and panic else died

    def connect(self, deadline: float) -> socket.socket:
        """Wait until the emulator has connected its serial port, and return the connection.

        TargetDied if it ends before; InfrastructureError at the deadline (``time.monotonic()``).
        """
        connection = self._resources.enter_context(self._accept(deadline))
        self._listener.close()
        connection.setblocking(False)
        self._connection = connection
        return connection

    def _accept(self, deadline: float) -> socket.socket:
        if not self.wait_readable(self._listener, deadline):
            raise InfrastructureError(f"{self.title} did not connect its serial port")
        return self._listener.accept()[0]

    @property
    def connection(self) -> socket.socket:
        """The connected serial port. InfrastructureError before ``connect``."""
        if self._connection is None:
            raise InfrastructureError(f"{self.title} has not connected its serial port")
        return self._connection

    def wait_readable(self, source: socket.socket, deadline: float) -> bool:
        """Wait until there is something to read; False at the deadline. TargetDied if the machine dies."""
        poll = select.poll()
        for fd in (source.fileno(), self.death_fd):
            poll.register(fd, select.POLLIN)
        while True:
            ready = [fd for fd, _ in poll_for(poll, deadline - time.monotonic())]
            if source.fileno() in ready or not ready:
                return bool(ready)
            if died := self.died():
                raise TargetDied(died)

    def end(self) -> None:
        """End the process; files and connections stay. Nothing in it is worth an orderly end."""
        self.death.disarm()
        self.process.kill()

    def close(self) -> None:
        """Leave nothing behind. Safe to repeat."""
        self.death.disarm()
        self._resources.close()
