"""A check that claims to see something has to have seen it: Veneer is broken by hand, and must be caught."""

import fnmatch
import re
import shutil
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
TIMEOUT = 3600
"""Seconds for a run. A broken Veneer may hang the machine, which is found out with the target's patience."""
BREAKAGES: dict[str, dict[str, Any]] = tomllib.loads((HERE / "breakages.toml").read_text())


def break_it(copy: Path, name: str, breakage: dict[str, Any]) -> None:
    """Change the copy of hypervisor/ as the entry says, and give the subject a name of its own."""
    path = copy / breakage["file"]
    for change in (breakage, breakage.get("also")):
        if change is None:
            continue
        text = path.read_text()
        count = text.count(change["find"])
        assert count == 1, (
            f"breakages.toml, [{name}]: {change['find']!r} occurs {count} times in {breakage['file']}"
        )
        path.write_text(text.replace(change["find"], change["replace"]))
    makefile = copy / "subject.mk"
    makefile.write_text(
        re.sub(r"(?m)^SUBJECT_NAME := .*$", f"SUBJECT_NAME := veneer-{name}", makefile.read_text())
    )


def selection(breakage: dict[str, Any]) -> list[str]:
    """Options of pytest that leave out the checks that need not fail, where those that must are no globs."""
    if "::" in breakage["run"] or any("*" in pattern for pattern in breakage["failing"]):
        return []
    return ["-k", " or ".join(breakage["failing"])]


def run_suites(breakage: dict[str, Any], subject: Path, results: Path) -> tuple[set[str], str]:
    """Run suites against a subject; the ids of the checks that turned red, and what pytest printed."""
    command = [sys.executable, "-m", "pytest", breakage["run"], *selection(breakage)]
    command += [f"--target={breakage['target']}", f"--hypervisor={subject}"]
    command += [f"--junitxml={results}", "-p", "no:cacheprovider", "-q", "--tb=no"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=TIMEOUT)
    assert run.returncode == 1, run.stdout + run.stderr
    red = {
        entry.get("value", "")
        for case in ET.parse(results).iter("testcase")
        if case.find("failure") is not None
        for entry in case.iter("property")
        if entry.get("name") == "touchstone.check"
    }
    return red, run.stdout


@pytest.mark.parametrize("name", BREAKAGES)
def test_a_broken_veneer_is_caught(name: str, tmp_path: Path) -> None:
    breakage = BREAKAGES[name]
    copy = tmp_path / "hypervisor"
    shutil.copytree(ROOT / "hypervisor", copy)
    break_it(copy, name, breakage)
    red, output = run_suites(breakage, copy / "veneer.toml", tmp_path / "results.xml")
    for pattern in breakage["failing"]:
        assert fnmatch.filter(red, pattern), (
            f"{breakage['title']}: no {pattern} among {sorted(red)}\n{output}"
        )
