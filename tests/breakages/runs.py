"""Running checks against a subject, and what came of each of them."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

TIMEOUT = 3600
"""Seconds for a run. A broken Veneer may hang the machine, which is found out with the target's patience."""
ENOUGH = 25
"""Failures after which a run of all suites ends: a lost machine fails each check anew."""


COMPILER = Path(__file__).parent / "compiler"
"""Has a gcc that takes what has been compiled again."""


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
            env=compiling(root, subject),
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT,
        )
        outcome = Outcome(seconds=time.monotonic() - began, output=run.stdout + run.stderr)
        assert run.returncode in (0, 1), outcome.output
        for case in ET.parse(results).iter("testcase"):
            about = {one.get("name", ""): one.get("value", "") for one in case.iter("property")}
            check = about.get("touchstone.check", "")
            if case.find("failure") is not None or case.find("error") is not None:
                outcome.red[check] = about.get("touchstone.verdict", "failed")
            elif case.find("skipped") is None:
                outcome.green.add(check)
    return outcome


def compiling(root: Path, subject: Path) -> dict[str, str]:
    """The environment in which a copy of Veneer is built: copies share what they have in common."""
    gcc = shutil.which("gcc")
    if gcc is None:
        return dict(os.environ)  # the build says what is missing
    copy = subject.parent.parent
    digest = hashlib.sha256()
    for folder in (subject.parent, root / "targets"):
        for path in sorted(folder.rglob("*.h")):
            digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return {
        **os.environ,
        "PATH": f"{COMPILER}{os.pathsep}{os.environ.get('PATH', '')}",
        "BREAKAGES_GCC": gcc,
        "BREAKAGES_OBJECTS": str(copy.parent / "objects"),
        "BREAKAGES_COPY": copy.name,
        "BREAKAGES_HEADERS": digest.hexdigest(),
    }
