"""A box with Linux, over SSH: the agent and the subject are put on it, used, and taken away again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from touchstone.drivers.agent_driver import AgentDriver
from touchstone.drivers.ssh.boxes import Box, await_death
from touchstone.drivers.ssh.build import ModuleCache, build_here, build_there, headers_here
from touchstone.drivers.ssh.console import LogSource
from touchstone.drivers.ssh.deployable import Deployable
from touchstone.drivers.ssh.diagnosis import KNOCK_ONCE_MORE, KNOCK_TIMEOUT, diagnose
from touchstone.drivers.ssh.kernel_log import KernelLog, find_panic, read_pstore
from touchstone.drivers.ssh.link import Link
from touchstone.drivers.ssh.lock import BoxLock
from touchstone.drivers.ssh.module_code import ModuleCode, located, module_name
from touchstone.drivers.ssh.reboot import ask_to_reboot, await_boot
from touchstone.drivers.ssh.subject import SubjectOnBox
from touchstone.drivers.ssh.visit import Visit, VisitSettings
from touchstone.machine.agent import AgentClient
from touchstone.machine.driver import (
    AgentRefused,
    Autopsy,
    Driver,
    HostError,
    InfrastructureError,
    Say,
    TargetDied,
    TargetError,
    TargetHung,
    TargetInfo,
)
from touchstone.machine.patience import Patience
from touchstone.machine.settings import TargetSettings

T = TypeVar("T")
READY_TIMEOUT = 30.0
"""Seconds from the start of the agent's program to its ``ready``."""
DEATH_TIMEOUT = 2.0
"""Seconds from the end of the connection until its emulator must have said that the machine died."""
CONSOLE, KERNEL_LOG = "console", "kernel log"


