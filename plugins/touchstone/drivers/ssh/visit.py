"""A visit to a box: what exists from getting in until the box boots again, or until the run leaves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from touchstone.drivers.ssh.box_info import BoxInfo, knock
from touchstone.drivers.ssh.channel import SshChannel
from touchstone.drivers.ssh.deployable import Deployable
from touchstone.drivers.ssh.install import BASES, UNDO, Installation, sweep
from touchstone.drivers.ssh.link import Link
from touchstone.drivers.ssh.lock import LOCK, PATIENCE, BoxLock
from touchstone.drivers.ssh.root import Root
from touchstone.drivers.ssh.settings import BOOT_TIMEOUT
from touchstone.machine.driver import Say

STATUS_TIMEOUT = 10.0
"""Seconds from the end of the output of the agent's program to its exit status."""


@dataclass(frozen=True)
class VisitSettings:
    """Paths on a box, and seconds to wait for it; tests have their own."""

    lock: str = LOCK
    bases: Sequence[str] = BASES
    """Where our directory may be."""
    lock_timeout: float = PATIENCE
    boot_timeout: float = BOOT_TIMEOUT


@dataclass(frozen=True)
class AgentEnd:
    """How the agent's program ended, as far as its channel tells."""

    status: int | None = None
    """Exit status; None if it is not known to have ended."""
    complaint: str = ""


class Visit:
    """We are in: connected, root, holders of the lock, with a directory of our own on the box."""

    def __init__(
        self,
        link: Link,
        lock: BoxLock,
        root: Root,
        info: BoxInfo,
        installation: Installation,
        parts: Sequence[Deployable],
        bases: Sequence[str],
    ) -> None:
        """Made by ``begin``."""
        self.link = link
        self.root = root
        self.info = info
        self.installation = installation
        self.rebooted = False
        """The box was seen in another boot than this visit's."""
        self._lock = lock
        self._parts = parts
        self._bases = bases
        self._agent: SshChannel | None = None

    @classmethod
    def begin(
        cls, link: Link, lock: BoxLock, parts: Sequence[Deployable], bases: Sequence[str], progress: Say
    ) -> Visit:
        """Get in, become root, take the lock, and make our directory; if that fails, leave nothing behind."""
        try:
            _open(link, progress)
            root, info = Root.enter(link)
            root.check()
            if not lock.held:
                lock.acquire(root, progress)
            installation = _install(root, parts, bases, progress)
        except BaseException:
            lock.release()
            link.close()
            raise
        return cls(link, lock, root, info, installation, parts, bases)

    def again(self, progress: Say) -> Visit:
        """The visit for another start of the agent: what the last one did is taken back.

        This one, over a new connection if the old one ended; or another one if the box has booted since.
        """
        _open(self.link, progress)
        info = self.root.ask_info()
        self.root.check()
        if info.boot_id != self.info.boot_id:
            return Visit.begin(self.link, self._lock, self._parts, self._bases, progress)
        self.info = info
        if not self._lock.held:
            self._lock.acquire(self.root, progress)
            if self._directory_is_lost():
                self.installation = _install(self.root, self._parts, self._bases, progress)
                return self
        self.installation.undo()
        return self

    def end(self, *, take_back: bool) -> None:
        """Leave; with ``take_back``, restore the box to what we found first: TargetError if that fails.

        Without, the box is thrown away. It may hang, so that nothing is waited for.
        """
        try:
            if take_back:
                self._take_back()
        finally:
            self._lock.release(wait=take_back)
            self.root.close()
            self.link.close()

    @property
    def lock_lost(self) -> bool:
        """The holder of the lock on the box has ended although the connection stands."""
        return self._lock.lost and self.link.alive

    def start_agent(self, agent: Deployable) -> SshChannel:
        """Start the agent's program; the channel is its standard input and output."""
        script = self.installation.agent_script(agent)
        channel = self._agent = SshChannel(self.link.session(self.root.wrap(script)))
        return channel

    def end_agent(self) -> None:
        """Close the channel of the agent's program, if there is one: it sees the end of its input."""
        if self._agent is not None:
            self._agent.close()
            self._agent = None

    def agent_end(self) -> AgentEnd:
        """How the agent's program ended, if it did."""
        if self._agent is None:
            return AgentEnd()
        # The exit status of a command comes after the end of its output.
        wait = STATUS_TIMEOUT * self.link.factor if self._agent.ended else 0.0
        return AgentEnd(self._agent.status(wait), self._agent.complaint())

    def agent_complaint(self) -> str:
        """What the agent's program wrote to standard error."""
        return self._agent.complaint() if self._agent is not None else ""

    def _take_back(self) -> None:
        knock(self.link, 0.0)
        if not self._lock.held:
            self._lock.acquire(self.root, lambda _: None)
            if self._directory_is_lost():
                return
        self.installation.remove()

    def _directory_is_lost(self) -> bool:
        """While we did not hold the lock, another run may have removed our directory as a killed run's."""
        directory = self.installation.directory
        # Before the first insertion there may be no undo yet.
        there = f"-f {directory}/{UNDO}" if self.installation.inserted else f"-d {directory}"
        return self.link.run(f"test {there}").status != 0


def _open(link: Link, progress: Say) -> None:
    if not link.alive:
        progress(f"connecting to {link.address.shown}")
        link.open()


def _install(root: Root, parts: Sequence[Deployable], bases: Sequence[str], progress: Say) -> Installation:
    sweep(root, progress, bases)
    return Installation.make(root, parts, progress, bases)
