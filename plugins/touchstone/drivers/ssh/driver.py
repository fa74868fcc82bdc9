"""A box with Linux, over SSH: the agent and the subject are put on it, used, and taken away again."""

from __future__ import annotations

import errno
import re
import select
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, TypeVar

from touchstone.drivers.agent_driver import AgentDriver, Progress
from touchstone.drivers.ssh.boxes import Box
from touchstone.drivers.ssh.build import Deployable, Workshop, build_here, headers_here
from touchstone.drivers.ssh.channel import SshChannel
from touchstone.drivers.ssh.console import Console, KernelLog, find_panic, read_pstore
from touchstone.drivers.ssh.diagnosis import Ended, diagnose, knock
from touchstone.drivers.ssh.install import BASES, UNDO, Installation, sweep
from touchstone.drivers.ssh.link import Link
from touchstone.drivers.ssh.lock import LOCK, PATIENCE, BoxLock
from touchstone.drivers.ssh.reboot import ask_to_reboot, await_boot
from touchstone.drivers.ssh.root import BoxFacts, Root
from touchstone.drivers.ssh.settings import BOOT_TIMEOUT
from touchstone.drivers.ssh.upload import build_there
from touchstone.machine.agent import LOAD_TIMEOUT, REPLY_TIMEOUT, AgentClient, read_trace
from touchstone.machine.driver import (
    AgentRefused,
    Autopsy,
    InfrastructureError,
    TargetDied,
    TargetError,
    TargetHung,
    TargetInfo,
)
from touchstone.machine.polling import poll_for
from touchstone.machine.settings import TargetSettings

T = TypeVar("T")
READY_TIMEOUT = 30.0
"""Seconds from the start of the agent's program to its ``ready``."""
STATUS_TIMEOUT = 10.0
"""Seconds from the end of the output of the agent's program to its exit status."""
DEATH_TIMEOUT = 2.0
"""Seconds from the end of the connection to the word that the machine behind it died, where one is given."""
_ERROR = re.compile(r"error -(\d+) ?(.*)")


@dataclass(frozen=True)
class Places:
    """Where things are, and how long to wait for them; tests have their own."""

    lock: str = LOCK
    bases: Sequence[str] = BASES
    lock_timeout: float = PATIENCE
    boot_timeout: float = BOOT_TIMEOUT


