"""A running Bochs: what its machines have in common, whatever they boot."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from touchstone.drivers.bochs.config import BochsSettings, ask_program
from touchstone.drivers.bochs.ports import accept_ours
from touchstone.drivers.bochs.process import BochsProcess
from touchstone.drivers.emulated.emulator import Emulator
from touchstone.machine.driver import AgentRefused, InfrastructureError

Furnish = Callable[[Path, str], str]
"""Takes the directory, which it puts ``disk.img`` into, and the address that the serial port connects to.

Returns the lines of Bochs' configuration for what the machine has besides disk and processors.
"""


class Bochs(Emulator):
    """One Bochs, over its debugger and its log."""

    title = "Bochs"
    quick_ack = True
    process: BochsProcess

    def __init__(self, bochs: BochsSettings, furnish: Furnish) -> None:
        """Start it in a directory that ``furnish`` has filled."""
        self._bochs = bochs
        self._furnish = furnish
        super().__init__()

    def _listen(self) -> socket.socket:
        return socket.create_server(("127.0.0.1", 0), backlog=64)  # strangers may come first

    def _start_process(self) -> BochsProcess:
        port = self._listener.getsockname()[1]
        devices = self._furnish(self.directory, f"127.0.0.1:{port}")
        return BochsProcess(self._bochs, self.directory, devices)

    def _accept(self, deadline: float) -> socket.socket:
        accept = super()._accept
        connection = accept_ours(lambda: accept(deadline), self.process.pid)
        self.process.keep_readable()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def version(self) -> tuple[int, ...] | None:
        """See Emulator."""
        return ask_program(self._bochs.binary).version

    def state(self) -> str:
        """See Emulator."""
        return "Bochs is still running"

    def registers(self) -> Iterable[tuple[int, str]]:
        """See Emulator."""
        return self.process.registers(self._bochs.cpus).items()

    def last_registers(self) -> Mapping[int, str]:
        """See Emulator: what it writes into its log when it panics."""
        return self.process.last_registers()

    def read_memory(self, address: int, length: int, cpu: int = 0) -> bytes:
        """See Emulator. Stops the machine."""
        if self.ended:
            raise InfrastructureError("Bochs is not running")
        return self.process.memory(address, length, cpu)

    def inject_nmi(self) -> None:
        """See Emulator. Bochs has no way to do it."""
        raise AgentRefused("unsupported", "Bochs cannot inject an NMI from outside")

    def panic(self) -> str:
        """See Emulator."""
        return self.process.panic()

    def log(self) -> str:
        """See Emulator."""
        return self.process.log_tail()

    def start_problem(self) -> str:
        """See Emulator."""
        if "wrong value for parameter 'model'" in self.log():
            return f"this Bochs has no CPU model {self._bochs.model!r} (see bochs --help cpu)"
        return ""
