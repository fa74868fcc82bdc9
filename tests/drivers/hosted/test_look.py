"""What a Linux says of the threads of a process, and what is made of it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.ssh.lab import wait_for
from touchstone.drivers.hosted.look import look_at, read_look
from touchstone.machine.patience import Look

WAITS = "input()"
COMPUTES = "\nwhile True: pass"
THREADS = "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start(); "


@contextmanager
def process(name: Path, program: str) -> Iterator[int]:
    """A process with a name, its number."""
    code = f"print('here', flush=True); {program}"
    with subprocess.Popen(
        [name, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        try:
            assert running.stdout.readline() == "here\n"
            yield running.pid
        finally:
            running.kill()


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """A Python with a name that is hard to read."""
    link = tmp_path / "a) R (b"
    link.symlink_to(shutil.which(sys.executable) or sys.executable)
    return link


def look(processes: str) -> Look | None:
    said = subprocess.run(["sh", "-c", look_at(processes)], capture_output=True, text=True, check=True)
    return read_look(said.stdout, 0.5)


def seen(processes: str, holds: Callable[[Look], bool]) -> Look:
    """The first look of which it holds."""
    looks: list[Look] = []

    def happened() -> bool:
        found = look(processes)
        assert found is not None
        looks.append(found)
        return holds(found)

    wait_for(happened)
    return looks[-1]


def test_thread_that_waits_and_one_that_computes(python: Path) -> None:
    with process(python, WAITS) as waiting, process(python, THREADS + COMPUTES) as computing:
        pair = f"echo {waiting}; echo {computing}"
        looks: list[Look] = []

        def all_have_got_there(now: Look) -> bool:
            """One of three threads computes; the process that waits has done nothing since the last look."""
            looks.append(now)
            told = [one.threads.get(str(waiting)) for one in looks[-2:]]
            computes = [tid for tid, one in now.threads.items() if not one.waits]
            return len(now.threads) == 3 and computes == [str(computing)] and told == [told[-1]] * 2

        first = seen(pair, all_have_got_there)
        later = seen(pair, lambda now: now.clock > first.clock + 0.05 and busier(first, now, computing))
        assert later.threads[str(waiting)] == first.threads[str(waiting)]
        assert first.took == 0.5


def busier(first: Look, now: Look, pid: int) -> bool:
    return now.threads[str(pid)].seconds > first.threads[str(pid)].seconds


def test_processes_that_are_gone_or_not_told_have_no_threads() -> None:
    assert look("echo 1000000000") is None
    assert look("false") is None


@pytest.mark.parametrize(
    "said",
    [
        "",
        "no clock",
        "17.5\n",
        "17.5\n0 0 0 12 (no account of it) S 1 12",
        "17.5\n5 0",
        "17.5\nx 0 5 12 (name) S 1 12",
    ],
)
def test_what_says_nothing_is_no_look(said: str) -> None:
    assert read_look(said, 0.1) is None


def test_threads_are_read() -> None:
    found = read_look("17.50\n2500000000 7 31 12 (a) R (b) S 1 12\n1 0 1 13 (c) R 1 12\n", 0.1)
    assert found is not None
    assert found.clock == 17.5
    assert {tid: (one.seconds, one.turns, one.waits) for tid, one in found.threads.items()} == {
        "12": (2.5, 31, True),
        "13": (pytest.approx(1e-9), 1, False),
    }
