"""Lines to the agent in C, under the sanitizers: mutated requests, and one behind them that is answered."""

from __future__ import annotations

import random
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.support.checkout import ROOT
from tests.support.fuzz.mutations import mutated_bytes
from touchstone.machine.protocol import Damaged, parse_line, seal

LINES = 100
"""Mutated lines of one input: a process is started for each input."""
SEEDS = (
    "@1 0badcafe 5 run code=0fa2 cpl=3 once=1 at=10 seed=5 rax=s mem=0:ff read=0:8 keep=10 msr=14:1",
    "@1 0badcafe 5 run code=90 bits=32 on=1f rflags=cd7 cr0=8:4 cr4=0:1 efer=0:1 dr0=s rsp=t-8 dr7=401",
    "@1 0badcafe 5 run code=0f0b handle=6:10,e:20 msr=c0000080:1:2 dr6=ffff0ff0",
    "@1 0badcafe 5 subject do=trace cpu=0 n=5",
    "@1 0badcafe 5 subject do=load opt=x",
    "@1 0badcafe 5 work do=start kinds=fpu,nop",
    "@1 0badcafe 5 nmi on=1 n=1",
    "@1 - 1 hello nonce=0badcafe",
)


def make_lines() -> Callable[[random.Random], tuple[bytes, Callable[[], str]]]:
    """See campaign.Try."""
    program = Path(tempfile.mkdtemp(prefix="touchstone-fuzz-")) / "conversation"
    agent = ROOT / "targets" / "agent"
    sources = [ROOT / "tests" / "agent" / "conversation.c"]
    sources += [
        agent / name
        for name in ("agent.c", "error.c", "run.c", "outcome.c", "values.c", "place_keys.c", "line.c")
    ]
    command = ["gcc", "-std=gnu11", "-g", "-O1", f"-I{agent}", "-o", str(program), *map(str, sources)]
    subprocess.run([*command, "-fsanitize=address,undefined", "-fno-sanitize-recover=all"], check=True)

    def make(generator: random.Random) -> tuple[bytes, Callable[[], str]]:
        sent = [seal("@1 - 1 hello nonce=0badcafe")]
        for _ in range(LINES):
            line = seal(generator.choice(SEEDS))
            if generator.random() < 0.5:
                line = mutated_bytes(generator, line)
            else:  # damage that has the right checksum
                body = mutated_bytes(generator, line[:-7]).decode("latin-1")
                line = seal("".join(one for one in body if one.isascii() and one.isprintable()))
            sent.append(line)
        # The nonce may be another one by now.
        sent += [b"\n", seal("@1 - 1 hello nonce=0badcafe"), seal("@1 0badcafe 77 counts on=1")]
        data = b"".join(sent)

        def read() -> str:
            # The sanitizers need more address space than a campaign's inputs have.
            shell = ["sh", "-c", 'ulimit -S -v unlimited; exec "$0"', str(program)]
            done = subprocess.run(shell, input=data, capture_output=True, check=False)
            assert done.returncode == 0, done.stderr.decode(errors="replace")[-300:]
            said = done.stdout.splitlines()
            for line in said:
                assert not isinstance(parse_line(line), Damaged | None), line
            assert said[-1].startswith(b"=1 0badcafe 77 ok cpu=0 of=1"), said[-1]
            return "answered"

        return data, read

    return make
