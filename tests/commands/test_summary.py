"""`touchstone summary`: what nights found, by journals made by hand."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from tests.support.journals import (
    a_journal,
    cost_line,
    judged_line,
    key,
    planned_lines,
    run_line,
    target_line,
    write_journal,
)
from touchstone.cli import main
from touchstone.journal import nights
from touchstone.journal.lines import Difference, EvidenceLine, JudgedLine, Key, Software
from touchstone.journal.nights import night_of, read_nights
from touchstone.journal.read import read_journal
from touchstone.journal.writer import JournalWriter
from touchstone.words import Verdict

GOOD, BAD = Verdict.CONFORMANT, Verdict.DEVIATION
DAY = 86400
CAUSE = "rax: expected 0x1, measured 0x0, rdmsr"
Verdicts = Mapping[Key, Verdict | JudgedLine | None]
A, B, C = key("exits.a"), key("exits.b"), key("exits.c", "bochs-intel")


def failed(one: Key, cause: str = CAUSE) -> JudgedLine:
    return judged_line(one, BAD, cause=cause)


def night(path: Path, day: int, verdicts: Verdicts, *, name: str = "veneer") -> Path:
    """A journal of that day, of a commit that begins with its number."""
    subject = Software(name=name, commit=f"{day}" * 40)
    return write_journal(
        path / f"{name}-{day}.jsonl",
        run_line(subject, at=float(1_700_000_000 + day * DAY)),
        *planned_lines(list(verdicts)),
        *(
            one if isinstance(one, JudgedLine) else judged_line(at, one)
            for at, one in verdicts.items()
            if one is not None
        ),
    )


def date(day: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(1_700_000_000 + day * DAY))


def summary(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert main(["summary", *map(str, words)]) == 0
    return capsys.readouterr().out


def test_regressions_by_cause_and_since_when(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    history = tmp_path / "nights.jsonl"
    days: list[Verdicts] = [
        {A: GOOD, B: GOOD, C: GOOD},
        {A: GOOD, B: failed(B, "old"), C: GOOD},
        {A: GOOD, B: failed(B, "old"), C: judged_line(C, Verdict.INFRASTRUCTURE, reason="no power")},
        {A: failed(A), B: failed(B, "old"), C: failed(C)},
    ]
    texts = [
        summary(capsys, night(tmp_path, day, verdicts), "--history", history)
        for day, verdicts in enumerate(days, start=1)
    ]
    assert "# Touchstone: no failures" in texts[0]
    assert "no earlier run to compare with" in texts[0]
    assert "## Regressions since the last run: 1" in texts[1]
    assert "# Touchstone: no regressions, 1 check fails" in texts[2], "the lab's trouble is no regression"
    assert "**Hypervisor:** 1 of 2 judged checks conformant (50.0%)" in texts[2]
    assert "**Lab:** 1 check could not be judged, on bochs-intel" in texts[2]
    assert "- bochs-intel: `exits.c`: infrastructure: no power" in texts[2]
    last = texts[3]
    assert "# Touchstone: 2 regressions on qemu-amd and bochs-intel\n" in last
    assert f"; compared with {date(3)}, veneer 333333333333" in last
    regressions, known = last.split("## Failures that are known: 1")
    assert (
        f"**{CAUSE}** (deviation): qemu-amd: `exits.a`; since {date(4)}, veneer 444444444444, "
        f"held on {date(3)}, veneer 333333333333"
    ) in regressions
    assert f"bochs-intel: `exits.c`; since {date(4)}, veneer 444444444444, held on {date(2)}" in regressions
    assert f"**old** (deviation): qemu-amd: `exits.b`; since {date(2)}, veneer 222222222222" in known
    assert "| qemu-amd | 2 deviation | 2 deviation |" in last
    assert len(last.splitlines()) < 40, "a screen"
    again = summary(capsys, tmp_path / "veneer-4.jsonl", "--history", history)
    assert again == last, "a night is in its history once"
    assert [one.at for one in read_nights(history)] == [1_700_000_000 + day * DAY for day in (1, 2, 3, 4)]


def test_what_is_fixed_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With what was wrong and when; a night that did not judge a check says nothing of it."""
    history, page = tmp_path / "nights.jsonl", tmp_path / "page.html"
    days: list[Verdicts] = [
        {A: GOOD, B: GOOD, C: failed(C)},
        {A: failed(A, "a < b"), B: GOOD, C: failed(C)},
        {A: failed(A, "a < b"), B: failed(B), C: judged_line(C, Verdict.INFRASTRUCTURE, reason="no power")},
        {A: GOOD, B: None, C: GOOD},
    ]
    for day, verdicts in enumerate(days, start=1):
        journal = night(tmp_path, day, verdicts)
        text = summary(capsys, journal, "--history", history, "--html", page, "--checks", "all.html")
        assert ("Fixed since" in text) == ("Fixed since" in page.read_text()) == (day == 4)
    assert "# Touchstone: no failures" in text
    _, _, fixed = text.partition("## Fixed since the last run: 2\n\n")
    assert fixed.splitlines()[:3] == [
        f"- **a \\< b** (deviation): qemu-amd: `exits.a`; failed from {date(2)}, veneer 222222222222 "
        f"to {date(3)}, veneer 333333333333",
        f"- **{CAUSE}** (deviation): bochs-intel: `exits.c`; failed from {date(1)}, veneer 111111111111 "
        f"to {date(2)}, veneer 222222222222",
        "",
    ]
    assert ", 2 fixed</p>" in page.read_text()
    _, _, fixed = page.read_text().partition("Fixed since the last run: 2 <small>from 2 causes</small>")
    assert f"<b>a &lt; b</b> (deviation)<br>\nfailed from {date(2)}, " in fixed
    assert '<a href="all.html#exits.a%40qemu-amd%40veneer"><code>exits.a</code></a>' in fixed


