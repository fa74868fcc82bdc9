"""Runs that share a host: who has a place, who is next, and that both go with a process."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from touchstone.engine.turns import Turns

LONG_AGO = 60.0
"""Seconds until something has gone wrong; nothing here takes so long."""


def until(what: Callable[[], object]) -> None:
    end = time.monotonic() + LONG_AGO
    while not what():
        assert time.monotonic() < end
        time.sleep(0.01)


class Waiting:
    """Somebody who waits for the one place in a thread, and says when it has come."""

    def __init__(self, directory: Path, name: str, seconds: float, served: list[str]) -> None:
        self.turns = Turns(directory)
        before = len(list(directory.glob("cpu.waits.*")))

        def wait() -> None:
            self.turns.take("cpu", 1, seconds)
            served.append(name)
            self.turns.leave()

        self.thread = threading.Thread(target=wait)
        self.thread.start()
        until(lambda: len(list(directory.glob("cpu.waits.*"))) > before)


def test_who_takes_longest_is_next(tmp_path: Path) -> None:
    first, served = Turns(tmp_path), list[str]()
    first.take("cpu", 1, 0)
    waiting = [
        Waiting(tmp_path, name, seconds, served)
        for name, seconds in (("short", 1.0), ("unknown", float("inf")), ("long", 1000.0), ("none", 0.0))
    ]
    assert served == []
    first.leave()
    for one in waiting:
        one.thread.join(LONG_AGO)
    assert served == ["unknown", "long", "short", "none"]
    assert not list(tmp_path.glob("*.waits.*"))


def test_as_many_as_there_are_places(tmp_path: Path) -> None:
    some = [Turns(tmp_path) for _ in range(3)]
    some[0].take("cpu", 2, 0)
    some[0].take("cpu", 2, 0)  # it has one
    some[1].take("cpu", 2, 0)
    some[2].take("box-a", 1, 0)  # no CPU
    some[2].leave()
    served: list[str] = []

    def come_late() -> None:
        some[2].take("cpu", 2, 0)
        served.append("late")

    late = threading.Thread(target=come_late)
    late.start()
    until(lambda: list(tmp_path.glob("cpu.waits.*")))
    assert served == []
    some[1].leave()
    late.join(LONG_AGO)
    assert served == ["late"]
    for one in some:
        one.leave()
        one.leave()


def test_a_dead_process_has_no_place_and_is_not_before_anybody(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from touchstone.engine.turns import Turns; "
        "turns = Turns(Path(sys.argv[1])); turns.take('cpu', 1, 1e6); print('has it', flush=True); "
        "sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    holds = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holds.stdout is not None
    assert holds.stdin is not None
    assert holds.stdout.readline() == b"has it\n"
    waits = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert waits.stdout is not None
    assert waits.stdin is not None
    until(lambda: list(tmp_path.glob("cpu.waits.*")))
    for one in (waits, holds):
        one.kill()
        one.wait()
    Turns(tmp_path).take("cpu", 1, 0)  # returns
    for pipe in (holds.stdin, holds.stdout, waits.stdin, waits.stdout):
        pipe.close()
