"""Fuzz campaigns: mutated input for everything that people write and machines send. Seeded, so repeatable.

::

    python -m tests.support.fuzz.campaign suites --count 100000
    python -m tests.support.fuzz.campaign all --count 20000 --seed 7
    python -m tests.support.fuzz.campaign all --long

Prints a line of figures for each kind. Whatever ends otherwise than as it should (an exception that nobody
should see, a crash, more than LIMIT CPU seconds) is kept under ``build/fuzz``, and makes the exit status 1.
"""

from __future__ import annotations

import argparse
import os
import pickle
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.checkout import ROOT, suite_files
from tests.support.fuzz.mutations import mutated_text

BATCH = 200
"""Inputs for each process: a crash costs one."""
LIMIT = 20.0
"""CPU seconds for a batch's input that takes the longest; none should take one."""
EVERY = 30.0
"""Seconds between two lines that say how far a campaign is."""
MEMORY = 1 << 30
"""Bytes of address space on top of what a process begins with."""

Try = Callable[[random.Random], tuple[bytes, Callable[[], str]]]
"""Makes an input, and what reads it: returns a word for how it went, or raises what nobody should see."""


@dataclass
class Figures:
    """What came of a campaign."""

    kind: str
    tried: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    words: Counter[str] = field(default_factory=Counter)
    faults: list[tuple[str, bytes]] = field(default_factory=list)

    def __str__(self) -> str:
        words = ", ".join(f"{count} {word}" for word, count in self.words.most_common())
        cpu = f"{self.seconds:.0f} CPU s, the slowest {self.slowest:.2f} s"
        return f"{self.kind}: {self.tried} tried: {words}; {cpu}; {len(self.faults)} faults"


def suites() -> Try:
    """Ours, mutated."""
    from touchstone.suite.load import load
    from touchstone.suite.problems import SuiteErrors

    texts = [path.read_text() for path in suite_files()]
    return _files("suite.yaml", texts, load, SuiteErrors, _some_checks)


def _some_checks(generator: random.Random, text: str) -> str:
    """The head of a suite and a few of its checks."""
    head, *checks = text.split("\n  - id:")
    return "\n  - id:".join([head, *generator.sample(checks, min(3, len(checks)))])


def _files(
    name: str,
    texts: Sequence[str],
    read_file: Callable[[Path], object],
    wrong: type[Exception],
    part: Callable[[random.Random, str], str] = lambda generator, text: text,
) -> Try:
    """Files that people write. What is ``wrong`` with them must be said, with file and line."""
    words = sorted({word for text in texts for word in text.split() if len(word) < 30})
    directory = Path(tempfile.mkdtemp(prefix="touchstone-fuzz-"))
    (directory / "subject.mk").touch()
    path = directory / name

    def make(generator: random.Random) -> tuple[bytes, Callable[[], str]]:
        text = mutated_text(generator, part(generator, generator.choice(texts)), words)
        data = text.encode("utf-8", "surrogatepass")

        def read() -> str:
            path.write_bytes(data)
            try:
                read_file(path)
            except wrong as errors:
                lines = str(errors).splitlines()
                if not lines or not all(line.startswith(str(path)) for line in lines):
                    raise AssertionError(f"no place: {errors}") from None
                return "errors"
            return "accepted"

        return data, read

    return make


def inventories() -> Try:
    """Ours, mutated, with the drivers' own checks."""
    from touchstone.config.inventory import read_inventory
    from touchstone.config.tomlfile import TomlError
    from touchstone.drivers import registry

    text = (ROOT / "targets" / "inventory.toml").read_text()
    head, *targets = text.split("\n[targets.")
    seeds = [f"{head}\n[targets.{target}" for target in targets]
    return _files("it.toml", seeds, lambda path: read_inventory(path, validate=registry.validate), TomlError)


def subjects() -> Try:
    """Veneer's, mutated."""
    from touchstone.config.subjects import read_subject
    from touchstone.config.tomlfile import TomlError

    text = (ROOT / "hypervisor" / "veneer.toml").read_text()
    return _files("it.toml", [text], read_subject, TomlError)


