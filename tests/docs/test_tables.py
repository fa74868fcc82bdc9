"""Tables that a command makes are what the command makes of this checkout."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.support.checkout import ROOT
from tests.support.docs_blocks import tables
from touchstone.suite.claims import as_table

SUBJECTS = ROOT / "docs" / "adding-a-subject.md"
COVERAGE = ROOT / "tests" / "coverage" / "core_coverage.py"
EXITS = ROOT / "tests" / "benchmarks" / "exits.py"


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=False, timeout=1200
    )


def compiler() -> str:
    done = subprocess.run(["gcc", "--version"], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[0]


def test_every_claim_is_documented() -> None:
    """`touchstone claims` prints the table."""
    assert "\n".join(as_table()) in SUBJECTS.read_text(encoding="utf-8")


def test_core_coverage_has_the_blocks_of_the_core() -> None:
    done = run(COVERAGE, "--check", "docs/core-coverage.md")
    assert done.returncode == 0, done.stderr


def test_a_file_with_another_number_of_blocks_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    text = (ROOT / "docs" / "core-coverage.md").read_text(encoding="utf-8")
    page.write_text(re.sub(r"(?m)^\| `cpuid.c` \|.*\n", "", text), encoding="utf-8")
    done = run(COVERAGE, "--check", page)
    assert done.returncode == 1
    assert "cpuid.c: the page says nothing" in done.stderr
    assert f"core_coverage.py --write {page}" in done.stderr


def test_exit_costs_are_what_the_benchmark_counts(tmp_path: Path) -> None:
    page = ROOT / "docs" / "exit-costs.md"
    done = run(EXITS)
    assert done.returncode == 0, done.stderr
    (tmp_path / "printed.md").write_text(done.stdout, encoding="utf-8")
    (printed,), said = tables(tmp_path / "printed.md"), tables(page)[0]
    printed = [["no exit" if "no exit" in cell else cell for cell in row] for row in printed]
    if compiler() not in page.read_text(encoding="utf-8"):
        # Another compiler makes other code; the exits and the targets are the same.
        printed, said = [row[:1] for row in printed], [row[:1] for row in said]
    assert said == printed
