"""Reads what people write in processes that may take so many CPU seconds and so much memory, and no more.

Each has a process of its own, forked from one that has imported everything: a crash or an endless loop is an
outcome as well.
"""

from __future__ import annotations

import os
import pickle
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

CPU_SECONDS = 20
"""Ten times and more what the slowest may take; what does not end at all takes more."""
MEMORY = 200 << 20
"""Bytes, on top of what the process has when the work begins."""


@dataclass(frozen=True)
class Work:
    """What to read, and as what: a suite, an inventory, a subject, an expression, lines of the protocol."""

    kind: str
    text: bytes


@dataclass(frozen=True)
class Outcome:
    """How it ended."""

    ended: str
    """``errors`` (those that a person gets), ``accepted``; or an exception or a signal: a bug."""
    text: str
    cpu: float
    """CPU seconds."""


def run_all(works: Sequence[Work]) -> list[Outcome]:
    """What each of them comes to."""
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", f"from {__name__} import main; main()"],
        input=pickle.dumps(list(works)),
        capture_output=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": f"{root}:{root / 'plugins'}"},
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    outcomes: list[Outcome] = pickle.loads(done.stdout)
    return outcomes


def do(work: Work) -> str:
    """Read it: empty if it is accepted, else the errors."""
    from touchstone.config.inventory import read_inventory
    from touchstone.config.subjects import read_subject
    from touchstone.config.tomlfile import TomlError
    from touchstone.machine.protocol import Damaged, LineSplitter
    from touchstone.suite.load import load
    from touchstone.suite.problems import SuiteErrors

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "file"
        path.write_bytes(work.text)
        try:
            if work.kind == "suite":
                load(path)
            elif work.kind == "inventory":
                read_inventory(path)
            elif work.kind == "subject":
                read_subject(path)
            elif work.kind == "lines":
                lines = LineSplitter().feed(work.text)
                return "\n".join(line.why for line in lines if isinstance(line, Damaged))
            else:
                raise AssertionError(work.kind)
        except (SuiteErrors, TomlError) as errors:
            return str(errors).replace(f"{path}:", "")
    return ""


def _outcome(work: Work) -> Outcome:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        with open("/proc/self/statm", encoding="ascii") as statm:
            memory = int(statm.read().split()[0]) * resource.getpagesize() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
        try:
            text = do(work)
            said = f"{'errors' if text else 'accepted'}\n{text}"
        except BaseException as error:
            said = f"{type(error).__name__}\n{str(error)[:500]}"
        with os.fdopen(writing, "w", encoding="utf-8", errors="backslashreplace") as pipe:
            pipe.write(said)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as pipe:
        ended, _, text = pipe.read().partition("\n")
    _, status, usage = os.wait4(child, 0)
    if os.WIFSIGNALED(status):
        ended = f"signal {os.WTERMSIG(status)}"
    return Outcome(ended, text, usage.ru_utime + usage.ru_stime)


def main() -> None:
    """The child of run_all."""
    pending: list[Work] = pickle.loads(sys.stdin.buffer.read())
    do(Work("suite", b""))  # imports everything
    sys.stdout.buffer.write(pickle.dumps([_outcome(work) for work in pending]))
