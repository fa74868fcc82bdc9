"""The project's own tests run side by side, in the units that tests/units.toml says, the longest first."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.checkout import ROOT
from tests.support.side_by_side import UNITS, Unit, Units, number_of_workers, pytest_cmdline_main

CONFTEST = """
from tests.support.side_by_side import (
    pytest_cmdline_main,
    pytest_collection_modifyitems,
    pytest_xdist_make_scheduler,
)
"""
SHORT = "def test_short(): pass\n"
LONG = """
import pytest
@pytest.mark.parametrize("target", ["linux-intel", "linux-amd"])
def test_suites(target) -> None: pass
"""


@pytest.fixture
def tests(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a file that no unit names, and one of which a test is the longest of all."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    pytester.makeini("[pytest]\n")
    pytester.makeconftest(CONFTEST)
    for name, text in (("suite/test_a.py", SHORT), ("acceptance/test_running_linux.py", LONG)):
        file = pytester.path / "tests" / name
        file.parent.mkdir(parents=True)
        file.write_text(text)
    return pytester.path / "tests"


def run(pytester: pytest.Pytester, *words: str) -> pytest.RunResult:
    return pytester.runpytest_subprocess("-p", "no:hypothesispytest", "-v", *words)


def test_a_folder_has_workers_and_the_longest_begins(pytester: pytest.Pytester, tests: Path) -> None:
    result = run(pytester, "tests", "-n1")
    result.assert_outcomes(passed=3)
    # With workers in workers, this would not end.
    result.stdout.re_match_lines_random([r"created: 1/1 worker"])
    order = [line.rpartition("::")[2].split(" ")[0] for line in result.outlines if line.startswith("[gw0]")]
    assert order == ["test_suites[linux-intel]", "test_suites[linux-amd]", "test_short"]


@pytest.mark.parametrize(
    ("words", "workers"),
    [
        (("tests",), True),
        (("tests/suite", "tests/acceptance/test_running_linux.py"), True),
        (("tests", "-n0"), False),
        (("tests", "-s"), False),
        (("tests", "--collect-only"), False),
        (("tests/suite/test_a.py",), False),
        (("tests", "-p", "no:xdist"), False),
    ],
    ids=str,
)
def test_who_gets_workers(
    pytester: pytest.Pytester, tests: Path, words: tuple[str, ...], workers: bool
) -> None:
    config = pytester.parseconfig("-p", "no:hypothesispytest", *words)
    before = getattr(config.option, "numprocesses", None)
    pytest_cmdline_main(config)
    assert getattr(config.option, "numprocesses", None) == (number_of_workers() if workers else before)


def test_workers_are_made(pytester: pytest.Pytester, tests: Path) -> None:
    result = run(pytester, "tests")
    result.assert_outcomes(passed=3)
    result.stdout.re_match_lines_random([rf"created: {number_of_workers()}/{number_of_workers()} workers"])


def test_the_first_entry_decides() -> None:
    units = Units((Unit(("a.py::x",), 9.0, True), Unit(("a.py::*", "b.py::*"), 5.0, False)))
    assert units.of("a.py::y[1]") == ("a.py::* b.py::*", 5.0)
    assert units.of("b.py::z") == ("a.py::* b.py::*", 5.0)
    assert units.of("c.py::z") == ("c.py", 0.0)
    units = Units((Unit(("a.py::x[*]",), 9.0, True), *units.entries))
    assert units.of("a.py::x[1]") == ("a.py::x[1]", 9.0)


def test_units_name_tests_that_exist() -> None:
    for entry in UNITS.entries:
        for pattern in entry.tests:
            file, _, name = pattern.partition("::")
            assert (found := list(ROOT.glob(file))), pattern
            function = name.partition("[")[0].strip("*")
            assert any(f"def {function}" in path.read_text() for path in found if path.is_file()), pattern
