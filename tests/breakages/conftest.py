from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.breakages.checks import find_titles
from tests.breakages.faults import catalogue
from tests.breakages.judging import Result, load_folder
from tests.breakages.table import as_text, merge, write
from tests.support.checkout import ROOT

PROPERTY = "breakage"
BEGAN = time.monotonic()
"""When this process began: ``--minutes`` counts from here."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Known where tests/breakages is named on the command line."""
    group = parser.getgroup("seeded faults of Veneer")
    group.addoption("--all", action="store_true", help="all faults of the catalogue (hours)")
    group.addoption(
        "--fault",
        action="append",
        metavar="GLOB",
        help="these faults, each on a machine of its own; with --all: several on a machine",
    )
    group.addoption(
        "--named", action="store_true", help="run named checks only: do not look for others that see more"
    )
    group.addoption(
        "--table",
        metavar="DIR",
        help="folder for the tables and results (default: build/breakages); with --all, what has results "
        "there is not run again",
    )
    group.addoption(
        "--rounds",
        type=int,
        metavar="N",
        help="with --all: how often each fault is run, each time beside others",
    )
    group.addoption(
        "--minutes", type=float, metavar="N", help="begin no batch after so many minutes, and skip the others"
    )
    group.addoption(
        "--whole", action="store_true", help="with --fault: run all suites, to see what else catches it"
    )


@pytest.fixture
def within_minutes(request: pytest.FixtureRequest) -> None:
    """Skips what would begin when the time is over."""
    minutes = request.config.getoption("--minutes", None)
    if minutes is not None and time.monotonic() - BEGAN > 60 * minutes:
        pytest.skip(f"the {minutes:g} minutes are over")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The table of the faults that were run."""
    results = [
        Result.load(str(value))
        for reports in terminalreporter.stats.values()
        for report in reports
        if isinstance(report, pytest.TestReport) and report.when == "call"
        for name, value in report.user_properties
        if name == PROPERTY
    ]
    given = terminalreporter.config.getoption("--table")
    if not results and not given:
        return
    faults = catalogue()
    if given:  # what this run has found is there as well
        results = load_folder(Path(given), faults)
    merged = merge(results)
    folder = Path(given or ROOT / "build" / "breakages")
    write(folder, faults, merged, find_titles(ROOT))
    terminalreporter.section("seeded faults")
    terminalreporter.write_line(as_text(faults, merged))
    terminalreporter.write_line(f"each fault: {folder / 'table.md'}, {folder / 'table.json'}")
