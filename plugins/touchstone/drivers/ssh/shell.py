"""Many short scripts on a box in one shell, instead of a login for each."""

from __future__ import annotations

import secrets
import select
import time

import paramiko

from touchstone.drivers.ssh.link import CONNECTION_ENDED, Completed, Link, LinkLost, hang_up, reason
from touchstone.machine.driver import TargetHung
from touchstone.machine.polling import poll_for

READ_SIZE = 65536


class LastingShell:
    """Starts with the first script, and again after one that took too long.

    A login costs what the account's shell reads at its start, 30 to 300 ms; a script here costs a fork. There
    is no exec either: a new program executes CPUID, which would show in the exit counters that it asks for.
    """

    def __init__(self, link: Link, command: str) -> None:
        """``command`` becomes a shell that reads scripts from its standard input."""
        self._link = link
        self._command = command
        self._channel: paramiko.Channel | None = None
        self._poll = select.poll()
        self._end = secrets.token_hex(8)

    @property
    def shown(self) -> str:
        """The box, as messages name it."""
        return self._link.shown

    def run(self, script: str, timeout: float) -> Completed:
        """Run a script to its end. TargetHung after ``timeout`` seconds (stretched), LinkLost."""
        if self._channel is None or self._channel.closed:
            self._start()
        channel = self._channel
        assert channel is not None
        deadline = time.monotonic() + timeout * self._link.factor
        tell = f"printf '\\n{self._end} %d\\n' $?; echo {self._end} >&2"
        line = f"(\n{script}\n) </dev/null; {tell}\n"
        shown = self.shown
        streams = (bytearray(), bytearray())
        try:
            channel.settimeout(max(0.1, timeout * self._link.factor))
            channel.sendall(line.encode())
            while not all(self._complete(stream) for stream in streams):
                ended = channel.closed or channel.eof_received
                while channel.recv_ready():
                    streams[0].extend(channel.recv(READ_SIZE))
                while channel.recv_stderr_ready():
                    streams[1].extend(channel.recv_stderr(READ_SIZE))
                if all(self._complete(stream) for stream in streams):
                    break
                if ended:
                    self.close()
                    said = bytes(streams[1]).decode("utf-8", "backslashreplace").strip()
                    raise LinkLost(f"the shell on {shown} ended during {script!r}{said and ': ' + said}")
                left = deadline - time.monotonic()
                if left <= 0 or not poll_for(self._poll, left):
                    raise TimeoutError
        except TimeoutError:
            self.close()
            raise TargetHung(
                f"{script!r} took more than {timeout * self._link.factor:g} s on {shown}"
            ) from None
        except CONNECTION_ENDED as error:
            self.close()
            raise LinkLost(f"the connection to {shown} ended{reason(error)}") from None
        except BaseException:
            self.close()  # what it still says would be taken for the next answer
            raise
        out, _, status = bytes(streams[0]).rpartition(f"\n{self._end} ".encode())
        err = bytes(streams[1]).removesuffix(f"{self._end}\n".encode())
        return Completed(script, int(status), out, err)

    def close(self) -> None:
        """End the shell. Safe to repeat."""
        if self._channel is not None:
            hang_up(self._channel)
            self._channel = None

    def _start(self) -> None:
        channel = self._channel = self._link.session(self._command)
        self._poll = select.poll()
        self._poll.register(channel.fileno(), select.POLLIN)

    def _complete(self, stream: bytearray) -> bool:
        return stream.endswith(b"\n") and self._end.encode() in stream[-len(self._end) - 8 :]
