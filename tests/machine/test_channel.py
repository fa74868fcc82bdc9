"""What an agent says comes line by line over a socket into which an emulator writes byte by byte."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator

import pytest

from touchstone.machine.channel import SocketChannel


class OtherSide:
    """Writes the next of its pieces whenever we pause, and sees it arrive."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.socket = socket.create_connection(server.getsockname())
            self._ours = server.accept()[0]
        self.channel = SocketChannel(self._ours, quick_ack=True)
        self.pieces: list[bytes] = []
        self.pauses: list[float] = []
        monkeypatch.setattr(time, "sleep", self._sleep)

    def write(self, data: bytes) -> None:
        self.socket.sendall(data)
        select.select([self._ours], [], [])

    def receive(self, seconds: float = 600.0) -> bytes:
        return self.channel.receive(time.monotonic() + seconds)

    def close(self) -> None:
        self.channel.close()
        self.socket.close()

    def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        if self.pieces:
            self.write(self.pieces.pop(0))


@pytest.fixture
def other(monkeypatch: pytest.MonkeyPatch) -> Iterator[OtherSide]:
    other = OtherSide(monkeypatch)
    yield other
    other.close()


def test_a_line_is_taken_whole(other: OtherSide) -> None:
    other.pieces = [b"1 ", b"ok\n", b"=2"]
    other.write(b"=")
    assert other.receive() == b"=1 ok\n"
    assert other.pieces == [b"=2"]


def test_nobody_waits_for_the_end_of_a_line_that_does_not_come(other: OtherSide) -> None:
    other.pieces = [b"1"]
    other.write(b"=")
    assert other.receive() == b"=1"
    assert len(other.pauses) == 2  # the second in vain


@pytest.mark.parametrize("seconds", [600.0, 0.05])
def test_a_line_without_an_end_is_cut(other: OtherSide, seconds: float) -> None:
    """By its length or by the deadline, whichever comes first."""
    other.pieces = [b"x" * 4096] * 64
    other.write(b"x")
    assert set(other.receive(seconds)) == {ord("x")}
    assert other.pieces or seconds < 1


def test_the_last_words_come_before_the_end(other: OtherSide) -> None:
    other.write(b"!1 pan")
    other.socket.shutdown(socket.SHUT_WR)
    assert other.receive() == b"!1 pan"
    assert other.receive() == b""
