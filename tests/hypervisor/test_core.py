"""The vendor-neutral core of Veneer, and its memory types, in a user-space process under the sanitizers."""

from pathlib import Path

import pytest

from tests.support.c_programs import PROGRAMS, expect_passed

THREADS = ("-fno-sanitize=all", "-fsanitize=thread")
"""The sanitizer of races, which does not go together with the usual ones."""


@pytest.mark.parametrize("more", [(), THREADS], ids=["memory", "threads"])
def test_core(tmp_path: Path, more: tuple[str, ...]) -> None:
    program = tmp_path / "core"
    PROGRAMS["core"].build(program, more=more)
    expect_passed(program)
