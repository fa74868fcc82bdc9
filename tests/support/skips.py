"""Only skips that ``tests/may_skip.toml`` lists are allowed: any other is shown, and fails the session in CI.

Otherwise nobody would notice a test that never runs for want of what bootstrap, or the test, could bring.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Known:
    """One entry of the file: a pattern of node ids, how the skip's reason begins, why, and who runs them."""

    tests: str
    reason: str
    why: str
    runs: str

    def covers(self, nodeid: str, reason: str) -> bool:
        """Whether it lists this skip. Only ``*`` is special in a pattern: ids have brackets of their own."""
        return fnmatchcase(nodeid, self.tests.replace("[", "[[]")) and reason.startswith(self.reason)


def read_known(file: Path) -> list[Known]:
    """All entries. ValueError names an entry that lacks a key, or has one too many."""
    entries = tomllib.loads(file.read_text(encoding="utf-8"))["skip"]
    for number, entry in enumerate(entries, 1):
        if sorted(entry) != ["reason", "runs", "tests", "why"]:
            raise ValueError(
                f"{file}: entry {number}: wants tests, reason, why and runs; has {', '.join(entry)}"
            )
    return [Known(**entry) for entry in entries]


@dataclass(eq=False)
class SkipWatch:
    """Plugin: collects the session's skips and judges them at its end, in the process that reports."""

    known: list[Known]
    file: str
    strict: bool
    unknown: list[tuple[str, str]] = field(default_factory=list)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._look(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._look(report)

    def _look(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if not report.skipped or hasattr(report, "wasxfail"):
            return
        said = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reason = said.removeprefix("Skipped: ")
        # Checks of suites that are run together with a test are unsupported on a target, which is a verdict.
        if report.nodeid.startswith("conformance/"):
            return
        if not any(known.covers(report.nodeid, reason) for known in self.known):
            self.unknown.append((report.nodeid, reason))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.unknown and self.strict and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self.unknown:
            return
        terminalreporter.section(
            f"skips that {self.file} does not list", red=self.strict, yellow=not self.strict
        )
        for nodeid, reason in self.unknown:
            terminalreporter.line(f"{nodeid}: {reason}")
