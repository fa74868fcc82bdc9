"""Tests that are marked for the night are left out unless the command line names the mark."""

from __future__ import annotations

import pytest

from tests.support.checkout import ROOT

CONFTEST = """
from tests.support import nightly
def pytest_configure(config):
    nightly.register(config)
"""
TESTS = """
import pytest
@pytest.mark.nightly
def test_long() -> None:
    pass
def test_short() -> None:
    pass
"""


@pytest.mark.parametrize(
    ("words", "passed", "deselected"),
    [
        pytest.param((), 1, 1, id="without"),
        # The worker keeps to itself what it has left out.
        pytest.param(("-n1",), 1, 0, id="in a worker"),
        pytest.param(("-m", "nightly"), 1, 1, id="with"),
        pytest.param(("-m", "not nightly"), 1, 1, id="not"),
        pytest.param(("-m", "nightly or not nightly"), 2, 0, id="all"),
    ],
)
def test_the_mark_says_when_a_test_runs(
    words: tuple[str, ...],
    passed: int,
    deselected: int,
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test_some=TESTS)
    result = pytester.runpytest_subprocess("-p", "no:hypothesispytest", "--strict-markers", "-v", *words)
    result.assert_outcomes(passed=passed, deselected=deselected)
    ran = "test_long PASSED" in result.stdout.str() or "PASSED test_some.py::test_long" in result.stdout.str()
    assert ran == ("nightly" in words or "nightly or not nightly" in words)
