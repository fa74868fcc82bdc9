"""Both backends of Veneer on processors that no emulator has, in a process of user space."""

from pathlib import Path

from tests.support.c_programs import PROGRAMS, expect_passed


def test_processor(tmp_path: Path) -> None:
    program = tmp_path / "processor"
    PROGRAMS["processor"].build(program)
    expect_passed(program)
