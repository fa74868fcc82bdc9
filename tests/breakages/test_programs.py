"""Faults that no target shows are seen by a C program: a sample of them, or what the options ask for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.breakages.faults import Fault, find_outdated, matching, read_catalogue
from tests.breakages.programs import BrokenPrograms
from tests.support.c_programs import HYPERVISOR

CATALOGUE = Path(__file__).parent / "catalogue"


def chosen(config: pytest.Config) -> list[Fault]:
    """Those that can be run; outdated ones fail a test of their own."""
    faults = read_catalogue(CATALOGUE)
    mine = {name: fault for name, fault in faults.items() if fault.program}
    outdated = find_outdated(mine.values(), HYPERVISOR, ())
    if patterns := config.getoption("--fault", None):
        asked = [fault for fault in matching(faults, patterns) if fault.program]
    else:
        asked = [fault for fault in mine.values() if fault.sample or config.getoption("--all", False)]
    return [fault for fault in asked if fault.id not in outdated]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "fault" in metafunc.fixturenames:
        faults = chosen(metafunc.config)
        metafunc.parametrize("fault", faults, ids=[fault.id for fault in faults])


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> BrokenPrograms:
    return BrokenPrograms(tmp_path_factory.mktemp("programs") / "broken")


def test_a_program_sees_the_fault(fault: Fault, programs: BrokenPrograms) -> None:
    assert programs.says(fault), f"{fault.program} passes although Veneer does this: {fault.title}"
