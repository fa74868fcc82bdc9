"""Machines of QEMU: started, reached, reset, shot at and autopsied over QMP and a serial socket."""

from __future__ import annotations

import select
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from touchstone.drivers.backtrace import backtrace, parse_registers
from touchstone.drivers.base import AgentDriver, DeathNotice, ImageProvider, Progress
from touchstone.drivers.process import EmulatorProcess, PrivateDirectory, check_memory, private_directory
from touchstone.drivers.qmp import Monitor, MonitorRefused
from touchstone.drivers.trace import read_exits
from touchstone.machine.agent import AgentClient
from touchstone.machine.channel import SocketChannel
from touchstone.machine.driver import Autopsy, InfrastructureError, TargetDied, TargetError, TargetInfo
from touchstone.machine.settings import SettingsError, TargetSettings
from touchstone.machine.symbols import Symbols

OLDEST = (7, 2)
INSTALL = "apt-get install qemu-system-x86"
BOOT_TIMEOUT = 20.0
"""Seconds from the start of the process to the agent, one more per CPU, stretched by the target's factor."""

OPTIONS: Mapping[str, type] = {"accel": str, "machine": str, "binary": str, "arguments": list}
"""``accel``: tcg or kvm; ``machine``: its -machine; ``binary``: its program; ``arguments``: more of them."""


@dataclass(frozen=True)
class QemuSettings:
    """The options of ``OPTIONS``, checked."""

    accel: str
    machine: str
    binary: str
    arguments: tuple[str, ...]
    cpu: str
    """QEMU's -cpu."""


def read_settings(settings: TargetSettings) -> QemuSettings:
    """What QEMU is asked for. SettingsError for what it could not be."""
    options = {key.replace("-", "_"): value for key, value in settings.options.items()}
    for key, value in options.items():
        if key not in OPTIONS:
            raise SettingsError(key, f"QEMU's driver has no such option; it has {', '.join(sorted(OPTIONS))}")
        if not isinstance(value, OPTIONS[key]):
            raise SettingsError(key, f"{value!r} is not a {OPTIONS[key].__name__}")
    accel = str(options.get("accel", "kvm" if settings.vendor == "intel" else "tcg"))
    if accel not in ("tcg", "kvm"):
        raise SettingsError("accel", f"{accel!r} is neither 'tcg' nor 'kvm'")
    if accel == "tcg" and settings.vendor == "intel":
        raise SettingsError("accel", "QEMU's software CPU has no VMX; KVM has it ('kvm'), and Bochs")
    if not 1 <= settings.cpus <= 64:
        raise SettingsError("cpus", f"{settings.cpus} is not between 1 and 64")
    if not 16 <= settings.memory_mib <= 3072:
        raise SettingsError("memory-mib", f"{settings.memory_mib} is not between 16 and 3072")
    arguments = options.get("arguments", [])
    assert isinstance(arguments, list)
    if not all(isinstance(word, str) for word in arguments):
        raise SettingsError("arguments", f"{arguments!r} is not a list of strings")
    return QemuSettings(
        accel=accel,
        machine=str(options.get("machine", "pc")),
        binary=str(options.get("binary", "qemu-system-x86_64")),
        arguments=tuple(arguments),
        cpu=_cpu_model(settings, accel),
    )


def _cpu_model(settings: TargetSettings, accel: str) -> str:
    """The model, told not to give itself away as a virtual machine: a bare machine has no leaf 0x40000000."""
    default = ("host" if accel == "kvm" else "EPYC") + (",+svm,+npt" if settings.vendor == "amd" else ",+vmx")
    model = settings.cpu_model or default
    said = {word.lstrip("+-").split("=")[0] for word in model.split(",")[1:]}
    for name, flag in (("hypervisor", "-hypervisor"), ("tcg-cpuid", "tcg-cpuid=off"), ("kvm", "kvm=off")):
        if name not in said and not (accel == "tcg" and name == "kvm"):
            model += f",{flag}"
    return model


