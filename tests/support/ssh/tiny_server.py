"""An SSH server in this process, for what sshd cannot do: passwords without accounts, and silence."""

from __future__ import annotations

import contextlib
import socket
import threading

import paramiko


class _Rules(paramiko.ServerInterface):
    def __init__(self, server: TinyServer) -> None:
        self._server = server

    def get_allowed_auths(self, username: str) -> str:
        return "password"

    def check_auth_password(self, username: str, password: str) -> int:
        good = password == self._server.password
        return paramiko.common.AUTH_SUCCESSFUL if good else paramiko.common.AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.common.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        threading.Thread(target=_answer, args=(channel, command), daemon=True).start()
        return True


def _answer(channel: paramiko.Channel, command: bytes) -> None:
    with contextlib.suppress(OSError):
        channel.recv(1)  # the end of its input: by then the client knows that its request was granted
        channel.sendall(b"ran: " + command + b"\n")
        channel.send_exit_status(0)
    channel.close()


class TinyServer:
    def __init__(self, password: str) -> None:
        self.password = password
        self.host_key = paramiko.ECDSAKey.generate()
        self.mute = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._open: list[paramiko.Transport | socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in self._open:
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                wire, _ = self._listener.accept()
            except OSError:
                return
            if self.mute:
                self._open.append(wire)
                continue
            transport = paramiko.Transport(wire)
            transport.add_server_key(self.host_key)
            self._open.append(transport)
            with contextlib.suppress(paramiko.SSHException, EOFError, OSError):
                transport.start_server(event=threading.Event(), server=_Rules(self))
