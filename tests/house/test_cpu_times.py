"""What each test costs in CPU seconds is told, with what it has started."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.checkout import ROOT
from tests.support.cpu_times import Cost, spent, summarize

CONFTEST = """
from tests.support import cpu_times
from tests.support.cpu_times import pytest_addoption
def pytest_configure(config): cpu_times.register(config, lambda nodeid: nodeid.split("::")[0])
"""
TESTS = """
import subprocess, sys
BURN = "import time\\nwhile time.process_time() < 0.4: pass\\n"
children = []
def test_cheap(): pass
def test_child_that_has_ended(): subprocess.run([sys.executable, "-c", BURN], check=True)
def test_child_that_lives_on():
    child = subprocess.Popen([sys.executable, "-c", BURN + "print(flush=True)\\ninput()"],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    child.stdout.readline()
    children.append(child)
def test_its_end():
    for child in children:
        child.communicate(b"\\n")
"""


@pytest.mark.parametrize("workers", [0, 1])
def test_children_count_where_they_work(
    workers: int, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test_a=TESTS)
    words = ["-p", "no:hypothesispytest", f"-n{workers}", "--dist=loadfile", "--cpu-times=times.txt"]
    result = pytester.runpytest_subprocess(*words)
    result.assert_outcomes(passed=4)
    costs = [Cost.parse(line) for line in (pytester.path / "times.txt").read_text().splitlines()]
    cpu = {cost.nodeid.partition("::")[2]: cost.cpu for cost in costs}
    assert len(cpu) == 4
    burnt = {name for name, seconds in cpu.items() if seconds >= 0.35}  # the kernel counts in ticks
    assert {"test_child_that_has_ended", "test_child_that_lives_on"} <= burnt
    assert [cost.cpu for cost in costs] == sorted(cpu.values(), reverse=True)
    assert {cost.worker for cost in costs} == ({"gw0"} if workers else {"-"})
    assert all(0 <= cost.began <= cost.ended for cost in costs)
    result.stdout.re_match_lines_random([r" +\d+\.\d  test_a\.py", r"(gw0|-) was done after \d+ s"])


def test_units_are_sums_and_workers_end_with_their_last_test(tmp_path: Path) -> None:
    costs = [
        Cost(1.0, 0.0, 9.0, "gw0", "a.py::x"),
        Cost(2.5, 9.0, 10.0, "gw0", "b.py::y[p q]"),
        Cost(4.0, 1.0, 3.0, "gw1", "a.py::z"),
    ]
    assert [Cost.parse(str(cost)) for cost in costs] == costs
    assert summarize(costs, lambda nodeid: nodeid.split("::")[0]) == [
        "     5.0  a.py",
        "     2.5  b.py",
        "     7.5  all 2 units",
        "gw0 was done after 10 s",
        "gw1 was done after 3 s",
    ]


def test_a_process_knows_what_it_has_spent() -> None:
    before, mine = spent(), os.times()
    while os.times().user - mine.user < 0.1:
        pass
    assert spent() - before >= 0.08