class QemuDriver(AgentDriver):
    """One QEMU machine. See ``touchstone.machine.driver.Driver`` for what the methods promise."""

    def __init__(self, settings: TargetSettings, provide_image: ImageProvider, log_directory: Path) -> None:
        """SettingsError when the settings cannot be a QEMU machine; starts nothing."""
        super().__init__(settings, provide_image, log_directory)
        self._qemu = read_settings(settings)
        self._directory: PrivateDirectory | None = None
        self._process: EmulatorProcess | None = None
        self._monitor: Monitor | None = None
        self._channel: SocketChannel | None = None
        self._death: DeathNotice | None = None
        self._was_reset = threading.Event()
        self.boot_timeout = BOOT_TIMEOUT + settings.cpus
        self.reach_seconds = 0.0
        """Seconds from the start of the process, or the reset, to the answer to ``hello``."""

    @property
    def pid(self) -> int | None:
        """Process id of QEMU while there is one."""
        return self._process.pid if self._process else None

    def start(self, progress: Progress) -> TargetInfo:
        """See Driver."""
        if self._process is not None:
            return self.reset(progress)
        self._image = self._provide_image(progress)
        self._symbols = Symbols(self._image.symbols)
        return self._launch(progress)

    def reset(self, progress: Progress) -> TargetInfo:
        """See Driver. By the reset line where QEMU still listens, else with a new process."""
        if self._image is None:
            return self.start(progress)
        if self._process is not None and self._process.status() is None:
            try:
                return self._reset_line(progress)
            except TargetError as error:
                progress(f"{self.name}: {error}; starting a new QEMU")
        self.stop()
        return self._launch(progress)

    def stop(self) -> None:
        """See Driver."""
        self._client = None
        if self._death is not None:
            self._death.disarm()
        if self._process is not None:
            self._process.kill()  # nothing in it is worth an orderly end
            self._process = None
        if self._channel is not None:
            self._log.append(self._channel.drain())
            self._channel.close()
            self._channel = None
        if self._monitor is not None:
            self._monitor.close()
            self._monitor = None
        if self._death is not None:
            self._death.close()
            self._death = None
        if self._directory is not None:
            self._directory.remove()
            self._directory = None

    def inject_nmi(self) -> None:
        """See Driver. QEMU's inject-nmi gives one to every CPU."""
        self._ask(lambda _: self._living_monitor().execute("inject-nmi"))

    def read_memory(self, address: int, length: int, cpu: int = 0) -> bytes:
        """Guest memory at a virtual address of a CPU; at a physical one where that translation fails."""
        monitor = self._living_monitor()
        assert self._directory is not None
        dump = self._directory.path / "memory"
        try:
            try:
                monitor.execute("memsave", val=address, size=length, filename=str(dump), cpu_index=cpu)
            except MonitorRefused:
                monitor.execute("pmemsave", val=address, size=length, filename=str(dump))
            return dump.read_bytes()
        finally:
            dump.unlink(missing_ok=True)

    def autopsy(self) -> Autopsy:
        """See Driver. Stops the machine; ``reset`` brings it back."""
        notes: list[str] = []
        registers: dict[int, str] = {}
        frames: dict[int, tuple[str, ...]] = {}
        exits: list[str] = []
        reason = "the target was not running"
        log = ""
        try:
            if self._process is not None:
                log = self._process.stderr()
                reason = self._reason()
                self._examine(registers, frames, exits, notes)
        except Exception as error:  # evidence must never cost the verdict it is meant for
            notes.append(f"the autopsy broke off: {type(error).__name__}: {error}")
        if self._symbols.problem:
            notes.append(f"no symbols: {self._symbols.problem}")
        return Autopsy(reason, registers, frames, tuple(exits), self._log.tail(), log, tuple(notes))

    def _examine(
        self,
        registers: dict[int, str],
        frames: dict[int, tuple[str, ...]],
        exits: list[str],
        notes: list[str],
    ) -> None:
        assert self._process is not None
        if self._channel is not None:
            self._log.append(self._channel.drain())
        if self._process.status() is not None:
            notes.append("QEMU is gone: no registers, no backtrace, no memory")
            return
        monitor = self._living_monitor()
        if self._death is not None:
            self._death.disarm()
        self._lost = self._lost or InfrastructureError("it was stopped for an autopsy")
        monitor.execute("stop")  # a hung machine goes on until it is stopped
        for cpu in range(self.settings.cpus):
            registers[cpu] = monitor.human("info registers", cpu=cpu).strip()
            frames[cpu] = backtrace(
                parse_registers(registers[cpu]),
                lambda address, length, cpu=cpu: self.read_memory(address, length, cpu),  # type: ignore[misc]
                self._symbols,
            )
        exits += read_exits(self.read_memory, self._symbols)

    def _reason(self) -> str:
        assert self._process is not None
        if self._process.status() is not None:
            return f"QEMU {self._process.describe_end()}"
        status = "unknown"
        if self._monitor is not None and self._monitor.accepted:
            status = self._monitor.execute("query-status")["status"]
        if self._death is not None and self._death.reason:
            return f"{self._death.reason}; QEMU's state is {status}"
        return f"QEMU's state is {status}" + (f": {self._lost}" if self._lost else "")

    def _living_monitor(self) -> Monitor:
        if self._monitor is None or self._process is None:
            raise InfrastructureError(f"{self.name} is not running: start it first")
        self._monitor.established(5.0)
        return self._monitor

    def _launch(self, progress: Progress) -> TargetInfo:
        assert self._image is not None
        if shutil.which(self._qemu.binary) is None:
            raise InfrastructureError(f"{self._qemu.binary} is missing ({INSTALL})")
        if not self._image.elf.is_file():
            raise InfrastructureError(f"the image {self._image.elf} does not exist")
        check_memory(self.settings.memory_mib)
        size = f"{self.settings.cpus} CPUs, {self.settings.memory_mib} MiB"
        progress(f"starting QEMU: {self._qemu.cpu}, {size}")
        self._lost = None
        try:
            return self._boot()
        except TargetError as error:
            evidence = self._failure(error)
            self.stop()
            raise InfrastructureError(evidence) from error
        except BaseException:
            self.stop()
            raise

    def _boot(self) -> TargetInfo:
        self._directory = private_directory()
        death = self._death = DeathNotice()
        monitor = self._monitor = Monitor(self._directory.path / "qmp", self._on_event, self.name)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(str(self._directory.path / "serial"))
            listener.listen(1)
            began = time.monotonic()
            death.arm()
            process = self._process = EmulatorProcess(
                self._command(self._directory.path), stderr=self._directory.path / "stderr"
            )
            monitor.accept(self._on_monitor)
            self._channel = self._accept(listener, process, began)
        self._client = AgentClient(self._channel, self._log, self.settings.timeout_factor)
        info = self._greet(self._client, self.boot_timeout)
        monitor.established(BOOT_TIMEOUT)
        self.reach_seconds = time.monotonic() - began
        if (version := monitor.version()) < OLDEST:
            raise InfrastructureError(_too_old(self._qemu.binary, version))
        return info

    def _command(self, directory: Path) -> list[str]:
        assert self._image is not None
        return [
            self._qemu.binary,
            *("-name", self.name, "-nodefaults", "-no-user-config", "-display", "none"),
            *("-machine", self._qemu.machine),
            *("-accel", "tcg,thread=multi" if self._qemu.accel == "tcg" else "kvm"),
            *("-cpu", self._qemu.cpu, "-smp", str(self.settings.cpus), "-m", str(self.settings.memory_mib)),
            *("-kernel", str(self._image.elf)),
            # A machine that resets or shuts down stops instead, and keeps its state for the autopsy.
            *("-action", "reboot=shutdown", "-action", "shutdown=pause", "-action", "panic=pause"),
            *("-chardev", f"socket,id=qmp,path={directory}/qmp", "-mon", "chardev=qmp,mode=control"),
            *("-chardev", f"socket,id=serial,path={directory}/serial", "-serial", "chardev:serial"),
            *self._qemu.arguments,
        ]

    def _accept(self, listener: socket.socket, process: EmulatorProcess, began: float) -> SocketChannel:
        """Wait until QEMU has connected its serial port to us, or has ended."""
        poll = select.poll()
        poll.register(listener, select.POLLIN)
        poll.register(process.pidfd, select.POLLIN)
        left = began + self.boot_timeout * self.settings.timeout_factor - time.monotonic()
        ready = [fd for fd, _ in poll.poll(max(0.0, left) * 1000)]
        if listener.fileno() in ready:
            connection, _ = listener.accept()
            channel = SocketChannel(connection)
            channel.watch(process.pidfd, self._on_process_end)
            assert self._death is not None
            channel.watch(self._death.fd, self._on_notice)
            return channel
        if process.pidfd in ready:
            raise TargetDied(f"QEMU {process.describe_end()}")
        raise InfrastructureError("QEMU did not connect its serial port")

    def _reset_line(self, progress: Progress) -> TargetInfo:
        assert self._client is not None
        assert self._channel is not None
        assert self._death is not None
        progress("resetting the machine")
        began = time.monotonic()
        monitor = self._living_monitor()
        self._death.disarm()
        monitor.execute("stop")
        self._log.append(self._channel.drain())
        self._client.forget()
        # With reboot=shutdown, QEMU takes even our own reset for a reason to shut down.
        monitor.execute("set-action", reboot="reset")
        self._was_reset.clear()
        monitor.execute("system_reset")
        if not self._was_reset.wait(5.0):
            raise InfrastructureError("QEMU did not reset the machine within 5 s")
        monitor.execute("set-action", reboot="shutdown")
        self._death.arm()
        monitor.execute("cont")
        self._lost = None
        info = self._greet(self._client, self.boot_timeout)
        self.reach_seconds = time.monotonic() - began
        return info

    def _on_event(self, event: Mapping[str, Any]) -> None:
        """In the loop's thread: an event that tells of a death gives notice of it."""
        death = self._death
        if death is None:
            return
        name, data = event["event"], event.get("data", {})
        if name == "RESET" and not data.get("guest"):
            self._was_reset.set()
        elif name in ("SHUTDOWN", "RESET"):
            death.give(_describe_reset(name, data))
        elif name == "GUEST_PANICKED":
            death.give(f"guest panic (QEMU: GUEST_PANICKED, {data.get('action', '')})")
        elif name == "STOP":
            death.give("QEMU stopped the machine (QEMU: STOP)")

    def _on_monitor(self) -> None:
        """In the loop's thread, once QEMU's monitor speaks: what happened before that sent no event."""
        death, monitor = self._death, self._monitor
        if death is None or monitor is None:
            return

        def judge(status: Mapping[str, Any]) -> None:
            if status["status"] not in ("running", "prelaunch"):
                death.give(f"the machine stopped while it was starting (QEMU: {status['status']})")

        monitor.submit("query-status", judge)

    def _on_notice(self) -> None:
        """Somebody gave notice of the target's death while we waited for its agent."""
        assert self._death is not None
        raise TargetDied(self._death.reason)

    def _on_process_end(self) -> None:
        assert self._process is not None
        raise TargetDied(f"QEMU {self._process.describe_end()}")

    def _explain(self, died: TargetDied) -> TargetDied:
        if self._process is not None and self._process.wait(1.0 if "connection" in str(died) else 0):
            return TargetDied(f"QEMU {self._process.describe_end()}")
        if self._death is not None and self._death.reason:
            return TargetDied(self._death.reason)
        return died

    def _failure(self, error: TargetError) -> str:
        """Why the machine did not come up, with all that may help."""
        explained = self._explain(error) if isinstance(error, TargetDied) else error
        parts = [f"{self.name} did not start: {explained}"]
        if self._process is not None:
            ended = self._process.status() is not None
            if ended and (version := installed_version(self._qemu.binary)) < OLDEST:
                parts = [_too_old(self._qemu.binary, version)]
            if said := self._process.stderr():
                parts.append(f"QEMU said: {said}")
            parts.append("command: " + " ".join(self._process.command))
        if serial := self._log.tail(2000):
            parts.append(f"end of the serial log:\n{serial}")
        return "\n".join(parts)


def _describe_reset(name: str, data: Mapping[str, Any]) -> str:
    reason = data.get("reason", "unknown")
    what = {
        "guest-reset": "guest triple fault, or a reset that the guest asked for",
        "guest-shutdown": "the guest switched the machine off",
        "guest-panic": "guest panic",
        "host-signal": "QEMU was told to end by a signal",
    }.get(reason, "the machine was stopped")
    return f"{what} (QEMU: {name}, {reason})"


def _too_old(binary: str, version: tuple[int, int]) -> str:
    wanted, found = (".".join(map(str, numbers)) for numbers in (OLDEST, version))
    return f"{binary} is version {found}; {wanted} or newer is needed ({INSTALL})"


def installed_version(binary: str) -> tuple[int, int]:
    """Version of a QEMU program; (0, 0) if it does not tell."""
    try:
        run = subprocess.run([binary, "--version"], capture_output=True, timeout=10, check=False)
        major, minor = run.stdout.decode().split("version ", 1)[1].split(".")[:2]
        return (int(major), int(minor))
    except (OSError, subprocess.SubprocessError, IndexError, ValueError):
        return (0, 0)
