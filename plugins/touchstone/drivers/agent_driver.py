"""What all drivers have in common: they speak to an agent, and know when it was lost and why."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from touchstone.machine.agent import REPLY_TIMEOUT, AgentClient
from touchstone.machine.driver import (
    AgentRefused,
    Answer,
    Driver,
    InfrastructureError,
    Question,
    TargetDied,
    TargetError,
    TargetHung,
    TargetInfo,
    answers_of,
)
from touchstone.machine.probe import ProbeRequest, ProbeResult
from touchstone.machine.serial_log import SerialLog
from touchstone.machine.settings import TargetSettings

T = TypeVar("T")


class AgentDriver:
    """The part of a driver that speaks to the agent. Subclasses start, reset, stop and autopsy."""

    def __init__(self, settings: TargetSettings, log_directory: Path) -> None:
        """Opens the log file ``NAME.serial.log``, and contacts nothing."""
        self.name = settings.name
        self.emulator_version: tuple[int, ...] | None = None
        self.lock_key: str | None = None
        self.loads_another_machine = False
        self.outlives_runs = False
        self.loads_by_reset = False
        self.settings = settings
        self._log = SerialLog(log_directory / f"{settings.name}.serial.log")
        self._client: AgentClient | None = None
        self._lost: TargetError | None = None

    def facts(self) -> Mapping[str, str]:
        """See Driver."""
        return {}

    def distrust(self) -> None:
        """See Driver. An emulated machine is another process after each reset anyway."""

    def wait_in_full(self, *, wanted: bool) -> None:
        """See Driver. Here, every request is."""

    def without_os(self) -> Driver | None:
        """See Driver."""
        return None

    def run(self, probe: ProbeRequest) -> list[ProbeResult]:
        """See Driver."""
        return self._ask(lambda client: client.run(probe))

    def run_many(self, probes: Sequence[ProbeRequest]) -> Iterator[list[ProbeResult] | AgentRefused]:
        """See Driver."""
        outcomes = self._ask(lambda client: client.run_many(probes))
        return (self._ask(lambda _: next(outcomes)) for _ in probes)

    def ask_many(self, questions: Sequence[Question]) -> Iterator[Answer]:
        """See Driver. Not counted ahead: other programs of an OS exit too, the more the longer it takes."""
        return answers_of(self, questions)

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

    def _explain(self, died: TargetDied) -> TargetError:
        """The same death with what this driver knows of its cause; the lab's fault if that is none's."""
        return died

    def _greet(self, client: AgentClient, timeout: float) -> TargetInfo:
        """Wait for the agent of a machine that is booting. ``timeout`` in seconds, not stretched yet.

        InfrastructureError unless the machine is what the inventory says.
        """
        client.wait_ready(timeout * self.settings.timeout_factor)
        info = client.hello()
        for what, said, found in (
            ("vendor", self.settings.vendor, info.vendor),
            ("cpus", self.settings.cpus, info.cpus),
        ):
            if said != found:
                raise InfrastructureError(
                    f"the inventory says {what} = {said} of {self.name}, but it has {found};"
                    f" see {self._log.path}"
                )
        return info
