"""An agent that answers nearly right: every kind of request, and mutated bytes."""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.support.fake_agent import HELLO, Request
from tests.support.fuzz.mutations import mutated_bytes
from touchstone.machine.agent import AgentClient
from touchstone.machine.driver import TargetError
from touchstone.machine.probe import ProbeRequest
from touchstone.machine.protocol import seal
from touchstone.machine.serial_log import SerialLog

PROBE = ProbeRequest(code=b"\x90", cpus=(0, 1), read=(0, 9), keep=(0x10, 0xC0000080))
RUN = (
    "cpu={cpu} of=2 end={end} rip=100001 rflags=2 rax=5 mem=010203z0504 msrs=10:5,c0000080:d01 nmi=3 left=cr4"
)
ENDS = ("done", "exc vec=0e ec=2 cr2=ffff dr6=0 dr7=400")
SAYS: dict[str, tuple[str, ...]] = {
    "hello": (HELLO,),
    "run": tuple(RUN.format(cpu=cpu, end=end) for cpu in (0, 1) for end in ENDS),
    "counts": tuple(f"cpu={cpu} of=4 nmi=7" for cpu in range(4)),
    "nmi": ("",),
    "subject": ("loaded=1 name=veneer", "cpuid=5 rdmsr=7", "exits=72:100abc:0,5c:100def:1"),
    "work": ("workers=4", "nop=5:0 fpu=7:1 text=lost", ""),
}
ASK: tuple[Callable[[AgentClient], object], ...] = (
    lambda client: client.run(PROBE),
    lambda client: list(client.run_many([PROBE] * 3)),
    lambda client: client.nmi_counts(),
    lambda client: client.send_nmis((0,), 1),
    lambda client: client.load(),
    lambda client: client.query(),
    lambda client: client.exits(0),
    lambda client: client.trace(0, 4),
    lambda client: client.request("work", {"do": "query"}),
)


class Wire:
    """A channel to an agent whose answers are mutated with a chance of ``mutate``."""

    def __init__(self, generator: random.Random) -> None:
        self._generator = generator
        self._pending: list[bytes] = []
        self.said = b""

    def send(self, data: bytes, deadline: float) -> None:
        """Answer each request."""
        for line in data.splitlines(keepends=True):
            self._answer(Request(line))

    def _answer(self, request: Request) -> None:
        generator = self._generator
        lines = SAYS.get(request.verb, ("",))
        chosen = lines if request.verb in ("run", "counts") else (generator.choice(lines),)
        for text in chosen:
            status = "ok" if generator.random() < 0.9 else "err"
            said = text if status == "ok" else f"{text} code=EIO text=no".strip()
            line = request.answer(said, status, request.fields.get("nonce", request.nonce))
            kind = generator.randrange(6)
            if kind == 0:
                line = mutated_bytes(generator, line)
            elif kind == 1:  # what is wrong has the right checksum
                body = mutated_bytes(generator, line.rpartition(b" #")[0]).decode("latin-1")
                line = seal("".join(one for one in body if one.isascii() and one.isprintable()) or "x")
            elif kind == 2:
                line = (
                    generator.choice((b"log text\n", seal("!1 ready os=bare"), seal("!1 panic cpu=1"))) + line
                )
            self._pending.append(line)

    def receive(self, deadline: float) -> bytes:
        """What was answered; then the time is over."""
        if not self._pending:
            raise TimeoutError
        data = self._pending.pop(0)
        self.said += data
        return data


def make(generator: random.Random) -> tuple[bytes, Callable[[], str]]:
    """See campaign.Try. The input is what the wire says, which is known only afterwards."""
    wire = Wire(generator)

    def read() -> str:
        client = AgentClient(wire, SerialLog(), 0.001)
        try:
            client.hello()
            for _ in range(3):
                generator.choice(ASK)(client)
        except TargetError as error:
            return type(error).__name__
        return "accepted"

    return b"", read
