"""Clients of an agent in Python: one that reaches it, and one whose time is over when it is silent."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from tests.support.fake_agent import HELLO, FakeAgent, Reply, Request
from touchstone.machine.agent import AgentClient
from touchstone.machine.channel import SocketChannel
from touchstone.machine.probe import ProbeRequest
from touchstone.machine.serial_log import SerialLog

CPUID = ProbeRequest(code=b"\x0f\xa2", timeout=5.0)
SLOW = 12.0
"""Stretches the timeouts: none is to end on a machine that is busy elsewhere."""


@contextlib.contextmanager
def reached(reply: Reply | None = None) -> Iterator[tuple[AgentClient, FakeAgent]]:
    """A client that has greeted a fake agent with this reply."""
    agent = FakeAgent(reply)
    channel = SocketChannel(agent.ours)
    client = AgentClient(channel, SerialLog(), SLOW)
    try:
        client.hello()
        yield client, agent
    finally:
        channel.close()
        agent.close()


class OutOfTime:
    """A channel whose deadline is over as soon as the agent has said what it has to say."""

    def __init__(self, reply: Reply | None) -> None:
        self.reply = reply
        self.said: list[bytes] = []
        self.deadlines: list[float] = []

    def send(self, data: bytes, deadline: float) -> None:
        for request in map(Request, data.splitlines(keepends=True)):
            hello = request.verb == "hello"
            self.said.append(
                request.answer(HELLO, nonce=request.fields["nonce"]) if hello else self._reply_to(request)
            )

    def _reply_to(self, request: Request) -> bytes:
        assert self.reply is not None, f"nobody answers {request.verb}"
        answer = self.reply(request)
        assert answer is not None, "this channel has no end"
        return answer

    def receive(self, deadline: float) -> bytes:
        self.deadlines.append(deadline)
        if not self.said:
            raise TimeoutError
        return self.said.pop(0)


def out_of_time(reply: Reply | None) -> tuple[AgentClient, OutOfTime]:
    channel = OutOfTime(reply)
    client = AgentClient(channel, SerialLog(), timeout_factor=2.0)
    client.hello()
    return client, channel


def done(request: Request, cpu: int = 0, of: int = 1, extra: str = "") -> bytes:
    return request.answer(f"cpu={cpu} of={of} end=done rip=100002 rflags=2 {extra}".rstrip())
