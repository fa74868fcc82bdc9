"""Veneer under a UEFI firmware, with a firmware of threads in user space whose calls fail."""

import subprocess
from pathlib import Path

import pytest

from tests.support.c_programs import PASSED, PROGRAMS


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("uefi-host") / "host"
    PROGRAMS["uefi"].build(path)
    return path


def run_case(program: Path, case: str) -> None:
    ran = subprocess.run([str(program), case], capture_output=True, text=True, check=False, timeout=60)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == PASSED


# A CPU that waits for others who never come does so until the time is over.
@pytest.mark.parametrize("case", ["four-cpus", "three-of-four", "one-cpu", "others-do-not-start"])
def test_functions_run_on_all_cpus_or_on_none(program: Path, case: str) -> None:
    run_case(program, case)


def test_it_stays_with_a_table_that_names_it(program: Path) -> None:
    run_case(program, "loaded")


def test_an_operating_system_asks_each_cpu_by_its_apic_id(program: Path) -> None:
    run_case(program, "asked-by-an-os")


def test_a_refusal_gives_all_back_and_says_why(program: Path) -> None:
    run_case(program, "refused")
