"""The pseudo-terminals of a Bochs: of its debugger, and of its screen, which somebody must read."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import select
import struct
import termios
import threading
from collections.abc import Mapping
from pathlib import Path

from touchstone.machine.driver import InfrastructureError

PENDING = b"ptime"
"""A command of Bochs' debugger that changes nothing."""
DEBUGGER_TIMEOUT = 30.0
"""Seconds that Bochs' debugger may take for a command, on a machine that is busy with others."""


class Terminal:
    """The pseudo-terminal that Bochs' debugger speaks on. We always read it, and the screen's.

    The library ``term`` draws the screen, if only a cursor that blinks, on a pseudo-terminal that it makes
    itself, and names here. If nobody reads that, Bochs stops when it is full, after minutes, in the middle of
    everything, and is taken for a guest that hangs.
    """

    PROMPT = re.compile(rb"<bochs:\d+> ?$")
    ESCAPES = re.compile(rb"\x1b\[[0-9;?]*[a-zA-Z]")
    SCREEN = re.compile(rb'connected to screen "(/dev/pts/\d+)"')

    def __init__(self) -> None:
        self._master, self.slave = os.openpty()
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 132, 0, 0))
        self._text = bytearray()
        self._changed = threading.Condition()
        self._ended = False
        self.screen = ""
        """Path of the screen's, once Bochs has named it."""
        self._reader = threading.Thread(target=self._read, name="touchstone-bochs-terminal", daemon=True)

    def started(self) -> None:
        """Bochs has the other end now."""
        os.close(self.slave)
        self._reader.start()

    def keep_readable(self) -> None:
        """Leave a command that the debugger reads when it is entered.

        At every HLT of the guest, Bochs waits for a millisecond until there is something to read on its
        standard input. So there always is.
        """
        os.write(self._master, PENDING + b"\n")

    def entered(self, timeout: float = DEBUGGER_TIMEOUT) -> None:
        """Wait until the debugger was entered, and has done what lay there for it."""
        self._await(re.compile(PENDING + rb": \d+\s+" + self.PROMPT.pattern), timeout)

    def command(self, line: str, timeout: float = DEBUGGER_TIMEOUT) -> str:
        """Give the debugger a command and return its answer. InfrastructureError if there is none."""
        with self._changed:
            self._text.clear()
        os.write(self._master, line.encode("ascii") + b"\n")
        return self.prompt(timeout).removeprefix(line).strip()

    def prompt(self, timeout: float = DEBUGGER_TIMEOUT) -> str:
        """Wait for the debugger's prompt and return what stood before it."""
        text = self._await(self.PROMPT, timeout)
        return self.PROMPT.sub(b"", text).decode("ascii", "backslashreplace").replace("\r\n", "\n").strip()

    def registers(self, cpus: int) -> Mapping[int, str]:
        """The registers of every CPU. The machine must stand in the debugger."""
        registers = {}
        for cpu in range(cpus):
            self.command(f"set $cpu={cpu}")
            registers[cpu] = "\n".join(self.command(command) for command in ("r", "sreg", "creg"))
        return registers

    def memory(self, directory: Path, address: int, length: int, cpu: int) -> bytes:
        """Guest memory at a linear address of a CPU, by a file in ``directory``. The machine must stand."""
        dump = directory / "memory"
        self.command(f"set $cpu={cpu}")
        said = self.command(f'writemem "{dump}" {address:#x} {length}')
        try:
            data = dump.read_bytes()
        except OSError:
            raise InfrastructureError(f"Bochs wrote no memory of {address:#x}: {said}") from None
        dump.unlink()
        return data

    def tail(self, size: int = 2000, *, ended: bool = False) -> str:
        """The end of what was written there. Of a Bochs that has ``ended``, all is waited for."""
        with self._changed:
            if ended and self._reader.ident:
                self._changed.wait_for(lambda: self._ended, DEBUGGER_TIMEOUT)
            return self._plain()[-size:].decode("ascii", "backslashreplace").replace("\r\n", "\n").strip()

    def close(self) -> None:
        """Close it, after the end of Bochs. Safe to repeat."""
        if self._reader.is_alive():
            self._reader.join(DEBUGGER_TIMEOUT)
            if self._reader.is_alive():  # somebody else has the other end
                return
        for fd in (self._master,) if self._reader.ident else (self._master, self.slave):
            with contextlib.suppress(OSError):
                os.close(fd)
        self._master = self.slave = -1

    def _plain(self) -> bytes:
        return self.ESCAPES.sub(b"", bytes(self._text))

    def _await(self, end: re.Pattern[bytes], timeout: float) -> bytes:
        """Wait until the text ends so, and return it."""

        def found() -> bool:
            return end.search(self.ESCAPES.sub(b"", bytes(self._text[-200:]))) is not None

        with self._changed:
            self._changed.wait_for(lambda: self._ended or found(), timeout)
            if not found():
                raise InfrastructureError(f"Bochs' debugger did not answer within {timeout:g} s")
            return self._plain()

    def _read(self) -> None:
        """Until the last process has closed the other end."""
        screen = -1
        poll = select.poll()
        poll.register(self._master, select.POLLIN)
        try:
            while True:
                ready = [fd for fd, _ in poll.poll()]
                if screen in ready and _read_some(screen) == b"":
                    poll.unregister(screen)
                if self._master not in ready:
                    continue
                if (data := _read_some(self._master)) is None:
                    continue
                with self._changed:
                    self._text += data
                    del self._text[:-1_000_000]
                    self._ended = not data
                    named = None if self.screen else self.SCREEN.search(self._text)
                    if named:
                        self.screen = named[1].decode("ascii")
                    self._changed.notify_all()
                if not data:
                    return
                if named:
                    with contextlib.suppress(OSError):  # it has ended already
                        screen = os.open(self.screen, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK)
                        poll.register(screen, select.POLLIN)
        finally:
            if screen >= 0:
                os.close(screen)


def _read_some(fd: int) -> bytes | None:
    """What there is; no bytes once nobody has the other end any more (EIO), None for now."""
    try:
        return os.read(fd, 65536)
    except BlockingIOError:
        return None
    except OSError:
        return b""
