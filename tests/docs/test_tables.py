"""Tables that a command makes are what the command makes of this checkout."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.checkout import ROOT
from tests.support.docs_blocks import tables
from touchstone.suite.claims import as_table, counters_as_table

SUBJECTS = ROOT / "docs" / "adding-a-subject.md"
COVERAGE = ROOT / "tests" / "coverage" / "core_coverage.py"
VERDICTS = ROOT / "tests" / "kvm" / "verdicts.py"
EXITS = ROOT / "tests" / "benchmarks" / "exits.py"


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=False, timeout=1200
    )


@pytest.fixture(scope="module")
def exit_costs(tmp_path_factory: pytest.TempPathFactory) -> list[list[str]]:
    """The rows that the benchmark prints, the head first."""
    done = run(EXITS)
    assert done.returncode == 0, done.stderr
    printed = tmp_path_factory.mktemp("exits") / "printed.md"
    printed.write_text(done.stdout, encoding="utf-8")
    (rows,) = tables(printed)
    return [["no exit" if "no exit" in cell else cell for cell in row] for row in rows]


def compiler() -> str:
    """Version of the compiler that is used here."""
    return subprocess.run(
        ["gcc", "-dumpfullversion"], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_every_claim_is_documented() -> None:
    """`touchstone claims` prints the table."""
    text = SUBJECTS.read_text(encoding="utf-8")
    assert "\n".join(as_table()) in text
    assert "\n".join(counters_as_table()) in text


def test_kvm_page_lists_what_is_known_of_kvm(tmp_path: Path) -> None:
    page = ROOT / "docs" / "kvm.md"
    done = run(VERDICTS, "--check", page)
    assert done.returncode == 0, done.stderr
    (tmp_path / "page.md").write_text(re.sub(r"(?m)^- `nested.svm.hsave.*\n", "", page.read_text()))
    done = run(VERDICTS, "--check", tmp_path / "page.md")
    assert "the page lists no check for nested.svm.hsave" in done.stderr


def test_core_coverage_has_the_blocks_of_the_core(tmp_path: Path) -> None:
    """And a page that has not is found: both in one go, since the core is compiled for it."""
    page = tmp_path / "page.md"
    text = (ROOT / "docs" / "core-coverage.md").read_text(encoding="utf-8")
    page.write_text(re.sub(r"(?m)^\| `cpuid.c` \|.*\n", "", text), encoding="utf-8")
    done = run(COVERAGE, "--check", "docs/core-coverage.md", page)
    assert done.returncode == 1, done.stderr
    *wrong, again = done.stderr.splitlines()
    assert wrong[-1].startswith(f"{page}: cpuid.c: the page says nothing, the compiler ")
    assert again.endswith(f"core_coverage.py --write {page}")
    assert wrong[:-1] == []


def test_core_coverage_of_a_run_that_is_not_whole_is_not_written(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("Measured with an earlier run\n", encoding="utf-8")
    done = run(COVERAGE, "--write", page, "--target=no-such-target", "conformance/nested/gone.yaml")
    assert done.returncode == 1
    assert "the run is not whole (pytest's exit status 4): nothing is written" in done.stderr
    assert page.read_text(encoding="utf-8") == "Measured with an earlier run\n"


def is_compiler_of_exit_costs() -> bool:
    """Whether the page's figures are of the compiler that is used here."""
    text = (ROOT / "docs" / "exit-costs.md").read_text(encoding="utf-8")
    made_with = re.search(r"here gcc (\d+\.\d+\.\d+) with", text)
    assert made_with, "the page says which compiler the figures are of"
    return made_with[1] == compiler()


def test_exit_costs_are_what_the_benchmark_counts(exit_costs: list[list[str]]) -> None:
    said = tables(ROOT / "docs" / "exit-costs.md")[0]
    if is_compiler_of_exit_costs():
        assert said == exit_costs
    else:  # Another compiler makes other code; the exits and the targets are the same.
        assert said[0] == exit_costs[0]
        assert [row[0] for row in said] == [row[0] for row in exit_costs]


@pytest.mark.parametrize("target", ["bochs-amd", "bochs-intel"])
@pytest.mark.parametrize(
    ("kind", "most", "least_rows"), [("CPUID", 130, 7), ("RDMSR|WRMSR", 150, 2), ("XSETBV|hypercall", 150, 2)]
)
def test_no_exit_costs_more_than_the_page_aims_at(
    exit_costs: list[list[str]], target: str, kind: str, most: int, least_rows: int
) -> None:
    column = exit_costs[0].index(target)
    costs = {row[0]: row[column] for row in exit_costs if re.match(kind, row[0])}
    counted = {name: int(cost) for name, cost in costs.items() if cost.isdigit()}
    assert len(counted) >= least_rows, costs
    # Another compiler may need an instruction or two more; gcc 14 needs one for leaf 7 under VMX.
    most += 0 if is_compiler_of_exit_costs() else 3
    assert {name: cost for name, cost in counted.items() if cost > most} == {}
