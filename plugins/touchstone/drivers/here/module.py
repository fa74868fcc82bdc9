"""The agent with its kernel module on the machine that we run on: probes run at CPL 0 as well, for root."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path

from touchstone.drivers.here.driver import HereDriver
from touchstone.drivers.ssh.build import MODULES, ModuleCache, build_here, headers_here
from touchstone.drivers.ssh.deployable import Deployable, the_agent
from touchstone.drivers.tool import run_tool
from touchstone.machine.driver import HostError, InfrastructureError, Say, TargetInfo
from touchstone.machine.settings import TargetSettings

LOADED = Path("/sys/module/touchstone_agent")
INSERTED = Path("/proc/modules")
"""Is there if the kernel takes modules at all."""
SEARCHED = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
"""Where programs are, also for who is root by a plain ``su``."""
END_TIMEOUT = 10.0
"""Seconds for a program that was killed to end: one CPU of it may be in a probe."""


class AgentsModule:
    """The module: built for the kernel that runs, inserted and removed. Contacts nothing when it is made."""

    def __init__(
        self, cache: Path, agent: Deployable | None = None, loaded: Path = LOADED, modules: Path = MODULES
    ) -> None:
        """``cache``: of what was built; ``loaded``: is there while it is; ``modules``: has the headers."""
        self._cache = ModuleCache(cache)
        self._agent = agent or the_agent()
        self._loaded, self._modules = loaded, modules
        self._is_ours = False

    def insert(self, progress: Say) -> Path:
        """Have the module in the kernel; the agent's program. HostError with the way out."""
        if os.geteuid() != 0:
            raise HostError("--ring0 needs root, who may insert kernel modules; leave it out, or use sudo")
        if not INSERTED.exists():
            raise HostError(
                f"this machine's kernel takes no modules (there is no {INSERTED}): leave out --ring0"
            )
        module, program = self._provide(progress)
        # One that a run has left which was killed; while a program uses it, it does not go.
        if self._loaded.exists() and (said := self._tool("rmmod", self._loaded.name)):
            raise HostError(f"another run has the agent's module in this kernel: {said}")
        progress("inserting the agent's module into this machine's kernel")
        if said := self._tool("insmod", str(module)):
            raise HostError(
                f"this machine's kernel does not take the agent's module: {said}. It is not signed, which"
                " Secure Boot and lockdown ask for; dmesg may say more"
            )
        self._is_ours = True
        return program

    def remove(self) -> None:
        """Take the module out, if we have inserted it. InfrastructureError if it does not go."""
        if not self._is_ours:
            return
        self._is_ours = False
        if said := self._tool("rmmod", self._loaded.name):
            raise InfrastructureError(f"the agent's module stays in this machine's kernel: {said}")

    def _provide(self, progress: Say) -> list[Path]:
        release, version = platform.release(), platform.version()
        headers = headers_here(release, self._modules)
        if headers is None:
            raise HostError(
                f"--ring0 builds a module for this machine's kernel, and there are no headers in"
                f" {self._modules / release / 'build'}. On Debian: apt-get install linux-headers-{release}"
            )

        def make(into: Path) -> None:
            build_here(self._agent, release, headers, into, progress)

        try:
            return self._cache.provide(self._agent, release, version, make, progress)
        except OSError as error:
            raise HostError(f"the agent's module cannot be built: {error}") from None

    @staticmethod
    def _tool(*command: str) -> str:
        """Run insmod or rmmod: what it says if it fails; empty: it has not."""
        name, *arguments = command
        try:
            status, output = run_tool([shutil.which(name, path=SEARCHED) or name, *arguments])
        except OSError as error:
            return f"{command[0]}: {error.strerror}"
        return output.decode("utf-8", "backslashreplace").strip() or f"status {status}" if status else ""


class ModuleDriver(HereDriver):
    """See HereDriver. The agent's program has the module, and runs probes on all CPUs that are online."""

    def __init__(self, settings: TargetSettings, module: AgentsModule, log_directory: Path) -> None:
        """Starts nothing."""
        super().__init__(settings, module.insert, log_directory)
        self._module = module
        self.lock_key = "here-ring0"

    def start(self, progress: Say) -> TargetInfo:
        """See Driver. The module is inserted for this start, and goes with the next one."""
        self._end_program()
        self._module.remove()
        return super().start(progress)

    def stop(self) -> None:
        """See Driver."""
        try:
            super().stop()
        finally:
            self._module.remove()

    def _await_killed(self, process: subprocess.Popen[bytes]) -> None:
        try:
            process.wait(END_TIMEOUT * self.settings.timeout_factor)
        except subprocess.TimeoutExpired:
            raise InfrastructureError(
                "a CPU of this machine does not come back from a probe: restart the machine"
            ) from None
