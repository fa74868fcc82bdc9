"""`touchstone costs`: figures of a run against those of a named one, by journals made by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.journals import a_journal, cost_line, key
from touchstone.cli import main
from touchstone.words import Verdict

ONE = {key("exits.a"): Verdict.CONFORMANT}


def costs(path: Path, **values: float) -> Path:
    return a_journal(path, ONE, *(cost_line(what, value) for what, value in values.items()))


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    status = main(["costs", *map(str, words)])
    said = capsys.readouterr()
    return status, said.out, said.err


def test_costs_of_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, costs(tmp_path / "a", cpuid=100, rdmsr=110))
    assert status == 0
    assert out.splitlines() == [
        "| cost | target | this run |",
        "|---|---|---|",
        "| cpuid | qemu-amd | 100 instructions |",
        "| rdmsr | qemu-amd | 110 instructions |",
    ]


@pytest.mark.parametrize(
    ("now", "limit", "wrong"),
    [
        ({"cpuid": 105, "rdmsr": 50}, [], []),
        ({"cpuid": 106, "rdmsr": 100}, [], ["- qemu-amd: cpuid: 100 → 106 instructions, +6.0%"]),
        ({"cpuid": 106, "rdmsr": 100}, ["--limit=6"], []),
        ({"cpuid": 101, "rdmsr": 100}, ["--limit=0"], ["- qemu-amd: cpuid: 100 → 101 instructions, +1.0%"]),
        ({"cpuid": 100}, [], ["- qemu-amd: rdmsr: 100 instructions, and not measured now"]),
    ],
    ids=["within", "above", "a limit of its own", "no rise", "not measured"],
)
def test_gate(
    now: dict[str, float],
    limit: list[str],
    wrong: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    named = costs(tmp_path / "named", cpuid=100, rdmsr=100)
    status, out, _ = run(capsys, costs(tmp_path / "now", **now), "--against", named, *limit)
    assert status == (1 if wrong else 0)
    assert [line for line in out.splitlines() if line.startswith("- ")] == wrong
    assert ("all 2 costs of" in out) == (not wrong)


def test_nothing_to_compare_is_no_success(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    named, none = costs(tmp_path / "named", cpuid=100), costs(tmp_path / "none")
    assert run(capsys, none)[0] == 2
    status, _, err = run(capsys, none, "--against", named)
    assert (status, "exits.py --journal=FILE" in err) == (2, True)
    other = a_journal(tmp_path / "other", ONE, cost_line("cpuid", 1, target="bochs-amd"))
    status, _, err = run(capsys, other, "--against", named)
    assert (status, "has no cost of a target and a subject of this run" in err) == (2, True)
    assert run(capsys, named, "--against", tmp_path / "gone")[0] == 2
    with pytest.raises(SystemExit, match="2"):
        run(capsys, named, "--limit=much")
