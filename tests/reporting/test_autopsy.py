"""What a failure shows of a target that died or hangs."""

from __future__ import annotations

import pytest

from touchstone.machine.driver import Autopsy
from touchstone.reporting.failure import autopsy_lines, named_cpus

SLEEPS, RUNS = ("0x1 sleep", "0x2 main"), ("0x3 run",)


@pytest.mark.parametrize(
    ("cpus", "text"),
    [([3], "CPU 3"), ([0, 1], "CPUs 0-1"), ([0, 1, 2, 5, 7, 8, 71], "CPUs 0-2, 5, 7-8, 71")],
)
def test_numbers_of_cpus(cpus: list[int], text: str) -> None:
    assert named_cpus(cpus) == text


def test_cpus_at_the_same_place_share_a_backtrace() -> None:
    found = Autopsy("it hangs", {0: "RAX=0", 1: "RAX=1"}, {0: SLEEPS, 1: RUNS, 2: SLEEPS, 3: SLEEPS})
    assert list(autopsy_lines(found, most=2)) == [
        "autopsy: it hangs",
        "  backtrace of CPUs 0, 2-3, innermost first",
        "    0x1 sleep",
        "    0x2 main",
        "  backtrace of CPU 1, innermost first",
        "    0x3 run",
        "  registers of CPU 0",
        "    RAX=0",
        "  registers of CPU 1",
        "    RAX=1",
    ]


def test_registers_of_many_cpus_are_in_the_results_only() -> None:
    """One CPU of each backtrace is among those that are shown."""
    registers = {cpu: f"RAX={cpu}" for cpu in range(72)}
    found = Autopsy("it hangs", registers, {cpu: RUNS if cpu == 40 else SLEEPS for cpu in range(72)})
    lines = list(autopsy_lines(found, most=3))
    assert [line for line in lines if "registers" in line] == [
        "  registers of CPU 0",
        "  registers of CPU 1",
        "  registers of CPU 40",
        "  registers of CPUs 2-39, 41-71: only in the results (--alluredir)",
    ]
    assert sum("RAX=" in line for line in autopsy_lines(found)) == 72