class SshDriver(AgentDriver):
    """One box. See ``touchstone.machine.driver.Driver`` for what the methods promise."""

    def __init__(
        self,
        settings: TargetSettings,
        box: Box,
        agent: Deployable,
        subject: Deployable | None,
        workshop: Workshop,
        log_directory: Path,
        places: Places | None = None,
    ) -> None:
        """Contacts nothing."""
        super().__init__(settings, _no_image, log_directory)
        self._box = box
        self._agent = agent
        self._subject = subject
        self._workshop = workshop
        self._places = places or Places()
        self._link: Link | None = None
        self._lock = BoxLock(self._places.lock, self._places.lock_timeout)
        self._facts: BoxFacts | None = None
        self._installation: Installation | None = None
        self._channel: SshChannel | None = None
        self._root: Root | None = None
        self._console: Console | None = None
        self._kernel_log: Console | None = None
        self._well_at = 0
        """Where the log was when the box last answered: a panic is said behind it."""
        self._broken = False
        """It died or hangs, and has not been brought back since."""
        self._rebooted = False
        """The box was seen in another boot than the one that we were in."""

    # --- the life of a box in our hands

    def start(self, progress: Progress) -> TargetInfo:
        """See Driver."""
        if self._link is not None:
            return self.reset(progress)
        try:
            self._box.start(progress)
            self.emulator_version = self._box.version()
            self._console = self._box.console()
            self._link = Link(self._box.address(), self.settings.timeout_factor)
            return self._settle(progress)
        except TargetError as error:
            text = self._failure(error)
            self.stop()
            raise InfrastructureError(text) from error
        except BaseException:
            self.stop()
            raise

    def reset(self, progress: Progress) -> TargetInfo:
        """See Driver. A box that lives keeps its boot; one that died or hangs is reset."""
        if self._link is None:
            return self.start(progress)
        try:
            if self._broken or isinstance(self._lost, TargetDied | TargetHung):
                self._broken = True
                self._drop_agent()
                self._revive(progress, self._link)
            info = self._settle(progress)
            self._broken = False
            return info
        except TargetError as error:
            self._broken |= self._box.disposable or isinstance(error, TargetDied | TargetHung)
            self._lost = error
            raise InfrastructureError(self._failure(error)) from error

    def stop(self) -> None:
        """See Driver. What cannot be taken back now is taken back by the next run."""
        self._drop_agent()
        link, self._link = self._link, None
        try:
            if link is not None and self._installation is not None and not self._box.disposable:
                self._take_back(link)
        finally:
            self._installation = None
            self._lock.release()
            if self._root is not None:
                self._root.close()
                self._root = None
            if link is not None:
                link.close()
            if self._console is not None:
                self._collect()
                self._console.close()
                self._console = None
            self._box.stop()
            self._facts = None

    # --- the subject

    def load(self, option: str | None = None) -> None:
        """See Driver."""

        def do(subject: Deployable) -> None:
            if option and "{option}" not in subject.commands.get("load", ""):
                raise AgentRefused(
                    "EINVAL", f"{subject.title} on Linux takes no option, {option!r} was given"
                )
            assert self._installation is not None
            self._installation.insert(subject)
            self._command("load", LOAD_TIMEOUT, option=option or "")

        self._ask(lambda _: do(self._the_subject()))

    def unload(self) -> None:
        """See Driver."""
        self._ask(lambda _: self._command("unload", LOAD_TIMEOUT))

    def query(self) -> Mapping[str, str]:
        """See Driver."""

        def do(subject: Deployable) -> Mapping[str, str]:
            assert self._installation is not None
            if subject.name not in self._installation.inserted:
                return {"loaded": "0", "name": subject.name}
            return self._command("query", REPLY_TIMEOUT)

        return self._ask(lambda _: do(self._the_subject()))

    def exits(self, cpu: int) -> Mapping[str, int]:
        """See Driver."""
        said = self._ask(lambda _: self._command("exits", REPLY_TIMEOUT, cpu=str(cpu)))
        try:
            return {name: int(value) for name, value in said.items()}
        except ValueError:
            raise InfrastructureError(
                f"the exit counters of CPU {cpu} are no numbers: {dict(said)}"
            ) from None

    def trace(self, cpu: int, count: int) -> list[str]:
        """See Driver."""
        said = self._ask(lambda _: self._command("trace", REPLY_TIMEOUT, cpu=str(cpu), count=str(count)))
        return read_trace(said.get("exits", ""))

    def inject_nmi(self) -> None:
        """See Driver."""
        self._ask(lambda _: self._box.inject_nmi())

    # --- evidence

    def serial_position(self) -> int:
        """See Driver."""
        self._collect()
        return self._log.mark()

    def serial_since(self, position: int) -> str:
        """See Driver. The console, or the kernel log, and what the agent said between them."""
        self._collect()
        return self._log.since(position)

    def autopsy(self) -> Autopsy:
        """See Driver."""
        notes: list[str] = []
        self._collect()
        reason = str(self._lost or "the target is running")
        try:
            if (found := self._box.autopsy()) is not None:
                return Autopsy(
                    reason=f"{reason}; {found.reason}" if found.reason not in reason else reason,
                    registers=found.registers,
                    backtraces=found.backtraces,
                    serial=self._log.tail(),
                    emulator_log=found.emulator_log,
                    notes=found.notes,
                )
            notes.append("a box cannot be stopped and looked into: no registers, no backtrace")
            if self._rebooted and self._link is not None and self._facts is not None:
                kept = read_pstore(self._root_on(self._link, self._facts))
                notes.append(
                    "what its kernel left in persistent memory (pstore) is at the end of the log"
                    if kept
                    else "its kernel left nothing in persistent memory (pstore)"
                )
                self._log.append(kept.encode())
            if self._console is None:
                notes.append("the inventory names no console: the log is the kernel's, as far as it got out")
        except Exception as error:  # evidence must never cost the verdict that it is meant for
            notes.append(f"the autopsy broke off: {type(error).__name__}: {error}")
        return Autopsy(reason=reason, serial=self._log.tail(), notes=tuple(notes))

    # --- requests

    def _ask(self, request: Callable[[AgentClient], T]) -> T:
        if self._client is not None and self._lost is None and self._lock.lost and self._is_open():
            self._lost = InfrastructureError(f"the lock on {self.name} was lost: another run may be using it")
            raise self._lost
        try:
            answer = super()._ask(request)
        except (TargetDied, TargetHung) as error:
            self._lost = self._judge(error)
            raise self._lost from error
        self._collect()
        self._well_at = self._log.mark()
        return answer

    def _is_open(self) -> bool:
        return self._link is not None and self._link.alive

    def _the_subject(self) -> Deployable:
        if self._subject is None:
            raise AgentRefused("ENODEV", "there is no hypervisor in this run")
        return self._subject

    def _command(self, name: str, timeout: float, **values: str) -> Mapping[str, str]:
        """Run one of the subject's commands on the box, and read its answer: ``ok key=value ...``."""
        subject = self._the_subject()
        assert self._link is not None
        assert self._facts is not None
        assert self._installation is not None
        if name not in subject.commands:
            raise AgentRefused("ENOSYS", f"[deploy.linux] of {subject.title} names no command {name!r}")
        script = self._installation.command(subject, name, **values)
        done = self._root_on(self._link, self._facts).run(script, timeout=timeout)
        first = done.text.partition("\n")[0]
        if refused := _ERROR.match(first):
            code = errno.errorcode.get(int(refused[1]), refused[1])
            raise AgentRefused(code, refused[2])
        if done.status:
            raise AgentRefused("EIO", f"{name}: status {done.status}: {done.complaint}")
        return dict(word.partition("=")[::2] for word in first.split() if "=" in word)

    def _judge(self, error: TargetDied | TargetHung) -> TargetError:
        assert self._link is not None
        assert self._facts is not None
        self._collect()
        if death := self._box.death():
            return TargetDied(death)
        agent = Ended()
        if self._channel is not None:
            # The status of a command follows the end of its output.
            wait = STATUS_TIMEOUT * self._link.factor if self._channel.ended else 0.0
            agent = Ended(self._channel.status(wait), self._channel.complaint())
        if agent.status is None and isinstance(error, TargetDied) and (death := self._await_death()):
            return TargetDied(death)
        said = self._log.since(self._well_at)
        found = diagnose(self.name, error, self._link, self._facts, said, agent, self._root_on)
        self._rebooted |= found.rebooted
        self._collect()
        if found.said and not find_panic(self._log.since(self._well_at)):
            self._log.append(f"{found.said}\n".encode())  # before it came by itself, it may be too late
        return found.error

    def _await_death(self) -> str:
        """What the machine died of: a connection ends a moment before the word comes that it did."""
        if (fd := self._box.death_fd()) is not None:
            poll = select.poll()
            poll.register(fd, select.POLLIN)
            deadline = time.monotonic() + DEATH_TIMEOUT * self.settings.timeout_factor
            # An emulator that was killed has nobody who says so.
            while not self._box.death() and time.monotonic() < deadline:
                poll_for(poll, 0.05)
        return self._box.death()

    # --- the way there

    def _root_on(self, link: Link, facts: BoxFacts) -> Root:
        if self._root is None or self._root.link is not link:
            self._root = Root(link, root=facts.root)
        return self._root

    def _settle(self, progress: Progress) -> TargetInfo:
        """From a box that is on to an agent that answers."""
        link = self._link
        assert link is not None
        self._drop_agent()
        self._lost = None
        before, self._facts = self._facts, None
        if not link.alive:
            progress(f"connecting to {link.address.shown}")
            link.open()
        if self._root is not None and self._root.link is link:
            root, facts = self._root, self._root.ask_facts()
        else:
            root, facts = Root.enter(link)
            self._root = root
        root.check()
        if before is not None and before.boot_id != facts.boot_id:
            self._installation = None
        if not self._lock.held:
            self._lock.acquire(root, progress)
            self._forget_lost_directory(link)
        parts = [self._agent, *([self._subject] if self._subject else [])]
        if self._installation is None:
            sweep(root, progress, self._places.bases)
            self._installation = Installation.make(root, parts, progress, self._places.bases)
        else:
            self._installation.undo()
        self._facts = facts
        self._rebooted = False
        self._installation.put([file for part in parts for file in self._provide(part, facts, progress)])
        # A console shows what is urgent, and what comes when nothing else gets out any more.
        self._kernel_log = KernelLog(root, facts.uptime)
        self._installation.insert(self._agent)
        progress(f"starting the agent on {link.address.host}")
        self._channel = SshChannel(link.session(root.wrap(self._installation.agent(self._agent))))
        if (fd := self._box.death_fd()) is not None:
            self._channel.watch(fd, self._on_death)
        self._client = AgentClient(self._channel, self._log, self.settings.timeout_factor)
        info = self._greet(self._client, READY_TIMEOUT)
        self._collect()
        self._well_at = self._log.mark()
        return info

    def _greet(self, client: AgentClient, timeout: float) -> TargetInfo:
        client.wait_ready(timeout * self.settings.timeout_factor)
        info = client.hello()
        for what, said, found in (
            ("vendor", self.settings.vendor, info.vendor),
            ("cpus", self.settings.cpus, info.cpus),
        ):
            if said != found:
                raise InfrastructureError(
                    f"the inventory says {what} = {said} of {self.name}, but it has {found}"
                )
        return info

    def _forget_lost_directory(self, link: Link) -> None:
        """While nobody held the lock, another run may have taken our directory for a dead run's."""
        if self._installation is None:
            return
        directory = self._installation.directory
        # Before the first insertion there may be no undo yet.
        there = f"-f {directory}/{UNDO}" if self._installation.inserted else f"-d {directory}"
        if link.run(f"test {there}").status:
            self._installation = None

    def _provide(self, part: Deployable, facts: BoxFacts, progress: Progress) -> list[Path]:
        def make(into: Path) -> None:
            headers = self._box.headers(facts.release, progress) or headers_here(facts.release)
            if headers is not None:
                build_here(part, facts.release, headers, into, progress)
            else:
                assert self._link is not None
                assert self._installation is not None
                directory = self._installation.directory
                build_there(self._link, part, facts.release, directory, into, progress)

        return self._workshop.provide(part, facts.release, facts.version, make, progress)

    def _revive(self, progress: Progress, link: Link) -> None:
        """Bring a box back that died or hangs: into a new boot, or to its snapshot."""
        before = self._facts
        if self._box.bring_back(progress):
            link.close()
            if self._box.disposable:  # another machine, perhaps at another port
                self._link = Link(self._box.address(), self.settings.timeout_factor)
                self._facts = self._installation = self._root = None
                return
        elif not self._rebooted:
            ask_to_reboot(self.name, link, before, self._root_on, progress)
        if before is not None:
            await_boot(self.name, link, before.boot_id, self._places.boot_timeout, progress)

    def _take_back(self, link: Link) -> None:
        """Restore the box to what we found. The log says what went wrong: we are on our way out."""
        assert self._installation is not None
        try:
            now = knock(link, 0.0)
            root = self._root_on(link, now)
            if not self._lock.held:
                self._lock.acquire(root, lambda _: None)
                self._forget_lost_directory(link)
            if self._installation is not None:
                self._installation.remove()
        except TargetError as error:
            text = f"{self.name} keeps what this run put there until the next run: {error}"
            self._log.append(f"\n{text}\n".encode())

    def _drop_agent(self) -> None:
        self._client = None
        self._collect()
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        if self._kernel_log is not None:
            self._kernel_log.close()
            self._kernel_log = None

    def _collect(self) -> None:
        for source in (self._console, self._kernel_log):
            if source is not None and (data := source.collect()):
                self._log.append(data)

    def _on_death(self) -> None:
        raise TargetDied(self._box.death())

    def _failure(self, error: TargetError) -> str:
        said = self._channel.complaint() if self._channel else ""
        self._collect()
        parts = [str(error)]
        if said:
            parts.append(f"the agent's program said: {said}")
        if isinstance(error, TargetDied | TargetHung) and (tail := self._log.tail(2000)):
            parts.append(f"end of the log:\n{tail}")
        return "\n".join(parts)


def _no_image(progress: Progress) -> NoReturn:
    raise InfrastructureError("a box boots its own Linux, no image of ours")