class SshDriver(AgentDriver):
    """One box. See ``touchstone.machine.driver.Driver`` for what the methods promise."""

    def __init__(
        self,
        settings: TargetSettings,
        box: Box,
        agent: Deployable,
        subject: Deployable | None,
        cache: ModuleCache,
        log_directory: Path,
        visit_settings: VisitSettings | None = None,
        make_bare: Callable[[], Driver] | None = None,
    ) -> None:
        """Contacts nothing. ``make_bare``: for what ``without_os`` returns."""
        super().__init__(settings, log_directory)
        self._box = box
        self._agent = agent
        self._subject = subject
        self._parts = [agent, *([subject] if subject else [])]
        self._cache = cache
        self._visit_settings = visit_settings or VisitSettings()
        self._lock = BoxLock(self._visit_settings.lock, self._visit_settings.lock_timeout)
        self._visit: Visit | None = None
        self._sources: dict[str, LogSource] = {}
        """Where the log comes from, besides the agent."""
        self._well_at = 0
        """Where the log was when the box last answered: a panic is said behind it."""
        self._began_at = 0
        """Where the log was when the box was brought up last."""
        self._files_of_subject: list[Path] = []
        self._make_bare = make_bare
        self._broken = False
        """It died, was shot or hangs, and has not been brought back since."""
        self._distrusted = False
        """It is to be brought back although it lives."""
        self._patience: Patience | None = None
        self._stretch = 1.0
        """By which the agent is slower than the box that its program runs on."""
        self.outlives_runs = not box.disposable

    # --- the life of a box in our hands

    def start(self, progress: Say) -> TargetInfo:
        """See Driver."""
        return self._enter(progress, self._start_agent)

    def without_os(self) -> Driver | None:
        """See Driver."""
        return None if self._make_bare is None else self._make_bare()

    def reset(self, progress: Say) -> TargetInfo:
        """See Driver. A box that lives keeps its boot; one that died or hangs is reset."""
        return self._enter(progress, self._start_agent)

    def _enter(self, progress: Say, then: Callable[[Visit, Say], T]) -> T:
        """Be on a box as it was found, whatever state it is in, and do what is to be done there.

        InfrastructureError for whatever goes wrong. What is behind it starts with another attempt.
        """
        visit = self._visit
        if visit is None:
            return self._enter_first(progress, then)
        try:
            self._drop_agent(visit)
            if self._box_is_lost():
                self._broken = True
                visit = self._bring_back(visit, progress)
            else:
                visit = visit.again(progress)
                if self._distrusted:
                    visit = self._bring_back(visit, progress)
            self._distrusted = False
            done = then(visit, progress)
            self._broken = False
            return done
        except TargetError as error:
            self._broken |= self._box.disposable or isinstance(error, TargetDied | TargetHung)
            self._lost = error
            raise _kind(error)(self._failure(error)) from error

    def _enter_first(self, progress: Say, then: Callable[[Visit, Say], T]) -> T:
        try:
            self._box.start(progress)
            self.emulator_version = self._box.version()
            if (console := self._box.console()) is not None:
                self._sources[CONSOLE] = console
            return then(self._begin_visit(progress), progress)
        except TargetError as error:
            text = self._failure(error)
            self.stop()
            raise _kind(error)(text) from error
        except BaseException:
            self.stop()
            raise

    def _box_is_lost(self) -> bool:
        """Whether the box died or hangs, and has not been brought back since."""
        return self._broken or isinstance(self._lost, TargetDied | TargetHung)

    def distrust(self) -> None:
        """See Driver. A box is reset by force only while we hold its lock, which is on the box."""
        self._distrusted = True

    def stop(self) -> None:
        """See Driver. What cannot be taken back now is taken back by the next run."""
        visit, self._visit = self._visit, None
        try:
            if visit is not None:
                self._drop_agent(visit)
                visit.end(take_back=not self._box.disposable)
        except TargetError as error:
            text = f"{self.name} keeps what this run put there until the next run: {error}"
            self._log.append(f"\n{text}\n".encode())
        finally:
            self._collect()
            while self._sources:
                self._sources.popitem()[1].close()
            try:
                self._box.stop()
            except TargetError as error:
                self._log.append(f"\n{error}\n".encode())

    def facts(self) -> Mapping[str, str]:
        """See Driver."""
        found = dict(self._box.facts())
        if self._visit is not None:
            info = self._visit.info
            found["kernel"] = f"{info.release} {info.version[info.version.rfind('#') :]}"
            if info.firmware:
                found["firmware"] = info.firmware
        return found

    # --- the subject

    def load(self, option: str | None = None) -> None:
        """See Driver."""
        self._ask_subject(lambda subject: subject.load(option))

    def unload(self) -> None:
        """See Driver."""
        self._ask_subject(lambda subject: subject.unload())

    def query(self) -> Mapping[str, str]:
        """See Driver."""
        return self._ask_subject(lambda subject: subject.query())

    def exits(self, cpu: int) -> Mapping[str, int]:
        """See Driver."""
        return self._ask_subject(lambda subject: subject.exits(cpu))

    def trace(self, cpu: int, count: int) -> list[str]:
        """See Driver."""
        return self._ask_subject(lambda subject: subject.trace(cpu, count))

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
                frames, place = located(found.backtraces, self._modules_of_subject())
                return Autopsy(
                    reason=f"{reason}; {found.reason}" if found.reason not in reason else reason,
                    cause=place if isinstance(self._lost, TargetHung) else "",
                    registers=found.registers,
                    backtraces=frames,
                    serial=self._log.tail(),
                    emulator_log=found.emulator_log,
                    notes=found.notes,
                )
            notes.append("a box cannot be stopped and looked into: no registers, no backtrace")
            if self._visit is not None and self._visit.rebooted:
                kept = read_pstore(self._visit.root)
                notes.append(
                    "what its kernel left in persistent memory (pstore) is at the end of the log"
                    if kept
                    else "its kernel left nothing in persistent memory (pstore)"
                )
                self._log.append(kept.encode())
            if CONSOLE not in self._sources:
                notes.append("the inventory names no console: the log is the kernel's, as far as it got out")
        except Exception as error:  # failing to gather evidence must not change the verdict
            notes.append(f"the autopsy broke off: {type(error).__name__}: {error}")
        return Autopsy(reason=reason, serial=self._log.tail(), notes=tuple(notes))

    def _modules_of_subject(self) -> list[ModuleCode]:
        """Where the kernel has put what was built of the subject."""
        sections = self._visit.installation.sections if self._visit is not None else {}
        return [
            ModuleCode(file, sections[module_name(file)])
            for file in self._files_of_subject
            if module_name(file) in sections
        ]

    # --- requests

    def _ask(self, request: Callable[[AgentClient], T]) -> T:
        visit = self._visit
        if visit is None:
            return super()._ask(request)  # it says so
        if self._client is not None and self._lost is None and visit.lock_lost:
            self._lost = InfrastructureError(f"the lock on {self.name} was lost: another run may be using it")
            raise self._lost
        try:
            answer = super()._ask(request)
        except (TargetDied, TargetHung) as error:
            self._lost = self._judge(visit, error)
            raise self._lost from error
        self._collect()
        self._well_at = self._log.mark()
        return answer

    def _ask_subject(self, request: Callable[[SubjectOnBox], T]) -> T:
        def ask(_: AgentClient) -> T:
            if self._visit is None or self._subject is None:
                raise AgentRefused("ENODEV", "there is no hypervisor in this run")
            return request(SubjectOnBox(self._visit, self._subject))

        return self._ask(ask)

    def _judge(self, visit: Visit, error: TargetDied | TargetHung) -> TargetError:
        """What a request that got no answer means: did the box die, does it hang, or was it the link?"""
        self._collect()
        if death := self._box.death():
            return self._died_of(death)
        agent = visit.agent_end()
        # The connection ends a moment before it is known why.
        wait = DEATH_TIMEOUT * self.settings.timeout_factor if isinstance(error, TargetDied) else 0.0
        if agent.status is None and (death := await_death(self._box, wait)):
            return self._died_of(death)
        # Of a virtual box it is known that it has not rebooted, and nobody pulls its cable.
        timeout = KNOCK_TIMEOUT if self._box.death_fd() is None else KNOCK_ONCE_MORE
        found = diagnose(self.name, error, visit, self._log.since(self._well_at), agent, timeout)
        visit.rebooted |= found.rebooted
        self._collect()
        if found.said and not find_panic(self._log.since(self._well_at)):
            self._log.append(f"{found.said}\n".encode())  # the log that we follow may not have got so far
        return found.error

    def _died_of(self, death: str) -> TargetError:
        if not self._box.was_shot():
            panic = self._panic()
            return TargetDied(f"{death}: {panic}" if panic else death)
        self._broken = True
        return InfrastructureError(f"{death}, from outside")

    def _panic(self) -> str:
        """The line in which the box's kernel has reported a panic; nothing without.

        While one CPU of it still reports, another may still answer.
        """
        recent = find_panic(self._log.since(self._well_at))
        if recent:
            return recent
        earlier = find_panic(self._log.since(self._began_at))
        return earlier if "Kernel panic" in earlier else ""

    # --- the way there

    def _begin_visit(self, progress: Say) -> Visit:
        link = Link(self._box.address(), self.settings.timeout_factor)
        return Visit.begin(link, self._lock, self._parts, self._visit_settings.bases, progress)

    def _bring_back(self, visit: Visit, progress: Say) -> Visit:
        """Bring a box back that died or hangs: into a new boot, or to its snapshot."""
        if self._box.bring_back(progress):
            visit.link.close()
            if self._box.disposable:  # another machine, perhaps at another port
                return self._begin_visit(progress)
        elif not visit.rebooted:
            ask_to_reboot(self.name, visit, progress)
        await_boot(self.name, visit.link, visit.info.boot_id, self._visit_settings.boot_timeout, progress)
        return visit.again(progress)

    def _start_agent(self, visit: Visit, progress: Say) -> TargetInfo:
        """From a box that we have got into to an agent that answers."""
        self._furnish(visit, progress)
        return self._speak(visit, progress)

    def _furnish(self, visit: Visit, progress: Say) -> None:
        """Put everything on the box, and follow its kernel log."""
        self._visit = visit
        self._lost = None
        files = {part.name: self._provide(part, visit, progress) for part in self._parts}
        self._files_of_subject = files.get(self._subject.name, []) if self._subject else []
        visit.installation.put([file for its in files.values() for file in its])
        # Also with a console: that shows urgent messages only. And without: it is all that gets out.
        self._sources[KERNEL_LOG] = KernelLog(visit.root, visit.info.uptime)

    def _speak(self, visit: Visit, progress: Say) -> TargetInfo:
        """Start the agent that was put there, and greet it."""
        visit.installation.insert(self._agent)
        progress(f"starting {self._agent.title} on {visit.link.address.host}")
        channel = visit.start_agent(self._agent)
        if (fd := self._box.death_fd()) is not None:
            channel.watch(fd, self._on_death)
        factor = self.settings.timeout_factor * self._stretch
        self._client = AgentClient(channel, self._log, factor, self._patience)
        info = self._greet(self._client, READY_TIMEOUT * self._stretch)
        self._collect()
        self._well_at = self._began_at = self._log.mark()
        return info

    def _provide(self, part: Deployable, visit: Visit, progress: Say) -> list[Path]:
        """The files of a part, built for the box's kernel."""
        release = visit.info.release

        def make(into: Path) -> None:
            headers = self._box.headers(release, progress) or headers_here(release)
            if headers is not None:
                build_here(part, release, headers, into, progress)
            else:
                build_there(visit.link, part, release, visit.installation.directory, into, progress)

        return self._cache.provide(part, release, visit.info.version, make, progress)

    def _drop_agent(self, visit: Visit) -> None:
        self._client = None
        self._collect()
        visit.end_agent()
        if (kernel_log := self._sources.pop(KERNEL_LOG, None)) is not None:
            kernel_log.close()

    def _collect(self) -> None:
        for source in self._sources.values():
            if data := source.collect():
                self._log.append(data)

    def _on_death(self) -> None:
        raise TargetDied(self._box.death())

    def _failure(self, error: TargetError) -> str:
        said = self._visit.agent_complaint() if self._visit else ""
        self._collect()
        parts = [str(error)]
        if said:
            parts.append(f"the agent's program said: {said}")
        if isinstance(error, TargetDied | TargetHung) and (tail := self._log.tail(2000)):
            parts.append(f"end of the log:\n{tail}")
        return "\n".join(parts)


def _kind(error: TargetError) -> type[InfrastructureError]:
    """A reset may cure what went wrong, or cannot."""
    return HostError if isinstance(error, HostError) else InfrastructureError
