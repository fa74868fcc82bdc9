"""Crash reports of CPUs that die at the same time, in a process of user space."""

from pathlib import Path

from tests.support.c_programs import PROGRAMS, expect_passed


def test_two_cpus_die_at_once(tmp_path: Path) -> None:
    program = tmp_path / "two_reports"
    PROGRAMS["crash"].build(program)
    expect_passed(program)
