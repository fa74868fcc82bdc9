"""An agent in Python, at the other end of a socket pair: it answers as told, also wrongly."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

from touchstone.machine.protocol import seal

HELLO = "agent=1.0 os=bare cpus=4 vendor=amd slot=100000 uslot=40000000 stride=8000 subject=none"

Reply = Callable[["Request"], bytes | None]
"""Bytes to send for a request; None closes the connection."""


class Request:
    """A request, taken apart without the code under test."""

    def __init__(self, line: bytes) -> None:
        body, _, crc = line.rstrip(b"\n").rpartition(b" #")
        assert seal(body.decode()) == line, f"wrong checksum in {line!r}"
        assert len(crc) == 4
        version, self.nonce, self.number, self.verb, *words = body.decode().split(" ")
        assert version == "@1"
        split = [word.partition("=") for word in words]
        self.pairs = [(name, value) for name, _, value in split]
        self.fields = dict(self.pairs)

    def answer(
        self, text: str = "", status: str = "ok", nonce: str | None = None, number: str | None = None
    ) -> bytes:
        words = ["=1", nonce or self.nonce, number or self.number, status, *([text] if text else [])]
        return seal(" ".join(words))


class FakeAgent:
    """Answers ``hello`` itself and gives every other request to ``reply``."""

    def __init__(self, reply: Reply | None = None) -> None:
        self.ours, theirs = socket.socketpair()
        self.theirs = theirs
        self.requests: list[Request] = []
        self.reply = reply or (lambda request: request.answer())
        self.nonce = ""
        self.failure: BaseException | None = None
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def say(self, data: bytes) -> None:
        self.theirs.sendall(data)

    def _serve(self) -> None:
        try:
            with self.theirs, self.theirs.makefile("rb") as lines:
                for line in lines:
                    request = Request(line)
                    self.requests.append(request)
                    if request.verb == "hello":
                        self.nonce = request.fields["nonce"]
                        self.say(request.answer(HELLO, nonce=self.nonce))
                        continue
                    data = self.reply(request)
                    if data is None:
                        return
                    self.say(data)
        except (BrokenPipeError, ConnectionResetError):
            pass
        except BaseException as error:
            self.failure = error

    def close(self) -> None:
        self.ours.close()
        self.thread.join(60)
        assert not self.thread.is_alive()
        if self.failure:
            raise self.failure
