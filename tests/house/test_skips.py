"""A skip that is not listed fails the run in CI, and is shown elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.checkout import ROOT
from tests.support.skips import read_known

LISTED = """
[[skip]]
tests = "test_some.py::test_one[[a-*]"
reason = "no such"
why = "w"
runs = "r"
"""
CONFTEST = """
from pathlib import Path
from tests.support.skips import SkipWatch, read_known
def pytest_configure(config):
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(SkipWatch(read_known(Path("listed.toml")), "listed.toml", {strict}))
"""
SHOWN = "*skips that listed.toml does not list*"
TESTS = """
import pytest
@pytest.mark.parametrize("name", ["a-1", "a-2"])
def test_one(name: str) -> None:
    pytest.skip({reason!r})
@pytest.mark.xfail(strict=False)
def test_known_to_fail() -> None:
    assert 0
def test_two() -> None:
    pass
"""


def run(pytester: pytest.Pytester, *words: str, reason: str, strict: bool) -> pytest.RunResult:
    pytester.makefile(".toml", listed=LISTED.replace("[[a", "[a"))
    pytester.makeconftest(CONFTEST.format(strict=strict))
    pytester.makepyfile(test_some=TESTS.format(reason=reason))
    return pytester.runpytest_subprocess("-p", "no:hypothesispytest", *words)


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.mark.parametrize("workers", [(), ("-n1",)], ids=["alone", "worker"])
def test_a_skip_that_is_listed_passes(pytester: pytest.Pytester, workers: tuple[str, ...]) -> None:
    result = run(pytester, *workers, reason="no such thing", strict=True)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.no_fnmatch_line("*does not list*")


@pytest.mark.parametrize("workers", [(), ("-n1",)], ids=["alone", "worker"])
def test_another_reason_fails_the_run(pytester: pytest.Pytester, workers: tuple[str, ...]) -> None:
    result = run(pytester, *workers, reason="too lazy", strict=True)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines([SHOWN, "test_some.py::test_one[[]a-1]: too lazy"])


def test_elsewhere_it_is_only_shown(pytester: pytest.Pytester) -> None:
    result = run(pytester, reason="too lazy", strict=False)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines([SHOWN])


def test_a_module_that_skips_itself_counts(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_whole="import pytest\npytest.skip('not today', allow_module_level=True)")
    result = run(pytester, reason="no such thing", strict=True)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["test_whole.py: not today"])


def test_an_entry_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "listed.toml"
    file.write_text('[[skip]]\ntests = "t"\nreason = "r"\n')
    with pytest.raises(ValueError, match=r"entry 1: wants tests, reason, why and runs; has tests, reason"):
        read_known(file)


def test_tests_that_are_listed_exist() -> None:
    for known in read_known(ROOT / "tests" / "may_skip.toml"):
        assert list(ROOT.glob(known.tests.split("::", maxsplit=1)[0])), known.tests
