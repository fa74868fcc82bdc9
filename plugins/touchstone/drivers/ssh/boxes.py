"""What a box is besides its sshd: a machine in a rack, or a virtual one that we start ourselves."""

from __future__ import annotations

import select
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from touchstone.drivers.power import Power
from touchstone.drivers.ssh.address import Address
from touchstone.drivers.ssh.console import LogSource, open_console
from touchstone.machine.driver import AgentRefused, Autopsy, Say
from touchstone.machine.polling import poll_for


class Box(Protocol):
    """What the driver needs of a box besides SSH."""

    disposable: bool
    """It is thrown away afterwards: nothing on it needs to be taken back."""

    def start(self, progress: Say) -> None:
        """Start it, if it is ours to start."""

    def version(self) -> tuple[int, ...] | None:
        """Of the emulator, if it is an emulated one."""

    def facts(self) -> Mapping[str, str]:
        """See Driver: what is known of it from outside."""

    def stop(self) -> None:
        """Stop it, if it is ours to stop. Safe to repeat."""

    def address(self) -> Address:
        """How to get in, once it is started."""

    def bring_back(self, progress: Say) -> bool:
        """Reset it by force. False if there is no way to."""

    def headers(self, release: str, progress: Say) -> Path | None:
        """Where this machine has what modules for its kernel are built against, if it is told so."""

    def console(self) -> LogSource | None:
        """Its serial console, if there is one."""

    def death(self) -> str:
        """What it died of, if that is known without asking it."""

    def was_shot(self) -> bool:
        """Whether somebody on this host ended it, so that nothing in it is to blame for its death."""

    def death_fd(self) -> int | None:
        """Readable once it has died, where that can be known."""

    def inject_nmi(self) -> None:
        """Send it one NMI from outside. AgentRefused (``unsupported``)."""

    def autopsy(self) -> Autopsy | None:
        """Stop it and look into it, where that can be done."""


class RackBox:
    """A machine that somebody else runs."""

    disposable = False

    def __init__(self, address: Address, power: Power | None, console: str, headers: Path | None) -> None:
        self._address = address
        self._power = power
        self._console = console
        self._headers = headers

    def start(self, progress: Say) -> None:
        """See Box."""

    def version(self) -> tuple[int, ...] | None:
        """See Box."""
        return None

    def facts(self) -> Mapping[str, str]:
        """See Box."""
        return {}

    def stop(self) -> None:
        """See Box."""

    def address(self) -> Address:
        """See Box."""
        return self._address

    def bring_back(self, progress: Say) -> bool:
        """See Box."""
        if self._power is None:
            return False
        progress(f"resetting {self._address.host} through its power control")
        self._power.reset()
        return True

    def headers(self, release: str, progress: Say) -> Path | None:
        """See Box."""
        return self._headers

    def console(self) -> LogSource | None:
        """See Box."""
        return open_console(self._console) if self._console else None

    def death(self) -> str:
        """See Box."""
        return ""

    def was_shot(self) -> bool:
        """See Box."""
        return False

    def death_fd(self) -> int | None:
        """See Box."""
        return None

    def inject_nmi(self) -> None:
        """See Box."""
        if self._power is None:
            raise AgentRefused("unsupported", "the inventory names no power control for this box")
        self._power.inject_nmi()

    def autopsy(self) -> Autopsy | None:
        """See Box."""
        return None


def await_death(box: Box, timeout: float) -> str:
    """What a box died of, if that becomes known within ``timeout`` seconds; else nothing."""
    if (fd := box.death_fd()) is not None and not box.death():
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        poll_for(poll, timeout)
    return box.death()
