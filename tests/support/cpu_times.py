"""What each of the project's own tests costs in CPU seconds, its processes included (``--cpu-times=FILE``).

Wall times say little where tests run side by side, or the machine has other work. A test's emulators,
compilers and runs of pytest count, whether they have ended or not, unless they have lost their parent. What a
fixture does for many tests is with the one that wanted it first.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from touchstone.pytest_plugin.xdist import is_worker

if TYPE_CHECKING:
    from xdist.workermanage import WorkerController  # type: ignore[import-untyped]

OPTION = "cpu_times"
TICK = 1 / os.sysconf("SC_CLK_TCK")
SHOWN = 40
"""How many units the end of a run shows."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Have the option. A conftest imports it."""
    parser.getgroup("the project's own tests").addoption(
        "--cpu-times", type=Path, metavar="FILE", help="write the CPU seconds of each test, the dearest first"
    )


def register(config: pytest.Config, unit_of: Callable[[str], str]) -> None:
    """Measure, if the command line says so: in each worker, and where there is none."""
    if is_worker(config):
        if (told := getattr(config, "workerinput", {}).get(OPTION)) is not None:
            config.pluginmanager.register(CpuTimes(Path(told["file"]), told["began"], told["worker"]))
    elif (file := config.getoption(OPTION)) is not None:
        file.write_text("", encoding="utf-8")
        began = time.time()
        config.pluginmanager.register(Summary(file.absolute(), began, unit_of))
        config.pluginmanager.register(CpuTimes(file.absolute(), began, "-"))


@dataclass(frozen=True)
class Cost:
    """One test, as a line of the file."""

    cpu: float
    """Seconds of user and system time."""
    began: float
    ended: float
    """Seconds since the run began."""
    worker: str
    nodeid: str

    def __str__(self) -> str:
        return f"{self.cpu:8.2f} {self.began:8.1f} {self.ended:8.1f} {self.worker:<6} {self.nodeid}"

    @classmethod
    def parse(cls, line: str) -> Cost:
        """Of a line; ValueError if it is none."""
        cpu, began, ended, worker, nodeid = line.split(maxsplit=4)
        return cls(float(cpu), float(began), float(ended), worker, nodeid.rstrip("\n"))


def spent() -> float:
    """CPU seconds of this process and of all that have come from it, dead or alive."""
    parents: dict[int, int] = {}
    seconds: dict[int, float] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):  # it has just ended, and is with its parent's children
                # Behind the program's name, which may have blanks: the state, the parent, ...
                words = Path("/proc", name, "stat").read_text(errors="replace").rpartition(")")[2].split()
                parents[int(name)] = int(words[1])
                seconds[int(name)] = sum(map(int, words[11:15])) * TICK
    children: dict[int, list[int]] = defaultdict(list)
    for pid, parent in parents.items():
        children[parent].append(pid)
    total, todo = 0.0, [os.getpid()]
    while todo:
        pid = todo.pop()
        total += seconds.get(pid, 0.0)
        todo += children[pid]
    return total


class CpuTimes:
    """Plugin: writes a line for each test that this process runs."""

    def __init__(self, file: Path, began: float, worker: str) -> None:
        """``began``: when the run did, of :func:`time.time`."""
        self._file = file
        self._began = began
        self._worker = worker
        self._before = 0.0

    def pytest_collection_finish(self) -> None:
        self._before = spent()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        began = time.time() - self._began
        result = yield
        now = spent()
        cost = Cost(now - self._before, began, time.time() - self._began, self._worker, item.nodeid)
        self._before = now
        with self._file.open("a", encoding="utf-8") as file:  # a line of all workers goes out whole
            file.write(f"{cost}\n")
        return result


class Summary:
    """Plugin: sorts the file at the end of the run, and says what was dear and when each worker had done."""

    def __init__(self, file: Path, began: float, unit_of: Callable[[str], str]) -> None:
        self._file = file
        self._began = began
        self._unit_of = unit_of

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: WorkerController) -> None:
        node.workerinput[OPTION] = {"file": str(self._file), "began": self._began, "worker": node.gateway.id}

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        costs = [Cost.parse(line) for line in self._file.read_text(encoding="utf-8").splitlines()]
        costs.sort(key=lambda cost: -cost.cpu)
        self._file.write_text("".join(f"{cost}\n" for cost in costs), encoding="utf-8")
        terminalreporter.section(f"CPU seconds (all in {self._file})")
        for line in summarize(costs, self._unit_of):
            terminalreporter.line(line)
        terminalreporter.line(f"{spent():8.1f}  the run, with what it is beside the tests")


def summarize(costs: Iterable[Cost], unit_of: Callable[[str], str]) -> list[str]:
    """Lines for people: the dearest units, the sum, and until when each worker was busy."""
    units: dict[str, float] = defaultdict(float)
    ends: dict[str, float] = defaultdict(float)
    for cost in costs:
        units[unit_of(cost.nodeid)] += cost.cpu
        ends[cost.worker] = max(ends[cost.worker], cost.ended)
    dearest = sorted(units.items(), key=lambda unit: -unit[1])
    lines = [f"{seconds:8.1f}  {unit}" for unit, seconds in dearest[:SHOWN]]
    lines.append(f"{sum(units.values()):8.1f}  all {len(units)} units")
    return [*lines, *(f"{worker} was done after {end:.0f} s" for worker, end in sorted(ends.items()))]
