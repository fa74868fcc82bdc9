"""The common life of an emulated machine: a process, a serial port, a death that is noticed, an autopsy."""

from __future__ import annotations

import contextlib
import select
import shutil
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from touchstone.drivers.agent_driver import AgentDriver, DeathNotice, ImageProvider, Progress
from touchstone.drivers.emulated.backtrace import backtrace, parse_registers
from touchstone.drivers.emulated.process import EmulatorProcess, PrivateDirectory, check_memory
from touchstone.drivers.emulated.trace import read_exits
from touchstone.machine.agent import AgentClient
from touchstone.machine.channel import SocketChannel
from touchstone.machine.driver import Autopsy, InfrastructureError, TargetDied, TargetError, TargetInfo
from touchstone.machine.polling import poll_for
from touchstone.machine.settings import SettingsError, TargetSettings
from touchstone.machine.symbols import Symbols

LAST_BREATH = 10.0
"""Seconds that a process may take to end once its connection to us has: on a busy machine, not a moment."""


@dataclass
class Evidence:
    """An autopsy while it is being made."""

    registers: dict[int, str] = field(default_factory=dict)
    frames: dict[int, tuple[str, ...]] = field(default_factory=dict)
    exits: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @contextlib.contextmanager
    def gathering(self) -> Iterator[None]:
        """An error ends it with a note: it must not cost the verdict that the evidence is meant for."""
        try:
            yield
        except Exception as error:
            self.notes.append(f"the autopsy broke off: {type(error).__name__}: {error}")


