"""Whole runs of the suites, as a user starts them, and what came of every check."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

from tests.support.checkout import ROOT

TIMEOUT = 3600
"""Seconds for a run; on an idle machine the longest takes some minutes."""


@dataclass(frozen=True)
class Verdict:
    """What a run said of one check."""

    check: str
    word: str
    claims: bool


@dataclass(frozen=True)
class Run:
    """A run that has ended."""

    status: int
    printed: str
    verdicts: tuple[Verdict, ...]

    def words(self) -> set[str]:
        """All verdicts that occurred."""
        return {verdict.word for verdict in self.verdicts}


def run_suites(directory: Path, *arguments: str) -> Run:
    """Run pytest in the checkout; results go through ``directory``."""
    results = directory / "results.xml"
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "--tb=short"]
    done = subprocess.run(
        [*command, f"--junitxml={results}", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT,
    )
    verdicts = []
    for case in ET.parse(results).iter("testcase"):
        about = {entry.get("name"): entry.get("value") or "" for entry in case.iter("property")}
        if "touchstone.verdict" in about:
            claims = about["touchstone.claims"] == "yes"
            verdicts.append(Verdict(about["touchstone.check"], about["touchstone.verdict"], claims))
    return Run(done.returncode, done.stdout + done.stderr, tuple(verdicts))
