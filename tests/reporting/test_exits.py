from __future__ import annotations

import pytest

from tests.support.project import Project, check
from touchstone.reporting.exits import readable


def test_codes_have_names_and_repetitions_are_folded() -> None:
    amd = ["72 rip=0x1 info=0x0", "72 rip=0x1 info=0x0", "4d rip=0x2", "400 rip=0x3", "7c rip=0x4"]
    assert readable(amd, "amd") == [
        "72 CPUID rip=0x1 info=0x0    (2 times)",
        "4d #GP rip=0x2",
        "400 NPF rip=0x3",
        "7c MSR rip=0x4",
    ]
    intel = ["a rip=0x1", "1f rip=0x2", "30 rip=0x3", "37 rip=0x4", "21 rip=0x5", "40 rip=0x6", "ff rip=0x7"]
    assert [line.split()[1] for line in readable(intel, "intel")] == [
        "CPUID",
        "RDMSR",
        "EPT-violation",
        "XSETBV",
        "entry-failure-guest-state",
        "XRSTORS",
        "rip=0x7",
    ]
    assert readable(["cpuid rip=0x1"], "amd") == ["cpuid rip=0x1"], "the subject's own words stay"


@pytest.mark.parametrize(
    ("os", "others", "passed"), [("linux", 2, 1), ("bare", 2, 0), ("linux", 100, 0)], ids=repr
)
def test_exits_are_counted_again_on_an_os_with_other_programs(
    project: Project, os: str, others: int, passed: int
) -> None:
    project.options(os=os, others=str(others))
    project.suite(check("counted", "cpuid", "{exits: {cpuid: 1}}"))
    project.run().assert_outcomes(passed=passed, failed=1 - passed)
