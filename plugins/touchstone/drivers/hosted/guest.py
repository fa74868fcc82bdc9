"""The guest on a Linux box: the box is entered as any other, and the agent runs in the guest's image."""

from __future__ import annotations

import contextlib
import shlex
import time
from pathlib import Path

from touchstone.drivers.emulated.driver import ImageProvider
from touchstone.drivers.hosted.deploy import GUEST_FACTOR, GuestProgram
from touchstone.drivers.hosted.look import look_at, read_look
from touchstone.drivers.ssh.boxes import Box
from touchstone.drivers.ssh.build import ModuleCache, build_part
from touchstone.drivers.ssh.deployable import Deployable
from touchstone.drivers.ssh.driver import SshDriver
from touchstone.drivers.ssh.kernel_log import find_panic
from touchstone.drivers.ssh.visit import AgentEnd, Visit, VisitSettings
from touchstone.machine.driver import (
    AgentRefused,
    Autopsy,
    InfrastructureError,
    Say,
    TargetDied,
    TargetError,
    TargetHung,
    TargetInfo,
)
from touchstone.machine.patience import Look, Patience
from touchstone.machine.settings import TargetSettings

COMMAND_TIMEOUT = 30.0
"""Seconds for ``up`` and ``version``."""


class GuestOnBox(SshDriver):
    """A guest of the subject, and the box that it runs on. Only ``HostedDriver`` uses it.

    The guest's end, whatever ended it, is the subject's crash, and so is a panic of the box's kernel. What
    has to be there before the guest starts is the lab's.
    """

    def __init__(
        self,
        settings: TargetSettings,
        box: Box,
        program: GuestProgram,
        provide_image: ImageProvider,
        cache: ModuleCache,
        log_directory: Path,
        visit_settings: VisitSettings | None = None,
    ) -> None:
        """Contacts nothing."""
        super().__init__(settings, box, program.part, None, cache, log_directory, visit_settings)
        self._program = program
        self._provide_image = provide_image
        self._box_died = False
        self._version = ""
        self._stretch = GUEST_FACTOR
        if program.processes:
            self._patience = Patience(self._look, settings.cpus, settings.timeout_factor * GUEST_FACTOR)

    def be_ready(self, progress: Say) -> None:
        """Have a box with everything on it and no guest. InfrastructureError.

        A box that does not let itself be tidied up is brought back, as one that died.
        """
        entered_before = self._visit is not None
        try:
            self._enter(progress, self._furnish)
        except InfrastructureError as error:
            if not entered_before:
                raise
            progress(f"{self.name}: {str(error).splitlines()[0]}; bringing it back")
            self._broken = True
            self._enter(progress, self._furnish)
        self._box_died = False

    def launch(self, progress: Say) -> TargetInfo:
        """Start the guest, and reach its agent.

        AgentRefused if its program ends without having run a guest, TargetDied and TargetHung if the guest
        dies or hangs, InfrastructureError if the box has not what the program needs.
        """
        visit = self._visit
        if visit is None:
            raise InfrastructureError(f"{self.name} is not ready for a guest")
        try:
            info = self._speak(visit, progress)
            self._demand_up(visit)
        except (TargetDied, TargetHung) as error:
            end = visit.agent_end()
            if isinstance(error, TargetDied) and end.status is not None and not self._guest_ended(end):
                self._lost = AgentRefused("EIO", f"its program {_describe(end)}")
            else:
                self._lost = self._judge(visit, error)
            raise self._lost from error
        if self._program.version and not self._version:
            script = self._in_directory(visit, self._program.version)
            said = visit.root.run(script, timeout=COMMAND_TIMEOUT)
            self._version = said.text.split("\n")[0] if said.status == 0 else ""
        if self._patience is not None:
            self._patience.measure_pace(COMMAND_TIMEOUT * visit.link.factor)
        return info

    def wait_in_full(self, *, wanted: bool) -> None:
        """See Driver."""
        if self._patience is not None:
            self._patience.in_full = wanted

    @property
    def version(self) -> str:
        """What the subject calls its version, once a guest was launched; or nothing."""
        return self._version

    def leave(self) -> None:
        """End the guest; the box stays as it is."""
        if self._visit is not None:
            self._drop_agent(self._visit)

    def inject_nmi(self) -> None:
        """See Driver."""
        raise AgentRefused("unsupported", "nobody outside of a guest can send it an NMI here")

    def autopsy(self) -> Autopsy:
        """See Driver. A box that lives is not stopped and looked into: the guest is gone with its program."""
        if self._box_died or self._visit is None:
            return super().autopsy()
        if self._program.report and isinstance(self._lost, TargetHung):
            with contextlib.suppress(InfrastructureError, TargetError):
                script = self._in_directory(self._visit, self._program.report)
                self._visit.root.run(script, timeout=COMMAND_TIMEOUT)
        self._collect()
        said = self._visit.agent_complaint()
        return Autopsy(
            reason=str(self._lost or "the guest is running"),
            registers={0: said} if said else {},
            serial=self._log.tail(),
            notes=("the registers are what the guest's program says of them",) if said else (),
        )

    # --- what SshDriver asks

    def _box_is_lost(self) -> bool:
        return self._broken or self._box_died

    def _provide(self, part: Deployable, visit: Visit, progress: Say) -> list[Path]:
        """The program, if it has to be built, and the image."""
        image = self._provide_image(progress)
        files: list[Path] = []
        if part.files:

            def make(into: Path) -> None:
                progress(f"building the program that runs {part.title}")
                build_part(part, {}, f"the program that runs {part.title}", into)

            files = self._cache.provide(part, self._program.name, "", make, progress)
        return [*files, image.elf]

    def _judge(self, visit: Visit, error: TargetDied | TargetHung) -> TargetError:
        """What a request that got no answer means: did the guest end, the box, or only the connection?"""
        self._collect()
        end = visit.agent_end()
        panic = find_panic(self._log.since(self._well_at))
        if isinstance(error, TargetDied) and end.status is not None and not panic and not self._box.death():
            return TargetDied(self._guest_ended(end) or f"the guest's program {_describe(end)}")
        found = super()._judge(visit, error)
        alive = isinstance(found, TargetHung) and "the box itself answers" in str(found)
        self._box_died = isinstance(found, TargetDied | TargetHung) and not alive
        return found

    def _look(self, limit: float) -> Look | None:
        """See ``patience.Observe``. A box that does not say it says why to the next who asks."""
        visit = self._visit
        if visit is None:
            return None
        script = self._in_directory(visit, look_at(self._program.processes))
        began = time.monotonic()
        try:
            said = visit.root.run(script, timeout=limit / visit.link.factor)
        except TargetError:
            return None
        return read_look(said.text, time.monotonic() - began) if said.status == 0 else None

    @staticmethod
    def _in_directory(visit: Visit, script: str) -> str:
        return f"cd {shlex.quote(visit.installation.directory)} && {{ {script}\n}}"

    def _guest_ended(self, end: AgentEnd) -> str:
        return self._program.how_ended(end.complaint)

    def _demand_up(self, visit: Visit) -> None:
        """The guest runs, but is it the subject's?"""
        if not self._program.up:
            return
        done = visit.root.run(self._in_directory(visit, self._program.up), timeout=COMMAND_TIMEOUT)
        if done.status:
            what = f"a guest runs, but not under {self._program.title}"
            raise InfrastructureError(f"{what}: {self._program.up!r} on {visit.link.shown}: {done.complaint}")


def _describe(end: AgentEnd) -> str:
    last = end.complaint.splitlines()[-1:] or ["it said nothing"]
    status = end.status or 0
    how = f"was ended by signal {status - 128}" if status > 128 else f"ended with status {status}"
    return f"{how}: {last[0].strip()}"