def test_each_subject_has_its_score_and_its_facts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    journals = [
        a_journal(
            tmp_path / f"{name}.jsonl",
            {key("exits.a", subject=name): GOOD, key("exits.b", subject=name): verdict},
            target_line("qemu-amd", subject=f"{name} 1"),
            subject=Software(name=name),
        )
        for name, verdict in (("one", GOOD), ("two", Verdict.DEVIATION))
    ]
    text = summary(capsys, *journals, "--html", tmp_path / "page.html")
    score = "one: 2 of 2 judged checks conformant (100.0%); two: 1 of 2 judged checks conformant (50.0%)"
    assert f"**Hypervisor:** {score}, 0 fixed\n" in text
    page = (tmp_path / "page.html").read_text()
    assert f"<b>Hypervisor:</b> {score}<" in page
    assert "<b>qemu-amd (one)</b>: subject: one 1<" in page
    assert "<b>qemu-amd (two)</b>: subject: two 1<" in page


def test_what_is_not_planned_any_more_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    history = tmp_path / "nights.jsonl"
    keys = [key(f"exits.c{n}", target) for n in range(3) for target in ("x", "y")]
    assert "Not in this run" not in summary(
        capsys, night(tmp_path, 1, dict.fromkeys(keys, GOOD)), "--history", history
    )
    left: Verdicts = {keys[0]: GOOD, keys[2]: None}
    page = tmp_path / "page.html"
    text = summary(capsys, night(tmp_path, 2, left), "--history", history, "--html", page)
    assert "**Not in this run:** 4 checks of the run before (x: 1, y: 3)" in text, (
        "without a verdict: the lab's"
    )
    assert '<span class="lab">4 checks of the run before (x: 1, y: 3)</span>' in page.read_text()


def test_checks_of_a_cause_are_told_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys = [key(f"exits.c{n}", target) for n in range(5) for target in ("x", "y")]
    history = tmp_path / "h"
    summary(capsys, night(tmp_path, 1, dict.fromkeys(keys, GOOD)), "--history", history)
    text = summary(capsys, night(tmp_path, 2, {one: failed(one) for one in keys}), "--history", history)
    assert text.count(CAUSE) == 1
    assert "x: `exits.c0`, `exits.c1`, `exits.c2` and 2 more; y: `exits.c0`" in text
    others = {**dict.fromkeys(keys, GOOD), keys[0]: Verdict.MACHINE, keys[1]: Verdict.BLOCKED}
    text = summary(capsys, night(tmp_path, 3, others), "--history", history)
    assert "8 of 8 judged checks conformant (100.0%), 9 fixed" in text


