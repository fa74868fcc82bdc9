"""A short sample of each campaign; a nightly job runs long ones."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.checkout import ROOT
from tests.support.fuzz.campaign import KINDS

COUNT = {"lines": 10}  # of a hundred lines each


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_ends_as_nobody_should_see(kind: str) -> None:
    command = [sys.executable, "-m", "tests.support.fuzz.campaign", kind, f"--count={COUNT.get(kind, 200)}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert any(word in done.stdout for word in ("errors", "AgentRefused", "answered")), done.stdout
