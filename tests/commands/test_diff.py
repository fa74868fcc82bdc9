"""What `touchstone diff` says of two journals."""

from __future__ import annotations

import itertools
from pathlib import Path

import msgspec
import pytest

from tests.support.journals import SUBJECT, a_journal, cost_line, judged_line, key, target_line
from touchstone.cli import main
from touchstone.journal.compare import Change, compare
from touchstone.journal.lines import Key
from touchstone.journal.read import read_journal
from touchstone.words import Verdict

GOOD, BAD = Verdict.CONFORMANT, Verdict.DEVIATION
CAUSE = "rax: expected 0x1, measured 0x0, rdmsr"


def diff(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    status = main(["diff", *map(str, words)])
    text = capsys.readouterr().out
    assert all(len(line) <= 80 for line in text.splitlines() if "--markdown" not in words), text
    return status, text


def test_equal_runs_differ_in_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    verdicts = {key(f"exits.c{n}", target): verdict for n, verdict in enumerate(Verdict) for target in "ab"}
    a = a_journal(tmp_path / "a", verdicts, target_line("a", emulator="QEMU 7.2"), cost_line("cpuid", 100))
    later = {
        one: judged_line(one, verdict, at=2e9, seconds=9.0) for one, verdict in reversed(verdicts.items())
    }
    b = a_journal(tmp_path / "b", later, target_line("a", emulator="QEMU 7.2"), cost_line("cpuid", 104))
    assert not compare(read_journal(a), read_journal(b))
    assert diff(capsys, a, b) == (0, "no differences: 20 checks on 2 targets\n")
    assert diff(capsys, a, b, "--markdown") == (0, "No differences: 20 checks on 2 targets.\n")


def test_transitions_by_cause(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["exits.a", "exits.b", "exits.c", "exits.d", "exits.e"]
    a = a_journal(
        tmp_path / "a", dict(zip(map(key, names), [GOOD, GOOD, BAD, GOOD, Verdict.UNSUPPORTED], strict=True))
    )
    b = a_journal(
        tmp_path / "b",
        {
            key("exits.a"): judged_line(key("exits.a"), BAD, cause=CAUSE),
            key("exits.b"): judged_line(key("exits.b"), BAD, cause=CAUSE),
            key("exits.c"): GOOD,
            key("exits.d"): judged_line(key("exits.d"), Verdict.INFRASTRUCTURE, reason="no power"),
            key("exits.e"): GOOD,
        },
    )
    status, text = diff(capsys, a, b)
    assert status == 1
    assert text.split("\n\n", 1)[1] == (
        "2 regressions\n"
        f"  qemu-amd: conformant → deviation: {CAUSE}\n"
        "    exits.a\n"
        "    exits.b\n"
        "\n"
        "1 fixed\n"
        "  qemu-amd: deviation → conformant\n"
        "    exits.c\n"
        "\n"
        "1 other change\n"
        "  qemu-amd: unsupported → conformant\n"
        "    exits.e\n"
        "\n"
        "1 no longer judged\n"
        "  qemu-amd: conformant → infrastructure: no power\n"
        "    exits.d\n"
    )
    status, text = diff(capsys, b, a)
    assert status == 1, "a check that was fixed fails again"
    assert "1 regression\n  qemu-amd: conformant → deviation\n    exits.c\n" in text
    status, text = diff(capsys, a, b, "--markdown")
    assert "### 2 regressions\n\n- qemu-amd: conformant → deviation: rax" in text
    assert "\n  - exits.a\n  - exits.b\n" in text


def test_who_is_accused() -> None:
    """A regression is what the subject is accused of, and was not, or of less."""
    fatal = (Verdict.CRASH, Verdict.HANG)
    for before, after in itertools.permutations([None, *Verdict], 2):
        kind = Change(key("a"), before, after).kind
        assert (kind == "regression") == (
            (after in fatal and before not in fatal) or (after is BAD and before not in (BAD, *fatal))
        )
        if after in (None, Verdict.BLOCKED, Verdict.INFRASTRUCTURE):
            assert kind == "not judged"


def test_new_and_vanished(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = a_journal(tmp_path / "a", {key("exits.a"): GOOD, key("exits.b"): GOOD})
    b = a_journal(tmp_path / "b", {key("exits.a"): GOOD, key("exits.c"): BAD, key("exits.d"): None})
    status, text = diff(capsys, a, b)
    assert status == 0, "what was never known to hold is no regression"
    assert "2 new checks\n  qemu-amd: deviation\n    exits.c\n  qemu-amd: no verdict\n    exits.d\n" in text
    assert "1 check gone\n  qemu-amd: conformant\n    exits.b\n" in text
    assert "3 checks on 1 target, 1 of them without verdict" in " ".join(text.split())


def test_identity_is_check_target_and_subject(tmp_path: Path) -> None:
    """Whatever else differs: the same three are the same check."""
    a = a_journal(tmp_path / "a", {Key("a", "t", "veneer"): GOOD}, subject=SUBJECT)
    other = msgspec.structs.replace(SUBJECT, commit="b" * 40, content="f" * 16)
    b = a_journal(
        tmp_path / "b", {Key("a", "t", "veneer"): GOOD}, target_line("t", kernel="9"), subject=other
    )
    found = compare(read_journal(a), read_journal(b))
    assert (found.changes, found.new, found.vanished) == ([], [], [])
    c = a_journal(tmp_path / "c", {Key("a", "t", "other"): GOOD})
    found = compare(read_journal(a), read_journal(c))
    assert len(found.new) == len(found.vanished) == 1


def test_what_was_tested(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    verdicts = {key("exits.a"): GOOD}
    a = a_journal(tmp_path / "a", verdicts, target_line("qemu-amd", emulator="QEMU 7.2", cpus="4"))
    dirty = msgspec.structs.replace(SUBJECT, commit="b" * 40 + "-dirty", content="f" * 16)
    b = a_journal(
        tmp_path / "b",
        verdicts,
        target_line("qemu-amd", emulator="QEMU 10.0", microcode="0x1"),
        subject=dirty,
    )
    status, text = diff(capsys, a, b)
    assert status == 0
    assert text.split("\n\n", 1)[1].splitlines() == [
        "what was tested",
        "  veneer: commit: aaaaaaaaaaaa → bbbbbbbbbbbb-dirty",
        "  veneer: content: 0123456789abcdef → ffffffffffffffff",
        "  qemu-amd: cpus: 4 → not known",
        "  qemu-amd: emulator: QEMU 7.2 → QEMU 10.0",
        "  qemu-amd: microcode: not known → 0x1",
    ]


def test_costs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    verdicts = {key("exits.a"): GOOD}
    a = a_journal(
        tmp_path / "a", verdicts, cost_line("cpuid", 100), cost_line("msr", 100), cost_line("old", 1)
    )
    b = a_journal(
        tmp_path / "b", verdicts, cost_line("cpuid", 106), cost_line("msr", 95), cost_line("new", 1)
    )
    status, text = diff(capsys, a, b)
    assert status == 0
    assert "1 cost shifted\n  qemu-amd: cpuid: 100 → 106 instructions (+6%)\n" in text


def test_what_cannot_be_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "suite.yaml").write_text("suite: x\n")
    assert main(["diff", str(tmp_path / "suite.yaml"), str(tmp_path / "nothing")]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2, "both are named at once"
    assert "suite.yaml:1: not a journal" in errors[0]
    assert errors[1].endswith("nothing: No such file or directory")


def test_damaged_line_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = a_journal(tmp_path / "a", {key("exits.a"): GOOD})
    with a.open("a") as file:
        file.write("nonsense\n")
    assert main(["diff", str(a), str(a)]) == 0
    assert f"damaged line: {a}:5: " in capsys.readouterr().err
