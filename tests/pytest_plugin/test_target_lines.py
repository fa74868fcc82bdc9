"""While a run takes long, a line for each target says how far it is."""

from __future__ import annotations

import pytest

from tests.support.project import Project, check
from touchstone.pytest_plugin import target_lines
from touchstone.reporting.properties import JudgedCheck
from touchstone.words import Verdict


def judged(target: str, verdict: Verdict, number: int = 0) -> JudgedCheck:
    return JudgedCheck(verdict, f"exits.c{number}", target, "exits", "must", "loaded", "veneer")


def test_lines() -> None:
    found = [
        judged("a", Verdict.CONFORMANT),
        judged("a", Verdict.CRASH),
        judged("a", Verdict.BLOCKED),
        judged("b", Verdict.KNOWN_DEVIATION),
    ]
    assert [line for _, line in target_lines.target_lines(found, {"a": 9, "b": 1, "c": 2})] == [
        "a: 3 of 9 checks, 1 failed, 1 could not be judged",
        "b: all 1 checks",
        "c: 0 of 2 checks",
    ]


@pytest.mark.parametrize("words", [(), ("-n", "2")], ids=["alone", "with workers"])
def test_run_shows_them_once_it_takes_long(
    project: Project, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    project.suite(check("good", "nop", "{rax: 0}") + check("wrong", "nop", "{rax: 2}", claims="true"))
    assert " checks, 1 failed" not in project.run(*words, target="all").stdout.str(), "it takes no minute"
    monkeypatch.setattr(target_lines, "EVERY", 0.0)
    lines = project.run(*words, target="all").stdout.lines
    for target in ("fake-amd", "fake-intel"):
        found = [line for line in lines if " checks" in line and f"{target}: " in line]
        found = [line[line.index(target) :] for line in found]  # behind the dots
        assert f"{target}: 1 of 2 checks" in found
        assert found[-1] == f"{target}: all 2 checks, 1 failed"
        assert found.count(found[-1]) == 1, "a target that is done is not told again"
    assert not [one for one in project.run("-q", *words).stdout.lines if " of 2 checks" in one]
