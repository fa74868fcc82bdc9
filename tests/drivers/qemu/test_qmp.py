"""The monitor of a QEMU that says nothing, played by a socket."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from touchstone.drivers.emulated.process import private_directory
from touchstone.drivers.qemu.qmp import Monitor, MonitorGone
from touchstone.machine.driver import InfrastructureError

VERSION = {"qemu": {"micro": 2, "minor": 2, "major": 7}, "package": ""}
GREETING = {"QMP": {"version": VERSION, "capabilities": []}}


class Qemu:
    """The other end of a monitor."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(60)
        self.socket.connect(str(path))

    def say(self, message: object) -> None:
        self.socket.sendall(json.dumps(message).encode() + b"\r\n")

    def negotiate(self) -> None:
        self.say(GREETING)
        said = b""
        while not said.endswith(b"}"):  # no line's end comes
            said += self.socket.recv(4096)
        assert json.loads(said)["execute"] == "qmp_capabilities"
        self.say({"return": {}})


@pytest.fixture
def pair() -> Iterator[tuple[Monitor, Qemu]]:
    directory = private_directory()
    monitor = Monitor(directory.path / "qmp", lambda event: None)
    qemu = Qemu(directory.path / "qmp")  # nothing is to be waited for: it is listened to already
    monitor.accept(lambda: None)
    yield monitor, qemu
    qemu.socket.close()
    monitor.close()
    directory.remove()


def test_a_monitor_that_does_not_greet_is_late_and_not_gone(pair: tuple[Monitor, Qemu]) -> None:
    monitor, _ = pair
    with pytest.raises(InfrastructureError, match=r"QEMU did not open its monitor in 0\.01 s") as late:
        monitor.established(0.01)
    assert not isinstance(late.value, MonitorGone)


def test_a_command_without_an_answer_is_late_and_not_gone(pair: tuple[Monitor, Qemu]) -> None:
    monitor, qemu = pair
    qemu.negotiate()
    monitor.established(60)
    assert monitor.version() == (7, 2)
    with pytest.raises(InfrastructureError, match=r"stop: no answer of QEMU's monitor in 0\.01 s") as late:
        monitor.execute("stop", timeout=0.01)
    assert not isinstance(late.value, MonitorGone)


def test_a_monitor_that_is_closed_is_gone(pair: tuple[Monitor, Qemu]) -> None:
    monitor, qemu = pair
    qemu.negotiate()
    monitor.established(60)
    qemu.socket.close()
    with pytest.raises(MonitorGone, match="stop: QEMU's monitor is gone"):
        monitor.execute("stop")
