"""The vendor-neutral core of Veneer, and its memory types, in a user-space process under the sanitizers."""

from pathlib import Path

import pytest

from tests.support.c_programs import PROGRAMS, expect_passed


@pytest.mark.parametrize("sanitizer", ["address,undefined", "thread"])
def test_core(tmp_path: Path, sanitizer: str) -> None:
    program = tmp_path / "core"
    PROGRAMS["core"].build(program, more=(f"-fsanitize={sanitizer}", "-fno-sanitize-recover=all"))
    expect_passed(program)
