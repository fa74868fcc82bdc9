"""One SSH connection to a box: its host key verified, every wait bounded, a silent end noticed."""

from __future__ import annotations

import contextlib
import logging
import select
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import paramiko
from cryptography.exceptions import UnsupportedAlgorithm

from touchstone.drivers.ssh.address import Address
from touchstone.drivers.ssh.hostkeys import HostKeys
from touchstone.machine.driver import InfrastructureError, TargetDied, TargetHung
from touchstone.machine.polling import poll_for

CONNECT_TIMEOUT = 10.0
"""Seconds for each step of getting in: TCP, banner, keys, authentication, a channel."""
KEEPALIVE = 10
"""Seconds between keepalive messages on an idle connection."""
UNANSWERED = 25_000
"""Milliseconds after which a connection whose bytes nobody acknowledges is dead: a box that lost its power
sends no FIN (tcp(7), TCP_USER_TIMEOUT)."""
READ_SIZE = 65536
SILENT = ("No existing session", "Error reading SSH protocol banner")
"""What paramiko says of a server that does not greet: which of them depends on whose patience ends first."""
CONNECTION_ENDED = (paramiko.SSHException, EOFError, OSError)
"""What paramiko raises when a connection ends during a call: which of them depends on the moment."""

# What it logs as an error, it also raises, and we report that.
logging.getLogger("paramiko").setLevel(logging.CRITICAL)


def reason(error: Exception) -> str:
    """An error's text as the end of a sentence; nothing for an error without text (EOFError)."""
    return f": {error}" if str(error) else ""


def hang_up(channel: paramiko.Channel) -> None:
    """Close a channel, and ignore the exception that it raises when its connection is just ending."""
    with contextlib.suppress(Exception):
        channel.close()


class NoConnection(InfrastructureError):
    """The box could not be reached. ``refused``: its kernel refused the connection, so it is on."""

    def __init__(self, text: str, *, refused: bool = False) -> None:
        super().__init__(text)
        self.refused = refused


class LinkLost(TargetDied):
    """The connection ended. That alone does not tell whether the box died."""


@dataclass(frozen=True)
class Completed:
    """A command that has ended on the box."""

    command: str
    status: int
    """Exit status; 128 + N when signal N ended it."""
    out: bytes
    err: bytes

    @property
    def text(self) -> str:
        """Standard output, readable."""
        return self.out.decode("utf-8", "backslashreplace").strip()

    @property
    def complaint(self) -> str:
        """What it said on standard error, or on standard output if that was nothing."""
        return self.err.decode("utf-8", "backslashreplace").strip() or self.text or "it said nothing"


