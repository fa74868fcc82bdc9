"""The agent with its kernel module on the machine that we run on: probes run at CPL 0 as well, for root."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import NoReturn

from touchstone.drivers.here.driver import HereDriver
from touchstone.drivers.ssh.build import MODULES, ModuleCache, build_here, headers_here
from touchstone.drivers.ssh.deployable import Deployable, the_agent
from touchstone.drivers.ssh.kernel_log import find_panic
from touchstone.drivers.tool import run_tool
from touchstone.machine.driver import HostError, InfrastructureError, Say, TargetInfo
from touchstone.machine.settings import TargetSettings

LOADED = Path("/sys/module/touchstone_agent")
INSERTED = Path("/proc/modules")
"""Is there if the kernel takes modules at all."""
TAINTED = Path("/proc/sys/kernel/tainted")
OOPSED = 1 << 7
"""TAINT_DIE there (Linux, Documentation/admin-guide/tainted-kernels.rst): there was an oops or a BUG."""
KERNEL_LOG = Path("/dev/kmsg")
RECORD = 8192
"""Bytes of the longest record there."""
MOST_RECORDS = 100_000
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
        self._was_well = False
        """Whether the kernel had not oopsed yet when the module was inserted."""
        self._oops = ""

    def insert(self, progress: Say) -> Path:
        """Have the module in the kernel; the agent's program. HostError with the way out."""
        if self._oops:
            raise HostError(self._oops)
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
        self._was_well = not has_oopsed()
        return program

    def oops(self) -> str:
        """What is wrong if the kernel has oopsed since the module was inserted; empty: it has not."""
        if self._is_ours and self._was_well and has_oopsed():
            self._is_ours = False  # it is in use by what the kernel has killed, and does not go
            told = find_panic(read_kernel_log()) or f"{TAINTED} says so"
            self._oops = (
                f"this machine's kernel oopsed while the agent's module was in it: {told}. Nothing tells here"
                " whether that is the module's doing, the kernel's, the processor's or the hypervisor's."
                " Restart the machine"
            )
        return self._oops

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


def has_oopsed() -> bool:
    """Whether the kernel that runs has oopsed since it was booted."""
    try:
        return bool(int(TAINTED.read_text()) & OOPSED)
    except (OSError, ValueError):
        return False


def read_kernel_log() -> str:
    """What the kernel has logged, as far as it may be read."""
    records: list[str] = []
    with contextlib.suppress(OSError):
        log = os.open(KERNEL_LOG, os.O_RDONLY | os.O_NONBLOCK)
        try:
            while len(records) < MOST_RECORDS and (record := os.read(log, RECORD)):
                # "6,1234,5678,-;text" and, on lines that begin with a space, keys of devices.
                records.append(record.decode("utf-8", "replace").partition(";")[2].splitlines()[0])
        finally:
            os.close(log)
    return "\n".join(records)


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

    def _has_ended(self) -> NoReturn:
        """See HereDriver. An oops ends the program that the kernel was at work for."""
        try:
            super()._has_ended()
        except InfrastructureError:
            if oops := self._module.oops():
                raise HostError(oops) from None
            raise

    def _await_killed(self, process: subprocess.Popen[bytes]) -> None:
        try:
            process.wait(END_TIMEOUT * self.settings.timeout_factor)
        except subprocess.TimeoutExpired:
            raise InfrastructureError(
                "a CPU of this machine does not come back from a probe: restart the machine"
            ) from None
