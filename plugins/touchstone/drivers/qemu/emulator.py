"""A running QEMU: what its machines have in common, whatever they boot."""

from __future__ import annotations

import socket
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from touchstone.drivers.emulated.emulator import Emulator
from touchstone.drivers.emulated.process import EmulatorProcess
from touchstone.drivers.qemu.config import OLDEST, installed_version, too_old
from touchstone.drivers.qemu.qmp import TIMEOUT, Monitor, MonitorRefused
from touchstone.machine.driver import InfrastructureError

SERIAL = "serial"
"""Name of the socket that QEMU connects a port of the machine to, and of its -chardev."""


class Qemu(Emulator):
    """One QEMU, over its monitor."""

    title = "QEMU"

    def __init__(self, name: str, cpus: int, binary: str) -> None:
        """``name`` of the machine; it has ``cpus`` CPUs."""
        self.name = name
        self._cpus = cpus
        self._binary = binary
        super().__init__()
        self.monitor.accept(self._on_monitor)

    @abstractmethod
    def _arguments(self) -> list[str]:
        """QEMU's arguments for this machine, without those that all machines have."""

    def _listen(self) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(self.directory / SERIAL))
        listener.listen(1)
        return listener

    def _start_process(self) -> EmulatorProcess:
        self.monitor = Monitor(self.directory / "qmp", self._on_event, self.name)
        self._resources.callback(self.monitor.close)
        command = [
            *(self._binary, "-name", f"guest={self.name}"),
            # A machine that resets or shuts down stops instead, and keeps its state for the autopsy.
            *("-action", "reboot=shutdown", "-action", "shutdown=pause", "-action", "panic=pause"),
            *("-chardev", f"socket,id=qmp,path={self.directory}/qmp", "-mon", "chardev=qmp,mode=control"),
            *("-chardev", f"socket,id={SERIAL},path={self.directory}/{SERIAL}"),
            *self._arguments(),
        ]
        return EmulatorProcess(command, stderr=self.directory / "stderr")

    @abstractmethod
    def _on_event(self, event: Mapping[str, Any]) -> None:
        """In the event loop's thread: an event of QEMU's monitor. It gives notice of a death."""

    def _on_monitor(self) -> None:
        """In the event loop's thread, once QEMU's monitor answers."""

    def version(self) -> tuple[int, ...] | None:
        """See Emulator."""
        self.monitor.established(TIMEOUT)
        if (found := self.monitor.version()) < OLDEST:
            raise InfrastructureError(too_old(self._binary, found))
        return found

    def start_problem(self) -> str:
        """See Emulator."""
        if self.ended and (found := installed_version(self._binary)) < OLDEST:
            return too_old(self._binary, found)
        return ""

    def running_monitor(self) -> Monitor:
        """The monitor, ready for commands. InfrastructureError if QEMU has ended."""
        if self.ended:
            raise InfrastructureError(f"QEMU of {self.name} {self.process.describe_end()}")
        self.monitor.established(TIMEOUT)
        return self.monitor

    def state(self) -> str:
        """See Emulator."""
        return f"QEMU's state is {self.running_monitor().execute('query-status')['status']}"

    def registers(self) -> Iterator[tuple[int, str]]:
        """See Emulator."""
        monitor = self.running_monitor()
        monitor.execute("stop")  # a machine that hangs still runs
        for cpu in range(self._cpus):
            yield cpu, monitor.human("info registers", cpu=cpu).strip()

    def read_memory(self, address: int, length: int, cpu: int = 0) -> bytes:
        """See Emulator. At a physical address where the CPU cannot translate it."""
        monitor = self.running_monitor()
        dump: Path = self.directory / "memory"
        signed = address - (address >> 63 << 64)  # QMP's numbers have 64 bits, one of them the sign
        where: dict[str, Any] = {"val": signed, "size": length, "filename": str(dump)}
        try:
            try:
                monitor.execute("memsave", cpu_index=cpu, **where)
            except MonitorRefused:
                if address >> 52:  # no physical address
                    raise
                monitor.execute("pmemsave", **where)
            return dump.read_bytes()
        finally:
            dump.unlink(missing_ok=True)

    @property
    def shot(self) -> bool:
        """See Emulator. With status 0 QEMU ends by a signal only: whatever the guest does pauses it."""
        return super().shot or (not self.death.reason and self.process.status() == 0)

    def inject_nmi(self) -> None:
        """See Emulator. QEMU pulls the NMI line, which leads to every CPU (LINT1)."""
        self.running_monitor().execute("inject-nmi")


def describe_reset(name: str, data: Mapping[str, Any]) -> str:
    """What an event of QEMU (RESET, SHUTDOWN) says about the guest."""
    reason = data.get("reason", "unknown")
    what = {
        "guest-reset": "guest triple fault, or a reset that the guest asked for",
        "guest-shutdown": "the guest switched the machine off",
        "guest-panic": "guest panic",
        "host-signal": "QEMU was told to end by a signal",
    }.get(reason, "the machine was stopped")
    return f"{what} (QEMU: {name}, {reason})"