def test_checks_that_measured_other_values_of_the_same_register_are_one_cause(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    history, page = tmp_path / "h", tmp_path / "page.html"
    keys = [key(f"exits.c{n}") for n in range(3)]
    summary(capsys, night(tmp_path, 1, dict.fromkeys(keys, GOOD)), "--history", history)
    seen = [f"0x{n + 1:x}234567800000000" for n in range(3)]
    verdicts = {
        one: failed(one, f"rbx: measured {value}, nop") for one, value in zip(keys, seen, strict=True)
    }
    journal = night(tmp_path, 2, verdicts)
    writer = JournalWriter(journal)
    for one, value in zip(keys, seen, strict=True):
        found = [Difference(what="rbx", expected="0x0, native", measured=value)]
        writer.write(
            EvidenceLine(at=1, check=one.check, target=one.target, subject=one.subject, differences=found)
        )
    writer.close()
    text = summary(capsys, journal, "--history", history, "--html", page)
    assert (
        f"- **rbx differs in bits 63:32** (deviation, such as rbx: measured {seen[0]}, nop): "
        "qemu-amd: `exits.c0`, `exits.c1`, `exits.c2`; since "
    ) in text
    assert text.count("differs") == page.read_text().count("differs") == 1


def test_what_was_never_judged_before_is_no_regression(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    history = tmp_path / "h"
    summary(capsys, night(tmp_path, 1, {A: GOOD}), "--history", history)
    text = summary(capsys, night(tmp_path, 2, {A: GOOD, B: failed(B), C: None}), "--history", history)
    assert "no regressions, 1 check fails" in text
    assert "## Failures of what was not judged before: 1" in text
    assert "bochs-intel: `exits.c`: no verdict: the run ended before" in text


def test_what_fails_in_the_first_run_is_compared_with_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = summary(capsys, night(tmp_path, 1, {A: failed(A), B: GOOD}), "--history", tmp_path / "h")
    assert "# Touchstone: 1 check fails" in text
    assert "no regressions" not in text


def test_subjects_of_a_night(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = key("exits.a", subject="other")
    one = night(tmp_path, 1, {A: GOOD})
    two = night(tmp_path, 1, {other: failed(other)}, name="other")
    text = summary(capsys, one, two)
    assert "| qemu-amd (veneer) | 1 conformant | 1 conformant |" in text
    assert "| qemu-amd (other) | 1 deviation | 1 deviation |" in text
    history = tmp_path / "h"
    summary(capsys, night(tmp_path, 2, {A: GOOD}), "--history", history)
    summary(capsys, night(tmp_path, 3, {other: GOOD}, name="other"), "--history", history)
    text = summary(capsys, night(tmp_path, 4, {A: failed(A)}), "--history", history)
    assert "# Touchstone: 1 regression on qemu-amd\n" in text
    assert f"compared with {date(2)}, veneer" in text, "not with the night of another subject"


def test_night_is_as_its_journals_say_and_small(tmp_path: Path) -> None:
    verdicts: dict[Key, Verdict | None] = dict(
        zip((key(f"exits.v{n}") for n in range(11)), [*Verdict, None], strict=True)
    )
    journal = read_journal(night(tmp_path, 1, {**verdicts, C: GOOD}))
    found = night_of([journal])
    assert found.verdicts() == {**verdicts, C: GOOD}
    assert msgspec.json.decode(msgspec.json.encode(found), type=type(found)) == found
    many = {
        key(f"broadcast.a-name-of-usual-length-{n}", f"target-{t}"): None
        for n in range(900)
        for t in range(10)
    }
    lines = {one: failed(one, f"{one}: {CAUSE * 9}") for one in many}
    worst = night_of([read_journal(night(tmp_path, 2, lines))])
    assert len(msgspec.json.encode(worst)) < 200_000


def test_history_does_not_grow_for_ever(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nights, "KEPT", 3)
    history = tmp_path / "h"
    (tmp_path / "one").mkdir()
    for day in range(5):
        summary(capsys, night(tmp_path / "one", day, {A: GOOD}), "--history", history)
    assert len(read_nights(history)) == 3


def test_first_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    history, page = tmp_path / "h", tmp_path / "page.html"
    many: Verdicts = {key(f"exits.c{n}"): GOOD for n in range(99)}
    summary(capsys, night(tmp_path, 1, {**many, A: GOOD, C: GOOD}), "--history", history)
    verdicts: Verdicts = {
        **many,
        A: failed(A, "rax <b>"),
        C: judged_line(C, Verdict.BLOCKED, reason="no power"),
    }
    words = ["--history", history, "--html", page, "--checks", "checks.html", "--title", "Night"]
    summary(capsys, night(tmp_path, 2, verdicts), *words)
    text = page.read_text()
    assert '<h1 class="bad">1 regression on qemu-amd</h1>' in text
    assert "<b>Hypervisor:</b> 99 of 100 judged checks conformant (99.0%)" in text, (
        "without the lab's trouble"
    )
    assert '<a href="checks.html">' in text
    assert '<b class="bad">rax &lt;b&gt;</b> (deviation)' in text
    assert '<a href="checks.html#exits.a%40qemu-amd%40veneer"><code>exits.a</code></a>' in text
    assert f"since {date(2)}, veneer 222222222222" in text
    assert f"held on {date(1)}, veneer 111111111111" in text
    wrong = '<td class="bad" data-column="exits"><b>1 deviation</b>, 99 conformant</td>'
    assert wrong in text, "one failure of a hundred is not green, and comes first"
    assert '<td class="lab" data-column="all"><b>1 blocked</b></td>' in text
    rows = re.findall(r"<tr><th>(\d[^<]*)</th>", text)
    assert rows == [f"{date(2)}, veneer 222222222222", f"{date(1)}, veneer 111111111111"], (
        "this run is the first"
    )
    assert "no check in this run" in text
    assert "<script" not in text
    assert "http:" not in text


def test_first_line_names_few_targets_and_counts_many(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = [key("exits.a", f"target-{n}") for n in range(4)]
    history = tmp_path / "h"
    summary(capsys, night(tmp_path, 1, dict.fromkeys(keys, GOOD)), "--history", history)
    verdicts = {one: failed(one) if number < 3 else GOOD for number, one in enumerate(keys)}
    text = summary(capsys, night(tmp_path, 2, verdicts), "--history", history)
    assert text.startswith("# Touchstone: 3 regressions on 3 of 4 targets\n")


def test_costs_over_nights_are_plotted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    history, page = tmp_path / "h", tmp_path / "page.html"
    for day, (cpuid, rdmsr) in enumerate([(100, 50), (100, 50), (110, 51)], start=1):
        journal = night(tmp_path, day, {A: GOOD})
        writer = JournalWriter(journal)
        writer.write(cost_line("exit: CPUID", cpuid))
        writer.write(cost_line("exit: RDMSR", rdmsr))
        writer.close()
        summary(capsys, journal, "--history", history, "--html", page)
    text = page.read_text()
    assert "<h2>Costs, in instructions</h2>" in text
    rose, same = re.findall(r"<tr><th>exit: .*?</tr>", text, re.DOTALL)
    assert '<td class="bad">110 <b>+10%</b><br><svg' in rose
    assert f"<title>{date(1)}, veneer 111111111111: 100\n{date(3)}, veneer 333333333333: 110</title>" in text
    assert '<td class="">51 <small>+1</small><br><svg' in same
    path = re.search(r'<path d="M(\S+) (\S+) L(\S+) (\S+) L(\S+) (\S+)"/>', rose)
    assert path
    assert path[2] == path[4]
    assert float(path[6]) < float(path[4]), "more is higher"
    summary(capsys, night(tmp_path, 4, {A: GOOD}), "--history", history, "--html", page)
    assert "110" in page.read_text(), "a night that measured nothing shows the last figures"


@pytest.mark.parametrize("command", ["summary", "requirements"])
def test_what_cannot_be_read(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([command]) == 2
    assert "there is no journal in build/journals: name one" in capsys.readouterr().err
    (tmp_path / "x").write_text("nonsense\n")
    assert main([command, "x", "y"]) == 2
    said = capsys.readouterr().err
    assert "x:1: not a journal" in said
    assert "y: No such file or directory" in said


def test_damaged_history_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "h").write_text("nonsense\n")
    journal = night(tmp_path, 1, {A: GOOD})
    assert main(["summary", str(journal), "--history", str(tmp_path / "h")]) == 2
    assert f"{tmp_path / 'h'}:1: not a night" in capsys.readouterr().err
    assert (tmp_path / "h").read_text() == "nonsense\n"