class Link:
    """A connection with any number of channels. Not open at first; it can be closed and opened again."""

    def __init__(self, address: Address, factor: float = 1.0) -> None:
        self.address = address.resolved()
        self.factor = factor
        """Stretches every timeout."""
        self._client: paramiko.SSHClient | None = None
        self._jumps: list[paramiko.SSHClient] = []

    @property
    def shown(self) -> str:
        """The box, as messages name it."""
        return self.address.shown

    @property
    def alive(self) -> bool:
        """Whether it is open, as far as is known without asking."""
        return self._client is not None and self._active(self._client)

    @property
    def transport(self) -> paramiko.Transport:
        """The open connection. LinkLost if there is none."""
        transport = self._client.get_transport() if self._client else None
        if transport is None or not transport.is_active():
            raise LinkLost(f"the connection to {self.address.shown} ended")
        return transport

    def open(self) -> None:
        """Connect anew. NoConnection, or InfrastructureError with what has to be put right."""
        self.close()
        try:
            through: paramiko.Transport | None = None
            for index in range(len(self.address.jumps)):
                hop = self.address.jump_address(index)
                client = self._connect(hop, through)
                self._jumps.append(client)
                through = client.get_transport()
            self._client = self._connect(self.address, through)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close it. Safe to repeat."""
        clients = [self._client, *reversed(self._jumps)]
        self._client, self._jumps = None, []
        for client in clients:
            if client is not None:
                with contextlib.suppress(Exception):
                    client.close()

    def session(self, command: str) -> paramiko.Channel:
        """Start a command on a channel of its own, without a terminal. LinkLost, TargetHung."""
        try:
            channel = self.transport.open_session(timeout=CONNECT_TIMEOUT * self.factor)
            channel.settimeout(CONNECT_TIMEOUT * self.factor)
            with self._limited(channel):
                channel.exec_command(command)
        except TimeoutError:
            raise TargetHung(f"sshd of {self.address.shown} does not answer") from None
        except paramiko.ChannelException as error:
            raise InfrastructureError(f"sshd of {self.address.shown} gives no channel: {error}") from None
        except CONNECTION_ENDED as error:
            # Also a channel that is not opened in time, which has no exception of its own.
            if self.alive and "imeout" in str(error):
                raise TargetHung(f"sshd of {self.address.shown} does not answer: {error}") from None
            raise LinkLost(f"the connection to {self.address.shown} ended{reason(error)}") from None
        return channel

    def run(self, command: str, *, stdin: bytes = b"", timeout: float = 30.0) -> Completed:
        """Run a command to its end. TargetHung after ``timeout`` seconds (stretched), LinkLost."""
        deadline = time.monotonic() + timeout * self.factor
        channel = self.session(command)
        out, err = bytearray(), bytearray()
        poll = select.poll()
        poll.register(channel.fileno(), select.POLLIN)
        try:
            self._feed(channel, stdin, deadline)
            while True:
                # Both streams in turns: reading one to its end first would stop for ever once the window of
                # the other is full.
                got, ended = False, channel.closed or channel.eof_received
                while channel.recv_ready():
                    out += channel.recv(READ_SIZE)
                    got = True
                while channel.recv_stderr_ready():
                    err += channel.recv_stderr(READ_SIZE)
                    got = True
                if got:
                    continue
                if ended:
                    break
                if channel.closed or channel.eof_received:
                    continue  # read what came just before the end
                left = deadline - time.monotonic()
                if left <= 0 or not poll_for(poll, left):
                    raise TimeoutError
            if not channel.status_event.wait(max(0.0, deadline - time.monotonic())):
                raise TimeoutError
        except TimeoutError:
            tail = bytes(out[-300:] + err[-300:]).decode("utf-8", "backslashreplace")
            raise TargetHung(
                f"{command!r} took more than {timeout * self.factor:g} s on {self.address.shown}"
                + (f"; the last it said: {tail!r}" if tail else "")
            ) from None
        except CONNECTION_ENDED as error:
            raise LinkLost(f"the connection to {self.address.shown} ended{reason(error)}") from None
        finally:
            hang_up(channel)
        if channel.exit_status < 0 and not self._ended(channel):
            raise LinkLost(f"the connection to {self.address.shown} ended during {command!r}")
        status = channel.exit_status if channel.exit_status >= 0 else 128
        return Completed(command, status, bytes(out), bytes(err))

    def sftp(self) -> paramiko.SFTPClient:
        """Open SFTP. LinkLost; InfrastructureError if sshd has none."""
        limit = CONNECT_TIMEOUT * self.factor
        try:
            channel = self.transport.open_session(timeout=limit)
            channel.settimeout(limit)
            with self._limited(channel):
                channel.invoke_subsystem("sftp")
            client = paramiko.SFTPClient(channel)
        except TimeoutError:
            raise TargetHung(f"sshd of {self.address.shown} does not answer") from None
        except CONNECTION_ENDED as error:
            if self.alive and isinstance(error, paramiko.ChannelException | paramiko.SSHException):
                raise InfrastructureError(
                    f"sshd of {self.address.shown} offers no SFTP ({error}); it wants a line"
                    " 'Subsystem sftp internal-sftp' in sshd_config"
                ) from None
            raise LinkLost(f"the connection to {self.address.shown} ended{reason(error)}") from None
        channel.settimeout(60.0 * self.factor)
        return client

    @contextlib.contextmanager
    def _limited(self, channel: paramiko.Channel) -> Iterator[None]:
        """Within it, a request of paramiko's that waits without a limit gets one. TimeoutError.

        sshd acknowledges keepalives as long as its kernel does; its own process may be on a CPU that is gone.
        """
        late = threading.Event()

        def end() -> None:
            late.set()
            hang_up(channel)  # wakes whoever waits for an answer

        timer = threading.Timer(CONNECT_TIMEOUT * self.factor, end)
        timer.daemon = True
        timer.start()
        try:
            yield
        except CONNECTION_ENDED:
            if late.is_set():
                raise TimeoutError from None
            raise
        finally:
            timer.cancel()

    def _feed(self, channel: paramiko.Channel, stdin: bytes, deadline: float) -> None:
        channel.settimeout(max(0.1, deadline - time.monotonic()))
        try:
            if stdin:
                channel.sendall(stdin)
            channel.shutdown_write()
        except TimeoutError:
            raise
        except CONNECTION_ENDED:
            pass  # the command ended without reading all of its input: its status is what counts

    def _ended(self, channel: paramiko.Channel) -> bool:
        """Whether the command itself ended (a signal leaves no status) and not the connection.

        sshd tells the end of the output before that of the channel; a connection takes its channels along.
        """
        return bool(self.alive and channel.closed and channel.eof_received)

    @staticmethod
    def _active(client: paramiko.SSHClient) -> bool:
        transport = client.get_transport()
        # A transport that ends saves the exception, closes its channels, and becomes inactive last.
        return transport is not None and transport.is_active() and transport.saved_exception is None

    @classmethod
    def _accepted(cls, client: paramiko.SSHClient) -> bool:
        """Whether it stands, and has got as far as the host key."""
        transport = client.get_transport()
        try:
            return cls._active(client) and transport is not None and bool(transport.get_remote_server_key())
        except paramiko.SSHException:
            return False

    def _connect(self, address: Address, through: paramiko.Transport | None) -> paramiko.SSHClient:
        timeout = CONNECT_TIMEOUT * self.factor
        keys = HostKeys(address)
        password = address.password()
        for key in address.keys:
            _check_key(key, address)
        wire = self._dial(address, through, timeout)
        client = paramiko.SSHClient()
        keys.prepare(client)
        chosen = bool(address.keys or password)
        try:
            client.connect(
                address.host,
                address.port,
                username=address.user,
                password=password,
                # A list is allowed as well as one name; paramiko's type stubs do not say so.
                key_filename=cast(str, [str(key) for key in address.keys] or None),
                sock=wire,
                timeout=timeout,
                banner_timeout=timeout,
                auth_timeout=timeout,
                channel_timeout=timeout,
                # Every key that is tried counts (MaxAuthTries): if keys were named, try only those.
                allow_agent=not chosen,
                look_for_keys=not chosen,
            )
        except BaseException as error:
            accepted = self._accepted(client) and not isinstance(error, paramiko.BadHostKeyException)
            client.close()
            wire.close()
            if isinstance(error, InfrastructureError) or not isinstance(error, Exception):
                raise
            if accepted and isinstance(error, paramiko.SSHException | OSError):
                # The connection stands and the host key was accepted, so it is authentication that failed.
                error = paramiko.AuthenticationException(str(error))
            raise self._problem(address, keys, error, password) from None
        transport = client.get_transport()
        assert transport is not None
        transport.set_keepalive(KEEPALIVE)
        return client

    def _dial(
        self, address: Address, through: paramiko.Transport | None, timeout: float
    ) -> socket.socket | paramiko.Channel:
        try:
            if through is not None:
                return through.open_channel(
                    "direct-tcpip", (address.host, address.port), ("127.0.0.1", 0), timeout=timeout
                )
            wire = socket.create_connection((address.host, address.port), timeout)
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNANSWERED)
            return wire
        except socket.gaierror as error:
            raise NoConnection(f"{address.host}: {error.strerror}: is it spelled right?") from None
        except ConnectionRefusedError:
            raise NoConnection(
                f"{address.shown} refuses connections: is sshd running there?", refused=True
            ) from None
        except CONNECTION_ENDED as error:
            why = "no answer" if isinstance(error, TimeoutError) else str(error)
            raise NoConnection(f"{address.shown} cannot be reached: {why}") from None

    def _problem(
        self, address: Address, keys: HostKeys, error: Exception, password: str | None
    ) -> InfrastructureError:
        if isinstance(error, paramiko.BadHostKeyException):
            return InfrastructureError(keys.changed(error.key))
        if isinstance(error, paramiko.AuthenticationException):
            tried = [str(key) for key in address.keys]
            if password is not None:
                tried.append(f"the password in {address.password_variable}")
            tried = tried or ["the agent's keys and those of ~/.ssh"]
            return InfrastructureError(
                f"{address.shown} does not let us in with {', '.join(tried)}:"
                f" does the user exist, and is the key in authorized_keys?"
            )
        if str(error).startswith(SILENT):
            return NoConnection(
                f"{address.shown} takes the connection and then says nothing of SSH: is sshd stuck there, or "
                "is that another service's port?"
            )
        text = f"{type(error).__name__}: {error}" if not str(error) else str(error)
        if password:
            text = text.replace(password, "***")
        return NoConnection(f"no SSH connection to {address.shown}: {text}")


def _check_key(path: Path, address: Address) -> None:
    """InfrastructureError for a private key that cannot be used as it is."""
    try:
        paramiko.PKey.from_path(path)
    except FileNotFoundError:
        raise InfrastructureError(f"{path}: there is no such key for {address.shown}") from None
    except (TypeError, paramiko.PasswordRequiredException):
        raise InfrastructureError(
            f"{path} is encrypted: give it to an agent (ssh-add {path}), and name no key for {address.shown}"
        ) from None
    except (OSError, ValueError, paramiko.SSHException, UnsupportedAlgorithm) as error:
        raise InfrastructureError(f"{path} is no private key that we can read: {error}") from None
