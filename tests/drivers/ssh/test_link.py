"""An sshd that takes a connection and then answers nothing more, as one on a CPU that is gone."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import paramiko
import pytest

from touchstone.drivers.ssh import link as ssh_link
from touchstone.drivers.ssh.address import Address
from touchstone.drivers.ssh.link import Link
from touchstone.machine.driver import TargetHung


class Silent(paramiko.ServerInterface):
    """Answers up to the opening of a channel."""

    def __init__(self, over: threading.Event) -> None:
        self._over = over

    def get_allowed_auths(self, username: str) -> str:
        return "password"

    def check_auth_password(self, username: str, password: str) -> int:
        return paramiko.common.AUTH_SUCCESSFUL

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.common.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        self._over.wait()
        return False

    def check_channel_subsystem_request(self, channel: paramiko.Channel, name: str) -> bool:
        self._over.wait()
        return False


@pytest.fixture
def link(monkeypatch: pytest.MonkeyPatch) -> Iterator[Link]:
    monkeypatch.setenv("TOUCHSTONE_TEST_PASSWORD", "x")
    key = paramiko.ECDSAKey.generate()
    over = threading.Event()
    transports = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            transport = paramiko.Transport(listener.accept()[0])
            transport.add_server_key(key)
            transports.append(transport)
            transport.start_server(server=Silent(over))

        server = threading.Thread(target=serve, daemon=True)
        server.start()
        host, port = listener.getsockname()
        link = Link(
            Address(
                host,
                port,
                "root",
                fingerprints=(key.fingerprint,),
                password_variable="TOUCHSTONE_TEST_PASSWORD",
                config=None,
            )
        )
        link.open()
        server.join()
        monkeypatch.setattr(ssh_link, "CONNECT_TIMEOUT", 0.2)
        yield link
        over.set()
        link.close()
        for transport in transports:
            transport.close()


def start(link: Link) -> object:
    return link.session("true")


@pytest.mark.parametrize(
    "ask", [start, lambda link: link.run("true"), Link.sftp], ids=["start", "run", "sftp"]
)
def test_no_request_waits_for_ever(link: Link, ask: Callable[[Link], object]) -> None:
    with pytest.raises(TargetHung, match=r"sshd of .* does not answer"):
        ask(link)