def answers() -> Try:
    """Answers of an agent to each kind of request."""
    from tests.support.fuzz.answers import make

    return make


def lines() -> Try:
    """Lines to the agent, LINES in each input."""
    from tests.support.fuzz.lines import make_lines

    return make_lines()


@dataclass(frozen=True)
class Kind:
    """What a campaign is about."""

    make: Callable[[], Try]
    long: int
    """Inputs of a long campaign: each kind takes 20 to 500 CPU seconds then."""


KINDS = {
    "suites": Kind(suites, 100_000),
    "inventories": Kind(inventories, 20_000),
    "subjects": Kind(subjects, 20_000),
    "answers": Kind(answers, 1_000_000),
    "lines": Kind(lines, 10_000),  # a million lines
}


def campaign(kind: str, count: int, seed: int) -> Figures:
    """Run one."""
    figures = Figures(kind)
    make = KINDS[kind].make()
    began, said = time.process_time(), time.monotonic()
    for first in range(0, count, BATCH):
        _batch(figures, make, range(first, min(first + BATCH, count)), seed)
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        figures.seconds = time.process_time() - began + used.ru_utime + used.ru_stime
        if time.monotonic() - said >= EVERY and figures.tried < count:
            said = time.monotonic()
            print(f"so far, of {count}: {figures}", file=sys.stderr, flush=True)
    return figures


def _batch(figures: Figures, make: Try, numbers: range, seed: int) -> None:
    """Try inputs in a process of their own, and go on behind one that ends it."""
    while numbers:
        with tempfile.TemporaryFile() as file:
            pid = os.fork()
            if pid == 0:
                _child(file.fileno(), make, numbers, seed)
            _, status = os.waitpid(pid, 0)
            file.seek(0)
            done = 0
            while True:
                try:
                    word, seconds = pickle.load(file)
                except EOFError:
                    break
                done += 1
                figures.tried += 1
                figures.slowest = max(figures.slowest, seconds)
                if word.startswith("!"):
                    _fault(figures, make, numbers[done - 1], seed, word[1:])
                else:
                    figures.words[word] += 1
        if done == len(numbers):
            return
        figures.tried += 1
        ended = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"status {status}"
        _fault(figures, make, numbers[done], seed, ended)
        numbers = numbers[done + 1 :]


def _fault(figures: Figures, make: Try, number: int, seed: int, how: str) -> None:
    figures.words["faults"] += 1
    figures.faults.append(
        (f"{figures.kind} {number} of seed {seed}: {how}", make(_generator(seed, number))[0])
    )


def _child(fd: int, make: Try, numbers: range, seed: int) -> None:
    with open("/proc/self/statm", encoding="ascii") as statm:
        memory = int(statm.read().split()[0]) * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (memory, resource.RLIM_INFINITY))
    with os.fdopen(os.dup(fd), "wb", 0) as file:
        for number in numbers:
            _, read = make(_generator(seed, number))
            before = time.process_time()
            limit = int(before + LIMIT) + 1
            resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))
            try:
                word = read()
            except BaseException as error:
                word = f"!{type(error).__name__}: {str(error)[:300]}"
            file.write(pickle.dumps((word, time.process_time() - before)))
    os._exit(0)


def _generator(seed: int, number: int) -> random.Random:
    return random.Random(f"{seed}/{number}")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.fuzz.campaign")
    parser.add_argument("kind", choices=[*KINDS, "all"])
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--count", type=int, default=1000)
    size.add_argument(
        "--long",
        action="store_true",
        help=", ".join(f"{about.long} {kind}" for kind, about in KINDS.items()),
    )
    parser.add_argument("--seed", type=int, default=1)
    words = parser.parse_args(arguments)
    status = 0
    for kind in KINDS if words.kind == "all" else [words.kind]:
        figures = campaign(kind, KINDS[kind].long if words.long else words.count, words.seed)
        print(figures, flush=True)
        for index, (how, data) in enumerate(figures.faults[:20]):
            kept = ROOT / "build" / "fuzz" / f"{kind}-{words.seed}-{index}"
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_bytes(data)
            print(f"    {how}: {kept.relative_to(ROOT)}")
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
