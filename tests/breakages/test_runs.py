"""What a run said, and which runs are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.breakages.judging import SEEN
from tests.breakages.runs import REFUSED, read_outcome
from touchstone.pytest_plugin.gates import Status

FAILED, NOT_JUDGED, INTERRUPTED = 1, Status.NOT_JUDGED, 2


def results(tmp_path: Path, **verdicts: str) -> Path:
    """JUnit's file of a run in which these checks ended with these verdicts."""
    cases = "".join(
        f'<testcase name="{check}"><properties>'
        f'<property name="touchstone.check" value="{check}"/>'
        f'<property name="touchstone.verdict" value="{verdict}"/></properties>'
        f"{'' if verdict == 'conformant' else '<failure/>'}</testcase>"
        for check, verdict in verdicts.items()
    )
    file = tmp_path / "results.xml"
    file.write_text(f"<testsuites><testsuite>{cases}</testsuite></testsuites>")
    return file


def test_checks_that_fail_and_hold_are_told_apart(tmp_path: Path) -> None:
    outcome = read_outcome(FAILED, results(tmp_path, a="deviation", b="conformant"), 1.0, "")
    assert (outcome.red, outcome.green) == ({"a": "deviation"}, {"b"})


def test_a_subject_that_refuses_to_be_loaded_is_seen(tmp_path: Path) -> None:
    outcome = read_outcome(NOT_JUDGED, results(tmp_path, a="blocked", b="conformant"), 1.0, "")
    assert (outcome.red, outcome.green) == ({"a": REFUSED}, {"b"})
    assert REFUSED in SEEN


def test_a_check_that_another_ones_crash_blocks_is_not_seen(tmp_path: Path) -> None:
    outcome = read_outcome(FAILED, results(tmp_path, a="crash", b="blocked"), 1.0, "")
    assert outcome.red == {"a": "crash", "b": "blocked"}
    assert "blocked" not in SEEN


@pytest.mark.parametrize(
    ("status", "verdicts"),
    [
        (NOT_JUDGED, {"a": "infrastructure"}),
        (NOT_JUDGED, {"a": "infrastructure", "b": "blocked"}),
        (INTERRUPTED, {"a": "deviation"}),
    ],
    ids=["lab", "lab-and-what-it-blocks", "interrupted"],
)
def test_trouble_of_the_lab_is_no_run(tmp_path: Path, status: int, verdicts: dict[str, str]) -> None:
    with pytest.raises(AssertionError, match="no emulator"):
        read_outcome(status, results(tmp_path, **verdicts), 1.0, "no emulator")
