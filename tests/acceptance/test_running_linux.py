"""The same suites on a running Linux, over SSH: nothing deviates that the inventory does not know."""

from pathlib import Path

import pytest
from runs import run_suites

MOST = 300
"""Checks that a Linux can have at least; those that need the machine to themselves are unsupported there."""


def test_all_suites_on_a_running_linux(tmp_path: Path) -> None:
    run = run_suites(tmp_path, "--target=linux-amd")
    if "infrastructure" in run.words() and "cannot be had" in run.printed:
        pytest.skip(f"no image: {run.printed[-1000:]}")
    assert run.status == 0, run.printed
    assert "Veneer" in run.printed
    assert "on 4 of 4 CPUs" in run.printed
    assert run.words() <= {"conformant", "known-deviation", "unsupported"}
    assert sum(verdict.word == "conformant" for verdict in run.verdicts) >= MOST