class EmulatorDriver(AgentDriver, ABC):
    """A driver whose target is a child process. Subclasses start it and look into it."""

    emulator = ""
    """Its name in sentences."""
    program = ""
    install = ""
    """The command that installs it."""
    boot_timeout = 20.0
    """Seconds from the start of the process to the agent, stretched by the target's factor."""

    def __init__(self, settings: TargetSettings, provide_image: ImageProvider, log_directory: Path) -> None:
        """Starts nothing; the image is made by ``start``."""
        super().__init__(settings, provide_image, log_directory)
        self._directory: PrivateDirectory | None = None
        self._process: EmulatorProcess | None = None
        self._channel: SocketChannel | None = None
        self._death: DeathNotice | None = None
        self.reach_seconds = 0.0
        """Seconds from the start of the process, or the reset, to the answer to ``hello``."""

    @property
    def pid(self) -> int | None:
        """Process id of the emulator while there is one."""
        return self._process.pid if self._process else None

    def start(self, progress: Progress) -> TargetInfo:
        """See Driver."""
        if self._process is not None:
            return self.reset(progress)
        self._image = self._provide_image(progress)
        self._symbols = Symbols(self._image.symbols)
        return self._launch(progress)

    def reset(self, progress: Progress) -> TargetInfo:
        """See Driver. With a new process: faster than the reset line, and as cold as a machine can be."""
        if self._image is None:
            return self.start(progress)
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
        self._collect()
        self._log.flush()
        self._release()
        if self._death is not None:
            self._death.close()
            self._death = None
        if self._directory is not None:
            self._directory.remove()
            self._directory = None

    def autopsy(self) -> Autopsy:
        """See Driver. Stops the machine; ``reset`` brings it back."""
        evidence = Evidence()
        reason = "the target was not running"
        log = ""
        with evidence.gathering():
            if self._process is not None:
                if self._channel is not None:
                    self._log.append(self._channel.drain())
                self._collect()
                if self._death is not None:
                    self._death.disarm()
                reason = self._reason()
                self._lost = self._lost or InfrastructureError("it was stopped for an autopsy")
                self._examine(evidence)
                log = self._emulator_log()
        if self._symbols.problem:
            evidence.notes.append(f"no symbols: {self._symbols.problem}")
        return Autopsy(
            reason=reason,
            registers=evidence.registers,
            backtraces=evidence.frames,
            exits=tuple(evidence.exits),
            serial=self._log.tail(),
            emulator_log=log,
            notes=tuple(evidence.notes),
        )

    # What a subclass says of its emulator.

    @abstractmethod
    def _boot(self) -> TargetInfo:
        """Start the process and reach the agent."""

    @abstractmethod
    def _image_file(self) -> Path:
        """What the emulator boots."""

    @abstractmethod
    def _description(self) -> str:
        """The machine in a few words, for the progress."""

    def _collect(self) -> None:
        """Append to the log what the machine said elsewhere than to its agent's channel."""

    def _release(self) -> None:
        """Let go of what the process was reached by, after its end."""

    def _state(self) -> str:
        """What the emulator says of the machine's state, if it can still be asked."""
        return ""

    def _emulator_log(self) -> str:
        """End of the emulator's own log."""
        return self._process.stderr() if self._process else ""

    @abstractmethod
    def _registers(self, evidence: Evidence) -> Mapping[int, str]:
        """Stop the machine and read the registers of every CPU."""

    @abstractmethod
    def _reader(self, cpu: int) -> Callable[[int, int], bytes] | None:
        """How memory is read as a CPU sees it, or None if it is gone."""

    # What is the same for all of them.

    def _launch(self, progress: Progress) -> TargetInfo:
        if shutil.which(self.program) is None:
            raise InfrastructureError(f"{self.program} is missing ({self.install})")
        if not self._image_file().is_file():
            raise InfrastructureError(f"the image {self._image_file()} does not exist")
        check_memory(self.settings.memory_mib)
        size = f"{self.settings.cpus} CPUs, {self.settings.memory_mib} MiB"
        progress(f"starting {self.emulator}: {self._description()}, {size}")
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

    def _accept(self, listener: socket.socket, process: EmulatorProcess, began: float) -> socket.socket:
        """Wait until the emulator has connected its serial port to us, or has ended."""
        poll = select.poll()
        poll.register(listener, select.POLLIN)
        poll.register(process.pidfd, select.POLLIN)
        left = began + self.boot_timeout * self.settings.timeout_factor - time.monotonic()
        ready = [fd for fd, _ in poll_for(poll, left)]
        if listener.fileno() in ready:
            return listener.accept()[0]
        if process.pidfd in ready:
            raise TargetDied(f"{self.emulator} {process.describe_end()}")
        raise InfrastructureError(f"{self.emulator} did not connect its serial port")

    def _reach(self, connection: socket.socket, *, quick_ack: bool = False) -> TargetInfo:
        """Greet the agent at the other end of the serial port, and watch for a death meanwhile."""
        assert self._process is not None
        assert self._death is not None
        self._channel = SocketChannel(connection, quick_ack=quick_ack)
        self._channel.watch(self._process.pidfd, self._on_process_end)
        self._channel.watch(self._death.fd, self._on_notice)
        self._client = AgentClient(self._channel, self._log, self.settings.timeout_factor)
        return self._greet(self._client, self.boot_timeout)

    def _examine(self, evidence: Evidence) -> None:
        evidence.registers.update(self._registers(evidence))
        if evidence.registers and self._reader(0) is None:
            evidence.notes.append(f"{self.emulator} is gone, and its memory with it: no callers, no exits")
        for cpu, text in evidence.registers.items():
            evidence.frames[cpu] = backtrace(
                parse_registers(text), self._reader(cpu) or _no_memory, self._symbols
            )
        if (read := self._reader(0)) is not None:
            evidence.exits += read_exits(read, self._symbols)

    def _reason(self) -> str:
        assert self._process is not None
        if self._process.status() is not None:
            return f"{self.emulator} {self._process.describe_end()}"
        known = self._death.reason if self._death else ""
        state = self._state()
        return "; ".join(filter(None, (known or str(self._lost or ""), state))) or "the target is running"

    def _on_notice(self) -> None:
        """Somebody gave notice of the target's death while we waited for its agent."""
        assert self._death is not None
        raise TargetDied(self._death.reason)

    def _on_process_end(self) -> None:
        assert self._process is not None
        raise TargetDied(f"{self.emulator} {self._process.describe_end()}")

    def _explain(self, died: TargetDied) -> TargetDied:
        # The end of the connection comes first when a process dies; its status follows.
        ended_first = "connection" in str(died)
        if self._process is not None and self._process.wait(LAST_BREATH if ended_first else 0.0):
            return TargetDied(f"{self.emulator} {self._process.describe_end()}")
        if self._death is not None and self._death.reason:
            return TargetDied(self._death.reason)
        return died

    def _failure(self, error: TargetError) -> str:
        """Why the machine did not come up, with all that may help."""
        explained = self._explain(error) if isinstance(error, TargetDied) else error
        parts = [f"{self.name} did not start: {explained}"]
        if self._process is not None:
            if said := self._emulator_log():
                parts.append(f"{self.emulator} said:\n{said}")
            parts.append("command: " + " ".join(self._process.command))
        self._collect()
        if serial := self._log.tail(2000):
            parts.append(f"end of the serial log:\n{serial}")
        return "\n".join(parts)


def _no_memory(address: int, length: int) -> bytes:
    raise OSError(f"{length} bytes at {address:#x}: the machine's memory is gone")


def options_of(settings: TargetSettings, known: Mapping[str, type], whose: str) -> dict[str, object]:
    """The target's options with ``_`` for ``-``. SettingsError for one that is unknown or of a wrong type."""
    options = {key.replace("-", "_"): value for key, value in settings.options.items()}
    for key, value in options.items():
        if key not in known:
            raise SettingsError(key, f"{whose} has no such option; it has {', '.join(sorted(known))}")
        if not isinstance(value, known[key]) or (isinstance(value, bool) and known[key] is not bool):
            raise SettingsError(key, f"{value!r} is not a {known[key].__name__}")
    if not 1 <= settings.cpus <= 64:
        raise SettingsError("cpus", f"{settings.cpus} is not between 1 and 64")
    if not 16 <= settings.memory_mib <= 2048:
        raise SettingsError("memory-mib", f"{settings.memory_mib} is not between 16 and 2048")
    return options
