"""The agent as a child of ours: no connection, no module, nothing installed, nothing left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, NoReturn, TypeVar

from touchstone.drivers.agent_driver import AgentDriver
from touchstone.drivers.here import machine
from touchstone.machine.agent import AgentClient
from touchstone.machine.channel import SocketChannel
from touchstone.machine.driver import (
    AgentRefused,
    Autopsy,
    ConnectionEnded,
    Driver,
    InfrastructureError,
    Say,
    TargetInfo,
)
from touchstone.machine.settings import TargetSettings

READY_TIMEOUT = 5.0
"""Seconds for the program to try whether exceptions are told as they should be."""
COMPLAINT = 4096
T = TypeVar("T")


class HereDriver(AgentDriver, Driver):
    """See Driver. The subject is there already; the machine is never reset, only the program started anew.

    A probe runs in a process of its own, so that whatever it does to that process, the agent answers. If the
    agent itself ends, somebody has ended it: that is the lab's.
    """

    def __init__(self, settings: TargetSettings, provide: Callable[[Say], Path], log_directory: Path) -> None:
        """Starts nothing. ``provide`` builds the program."""
        super().__init__(settings, log_directory)
        self._provide = provide
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: SocketChannel | None = None
        self._complaints: IO[bytes] | None = None

    def start(self, progress: Say) -> TargetInfo:
        """See Driver."""
        self._end_program()
        program = self._provide(progress)
        ours, its = socket.socketpair()
        self._channel = SocketChannel(ours)
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the program runs
        try:
            # A session of its own: Ctrl-C is ours, and its probes' processes can be ended together.
            self._process = subprocess.Popen(
                [str(program)],
                stdin=its.fileno(),
                stdout=its.fileno(),
                stderr=self._complaints,
                start_new_session=True,
                cwd="/",
            )
        except OSError as error:
            raise InfrastructureError(f"{program} cannot be started: {error.strerror}") from None
        finally:
            its.close()
        self._lost = None
        self._client = AgentClient(self._channel, self._log, self.settings.timeout_factor)
        try:
            return self._greet(self._client, READY_TIMEOUT)
        except ConnectionEnded:
            self._has_ended()

    def reset(self, progress: Say) -> TargetInfo:
        """See Driver. Ends what hangs, and starts the program anew."""
        return self.start(progress)

    def stop(self) -> None:
        """See Driver."""
        self._end_program()
        self._log.close()

    def facts(self) -> Mapping[str, str]:
        """See Driver."""
        return machine.facts()

    def inject_nmi(self) -> None:
        """See Driver."""
        raise AgentRefused("unsupported", "nobody sends an NMI to the machine that we run on")

    def autopsy(self) -> Autopsy:
        """See Driver."""
        return Autopsy(reason=str(self._lost or "the agent runs"), serial=self._log.tail())

    def _ask(self, request: Callable[[AgentClient], T]) -> T:
        try:
            return super()._ask(request)
        except ConnectionEnded:
            self._has_ended()

    def _has_ended(self) -> NoReturn:
        """Say how the agent has ended."""
        process, said = self._process, self._complaint()
        self._end_program()
        status = None if process is None else process.returncode
        how = f"signal {-status}" if status is not None and status < 0 else f"status {status}"
        raise InfrastructureError(f"the agent's program ended ({how}): {said or 'it said nothing'}") from None

    def _complaint(self) -> str:
        if self._complaints is None:
            return ""
        self._complaints.seek(0)
        return self._complaints.read(COMPLAINT).decode("utf-8", "backslashreplace").strip()

    def _await_killed(self, process: subprocess.Popen[bytes]) -> None:
        process.wait()

    def _end_program(self) -> None:
        """End the program and the processes of its probes. Safe to repeat."""
        self._client = None
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(0.1)  # one that has ended by itself tells how
            # Not reaped before, or its number could be another's. Its children die with it.
            if self._process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)
                process, self._process = self._process, None
                self._await_killed(process)
            self._process = None
        if self._complaints is not None:
            self._complaints.close()
            self._complaints = None
