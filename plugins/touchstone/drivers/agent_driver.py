"""What the drivers of emulated machines have in common: an agent behind a serial port, and its loss."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from touchstone.drivers.build import BareImage
from touchstone.machine.agent import REPLY_TIMEOUT, AgentClient
from touchstone.machine.driver import (
    AgentRefused,
    InfrastructureError,
    TargetDied,
    TargetError,
    TargetHung,
    TargetInfo,
)
from touchstone.machine.probe import ProbeRequest, ProbeResult
from touchstone.machine.serial_log import SerialLog
from touchstone.machine.settings import TargetSettings
from touchstone.machine.symbols import Symbols

T = TypeVar("T")
Progress = Callable[[str], None]
ImageProvider = Callable[[Progress], BareImage]
"""Makes the image when a target is started, not before."""


class DeathNotice:
    """Says in one thread what another has to know at once: that, and of what, the target died.

    ``fd`` is readable from the notice on, so that whoever waits for the agent wakes up.
    """

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._lock = threading.Lock()
        self._armed = False
        self.reason = ""

    def arm(self) -> None:
        """From now on, a notice counts; earlier ones are forgotten."""
        with self._lock:
            self._clear()
            self._armed = True

    def disarm(self) -> None:
        """We are about to stop the target ourselves. The reason stays readable."""
        with self._lock:
            self._armed = False

    def give(self, reason: str) -> None:
        """The target died of ``reason``. The first notice counts."""
        with self._lock:
            if self._armed and not self.reason:
                self.reason = reason
                os.eventfd_write(self.fd, 1)

    def close(self) -> None:
        """Close the descriptor; later notices go nowhere."""
        with self._lock:
            self._armed = False
            if self.fd >= 0:
                os.close(self.fd)
                self.fd = -1

    def _clear(self) -> None:
        self.reason = ""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self.fd)


class AgentDriver:
    """The part of a driver that speaks to the agent. Subclasses start, reset, stop and autopsy."""

    def __init__(self, settings: TargetSettings, provide_image: ImageProvider, log_directory: Path) -> None:
        """Touches nothing but the log file; the image is made by ``start``."""
        self.name = settings.name
        self.emulator_version: tuple[int, ...] | None = None
        self.lock_key: str | None = None
        self.settings = settings
        self._provide_image = provide_image
        self._image: BareImage | None = None
        self._symbols = Symbols(None)
        self._log_directory = log_directory
        self._log = SerialLog(log_directory / f"{settings.name}.serial.log")
        self._client: AgentClient | None = None
        self._lost: TargetError | None = None

    def run(self, probe: ProbeRequest) -> list[ProbeResult]:
        """See Driver."""
        return self._ask(lambda client: client.run(probe))

    def run_many(self, probes: Sequence[ProbeRequest]) -> Iterator[list[ProbeResult] | AgentRefused]:
        """See Driver."""
        outcomes = self._ask(lambda client: client.run_many(probes))
        return (self._ask(lambda _: next(outcomes)) for _ in probes)

    def load(self, option: str | None = None) -> None:
        """See Driver."""
        self._ask(lambda client: client.load(option))

    def unload(self) -> None:
        """See Driver."""
        self._ask(lambda client: client.unload())

    def query(self) -> Mapping[str, str]:
        """See Driver."""
        return self._ask(lambda client: client.query())

    def exits(self, cpu: int) -> Mapping[str, int]:
        """See Driver."""
        return self._ask(lambda client: client.exits(cpu))

    def trace(self, cpu: int, count: int) -> list[str]:
        """See Driver."""
        return self._ask(lambda client: client.trace(cpu, count))

    def send_nmis(self, cpus: tuple[int, ...], count: int) -> None:
        """See Driver."""
        self._ask(lambda client: client.send_nmis(cpus, count))

    def nmi_counts(self) -> list[int]:
        """See Driver."""
        return self._ask(lambda client: client.nmi_counts())

    def request(
        self,
        verb: str,
        pairs: Mapping[str, str],
        timeout: float = REPLY_TIMEOUT,
        limit: float | None = None,
    ) -> Mapping[str, str]:
        """See Driver."""
        return self._ask(lambda client: client.request(verb, pairs, timeout, limit))

    def serial_position(self) -> int:
        """See Driver."""
        return self._log.mark()

    def serial_since(self, position: int) -> str:
        """See Driver."""
        return self._log.since(position)

    def _ask(self, request: Callable[[AgentClient], T]) -> T:
        if self._client is None:
            raise InfrastructureError(f"{self.name} is not running: start it first")
        if self._lost is not None:
            raise InfrastructureError(f"{self.name} was lost ({self._lost}): reset it first")
        try:
            return request(self._client)
        except TargetDied as died:
            self._lost = self._explain(died)
            raise self._lost from died
        except TargetHung as hung:
            self._lost = hung
            raise
        except KeyboardInterrupt:
            self._lost = InfrastructureError("a request was interrupted")
            raise

    def _explain(self, died: TargetDied) -> TargetDied:
        """The same death with what this driver knows of its cause."""
        return died

    def _greet(self, client: AgentClient, timeout: float) -> TargetInfo:
        """Wait for the agent of a machine that is booting. ``timeout`` in seconds, not stretched yet."""
        client.wait_ready(timeout * self.settings.timeout_factor)
        info = client.hello()
        if info.vendor != self.settings.vendor:
            raise InfrastructureError(
                f"{self.name} is said to be {self.settings.vendor}, but its CPUs say {info.vendor}"
            )
        if info.cpus != self.settings.cpus:
            raise InfrastructureError(
                f"{info.cpus} of {self.settings.cpus} CPUs of {self.name} came up; see {self._log.path}"
            )
        return info
