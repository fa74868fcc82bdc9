"""A target that is the subject's guest: natively, it is another machine with the same CPU model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NoReturn

from touchstone.drivers.hosted.guest import GuestOnBox
from touchstone.machine.agent import REPLY_TIMEOUT
from touchstone.machine.driver import (
    AgentRefused,
    Autopsy,
    Driver,
    InfrastructureError,
    Say,
    TargetInfo,
)
from touchstone.machine.probe import ProbeRequest, ProbeResult


class HostedDriver(Driver):
    """See Driver. To load the subject is to start its guest, which boots the image of the native machine.

    One of the two machines runs at a time. To reset is to end the guest; the box that it runs on keeps its
    boot unless it died.
    """

    loads_another_machine = True

    def __init__(self, name: str, native: Driver, guest: GuestOnBox, subject: str) -> None:
        """Starts nothing. ``native``: boots the bare image without a subject; ``subject``: its name."""
        self.name = name
        self.emulator_version = None
        self.lock_key = None
        self._native = native
        self._guest = guest
        self._subject = subject
        self._now: Driver = native
        self._info: TargetInfo | None = None
        self._progress: Say = lambda _: None

    def wait_in_full(self, *, wanted: bool) -> None:
        """See Driver."""
        self._guest.wait_in_full(wanted=wanted)

    def start(self, progress: Say) -> TargetInfo:
        """See Driver."""
        self._progress = progress
        self._info = self._native.start(progress)
        self._now = self._native
        self.emulator_version = self._native.emulator_version
        return self._info

    def reset(self, progress: Say) -> TargetInfo:
        """See Driver."""
        self._guest.leave()
        self._now = self._native
        self._info = self._native.reset(progress)
        return self._info

    def stop(self) -> None:
        """See Driver."""
        try:
            self._guest.stop()
        finally:
            self._native.stop()

    def load(self, option: str | None = None) -> None:
        """See Driver. The box is started, if it does not run, and the guest on it."""
        if option:
            raise AgentRefused("EINVAL", f"{self._subject} takes no option, {option!r} was given")
        if self._now is self._guest:
            raise AgentRefused("EBUSY", f"the machine is {self._subject}'s guest already")
        self._native.stop()
        self._now = self._guest
        self._guest.be_ready(self._progress)
        self._demand_same(self._guest.launch(self._progress))

    def unload(self) -> None:
        """See Driver."""
        raise AgentRefused("EOPNOTSUPP", f"the machine is {self._subject}'s guest, and ends with it")

    def query(self) -> Mapping[str, str]:
        """See Driver."""
        if self._now is not self._guest or self._info is None:
            return {"loaded": "0", "name": self._subject}
        version = {"version": self._guest.version} if self._guest.version else {}
        return {"loaded": "1", "name": self._subject, "cpus": str(self._info.cpus), **version}

    def exits(self, cpu: int) -> Mapping[str, int]:
        """See Driver."""
        self._not_offered("counts no exits")

    def trace(self, cpu: int, count: int) -> list[str]:
        """See Driver."""
        self._not_offered("keeps no exits")

    def run(self, probe: ProbeRequest) -> list[ProbeResult]:
        """See Driver."""
        return self._now.run(probe)

    def run_many(self, probes: Sequence[ProbeRequest]) -> Iterator[list[ProbeResult] | AgentRefused]:
        """See Driver."""
        return self._now.run_many(probes)

    def send_nmis(self, cpus: tuple[int, ...], count: int) -> None:
        """See Driver."""
        self._now.send_nmis(cpus, count)

    def inject_nmi(self) -> None:
        """See Driver."""
        self._now.inject_nmi()

    def nmi_counts(self) -> list[int]:
        """See Driver."""
        return self._now.nmi_counts()

    def request(
        self,
        verb: str,
        pairs: Mapping[str, str],
        timeout: float = REPLY_TIMEOUT,
        limit: float | None = None,
    ) -> Mapping[str, str]:
        """See Driver."""
        return self._now.request(verb, pairs, timeout, limit)

    def autopsy(self) -> Autopsy:
        """See Driver."""
        return self._now.autopsy()

    def serial_position(self) -> int:
        """See Driver."""
        return self._now.serial_position()

    def serial_since(self, position: int) -> str:
        """See Driver."""
        return self._now.serial_since(position)

    def _not_offered(self, what: str) -> NoReturn:
        raise AgentRefused("EOPNOTSUPP", f"{self._subject} {what} that could be asked for")

    def _demand_same(self, guest: TargetInfo) -> None:
        """Addresses are compared between the two machines, so they must lie at the same places."""
        if guest != self._info:
            raise InfrastructureError(f"the guest says {guest}, and the machine without it {self._info}")
