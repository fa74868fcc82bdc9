"""Running checks against a subject, and what came of each of them."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from touchstone.pytest_plugin.gates import Status
from touchstone.words import Verdict

TIMEOUT = 3600
"""Seconds for a run. A broken Veneer may hang the machine, which is found out with the target's patience."""
ENOUGH = 25
"""Failures after which a run of all suites ends: a lost machine fails each check anew."""
REFUSED = "refused"
"""What is said of a check that the subject has kept from being judged, as it refuses to be loaded."""


@dataclass
class Outcome:
    """What a run said."""

    red: dict[str, str] = field(default_factory=dict)
    """Verdicts of the checks that failed: ``deviation``, ``crash``, ``hang``..."""
    green: set[str] = field(default_factory=set)
    """The checks that passed."""
    seconds: float = 0.0
    output: str = ""


def run_checks(root: Path, target: str, subject: Path, what: Iterable[str], most: int = 0) -> Outcome:
    """Run suites or node ids on a target, up to ``most`` failures (0: all).

    AssertionError with pytest's words if the run was none, as when Veneer cannot be built.
    """
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.xml"
        command = [sys.executable, "-m", "pytest", *what, f"--target={target}", f"--hypervisor={subject}"]
        command += [f"--junitxml={results}", "-p", "no:cacheprovider", "-q", "--tb=no", f"--maxfail={most}"]
        began = time.monotonic()
        run = subprocess.run(
            command,
            cwd=root,
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT,
        )
        seconds = time.monotonic() - began
        return read_outcome(run.returncode, results, seconds, run.stdout + run.stderr)


def read_outcome(status: int, results: Path, seconds: float, output: str) -> Outcome:
    """What a run said, from its exit status and JUnit's file.

    A run in which nothing was judged says something if that is the subject's doing, and the lab had no
    trouble. Else AssertionError with the run's words.
    """
    assert status in (0, 1, Status.NOT_JUDGED), output
    outcome = Outcome(seconds=seconds, output=output)
    for case in ET.parse(results).iter("testcase"):
        about = {one.get("name", ""): one.get("value", "") for one in case.iter("property")}
        check = about.get("touchstone.check", "")
        if case.find("failure") is not None or case.find("error") is not None:
            outcome.red[check] = about.get("touchstone.verdict", "failed")
        elif case.find("skipped") is None:
            outcome.green.add(check)
    if status == Status.NOT_JUDGED:
        assert set(outcome.red.values()) == {Verdict.BLOCKED.value}, output
        outcome.red = dict.fromkeys(outcome.red, REFUSED)
    return outcome
