"""Features of pytest work for checks: --lf, -x, --tb, fixtures, --collect-only."""

from __future__ import annotations

import pytest

from tests.support.project import Project, check, verdicts

AT_ONCE = """
pytest_plugins = ['touchstone.pytest_plugin.fixtures']
import touchstone.engine.progress
touchstone.engine.progress.QUIET = 0.0
"""
TWO = check("bad", "mov eax, 1", "{rax: 2}", claims="true") + check("good", "nop", "{rax: 0}")


def test_last_failed(project: Project) -> None:
    project.suite(TWO)
    project.run("-p", "cacheprovider")
    result = project.run("-p", "cacheprovider", "--lf", "-v")
    assert verdicts(result) == {"bad": "FAILED"}


def test_stop_at_the_first_failure(project: Project) -> None:
    project.options()
    project.suite(TWO)
    result = project.run("-x", "-v")
    assert verdicts(result) == {"bad": "FAILED"}
    assert project.journal()[-1] == "fake-amd stop"


def test_short_tracebacks(project: Project) -> None:
    project.suite(TWO)
    result = project.run("--tb=line")
    result.stdout.fnmatch_lines(["suite.yaml:5: CPU 0: rax: expected 0x2, measured 0x1"])
    result.stdout.no_fnmatch_line("*given*expected*measured*")


def test_fixtures_that_every_test_uses(project: Project) -> None:
    project.file(
        "conftest.py",
        "import pytest\npytest_plugins = ['touchstone.pytest_plugin.fixtures']\n"
        "@pytest.fixture(autouse=True)\ndef note(request):\n"
        "    print('before', request.node.name)\n    yield\n    print('after')\n",
    )
    project.suite(TWO)
    result = project.run("-s", "--setup-show")
    result.stdout.fnmatch_lines(["*before exits.bad[[]fake-amd[]]", "*after*"])


def test_collect_only_contacts_nothing(project: Project) -> None:
    project.options()
    project.suite(TWO)
    result = project.run("--collect-only", "-q")
    result.stdout.fnmatch_lines(
        ["suite.yaml::exits.bad[[]fake-amd[]]", "suite.yaml::exits.good[[]fake-amd[]]"]
    )
    assert project.journal() == []


@pytest.mark.parametrize(
    "words", [[], ["--capture=sys"], ["-s"], ["-n", "auto"]], ids=["fd", "sys", "no", "workers"]
)
def test_progress_is_seen_in_spite_of_capture(project: Project, words: list[str]) -> None:
    project.file("conftest.py", AT_ONCE)
    project.suite(check("good", "nop", "{rax: 0}"))
    result = project.run(*words, process=True)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        ["fake-amd: starting the fake machine (* s)", "*fake-amd: loading Veneer (* s)"]
    )
    assert "\r" not in result.stdout.str()
    project.run("-q", *words, process=True).stdout.no_fnmatch_line("*starting the fake machine*")


@pytest.mark.parametrize("words", [[], ["-n", "auto"]], ids=["alone", "workers"])
def test_progress_fits_the_terminal(
    project: Project, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    project.file("conftest.py", AT_ONCE)
    project.suite(check("good", "nop", "{rax: 0}"))
    result = project.run(*words, process=True)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["fake-amd: starting the fake machine (0", "    s)"])


def test_progress_only_for_what_takes_long(project: Project) -> None:
    project.suite(TWO)
    project.run().stdout.no_fnmatch_line("*starting the fake machine*")


RECORDS = """
import pytest
from touchstone.pytest_plugin.marks import CHECK

pytest_plugins = ["touchstone.pytest_plugin.fixtures"]
kept = []

@pytest.hookimpl(wrapper=True)
def pytest_runtest_logfinish():
    kept.append("reported")
    return (yield)

def pytest_sessionfinish(session):
    kept.extend(item.stash[CHECK].record is not None for item in session.items)
    print("kept", kept)
"""


def test_what_was_measured_of_a_check_goes_with_it(project: Project) -> None:
    """A night would keep some hundred thousand lines of tables that nobody reads."""
    project.suite(TWO)
    project.file("conftest.py", RECORDS)
    result = project.run("-s", "--alluredir=results")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*kept [[]'reported', 'reported', False, False]*"])
