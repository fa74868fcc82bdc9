"""What a person sees who opens a night's report from its file, in a browser that is one."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from tests.support.browser import measure, needs_browser, show
from tests.support.journals import (
    cost_line,
    judged_line,
    key,
    planned_lines,
    run_line,
    target_line,
    write_journal,
)
from tests.support.packed_pages import files_of
from tests.support.report_tools import needs_allure, write_results
from touchstone import cli
from touchstone.journal.lines import CheckLine, Line, Software
from touchstone.journal.nights import add_night, night_of
from touchstone.journal.read import read_journal
from touchstone.reporting.packed_page import INDEX, fragment
from touchstone.words import Verdict

pytestmark = [pytest.mark.nightly, needs_browser]
CAUSE = "CPU 0: rbx: expected 0x756e_6547, native, measured 0xffff_ffff_756e_6547"
TARGETS = ("qemu-amd", "bochs-intel", "bochs-tigerlake", "linux-amd")
PHONE, DESK = 390, 1280
"""Pixels."""


def a_night(directory: Path, day: int, failing: int) -> Path:
    """A journal of 400 checks on four targets, of which the first of the first target fail.

    All prove the requirement cpuid-native-basic.
    """
    keys = [key(f"exits.cpuid.c{n}", target) for target in TARGETS for n in range(100)]
    lines: list[Line] = [target_line(name, emulator="QEMU 7.2", kernel="6.1.0-40-amd64") for name in TARGETS]
    lines += [
        judged_line(one, Verdict.DEVIATION, cause=CAUSE) if number < failing else judged_line(one)
        for number, one in enumerate(keys)
    ]
    lines += [cost_line(f"exit: CPUID, leaf {n}", 100 + n + day) for n in range(3)]
    lines += [cost_line("exit: RDMSR", 300 if day < 2 else 390)]
    subject = Software(name="veneer", commit=f"{day}" * 40)
    first = run_line(subject, at=float(1_700_000_000 + day * 86400))
    planned = [
        msgspec.structs.replace(line, proves=["cpuid-native-basic"]) if isinstance(line, CheckLine) else line
        for line in planned_lines(keys)
    ]
    return write_journal(directory / f"{day}.jsonl", first, *planned, *lines)


def front_of(directory: Path, failing: Sequence[int]) -> Path:
    """The first page of the last of several nights."""
    page = directory / "front.html"
    for day, count in enumerate(failing, start=1):
        journal = str(a_night(directory, day, count))
        words = ["--history", str(directory / "nights.jsonl"), "--html", str(page), "--checks", "checks.html"]
        assert cli.main(["summary", journal, *words, "--output", str(directory / "summary.md")]) == 0
    return page


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return front_of(tmp_path_factory.mktemp("nights"), (0, 0, 7))


def test_first_screen_says_what_broke_where_and_since_when(front: Path) -> None:
    found = measure(front, DESK, "h1, li, h2")["measured"]
    (head,) = (one for one in found if one["text"] == "7 regressions on qemu-amd")
    assert head["top"] < 100
    (cause,) = (one for one in found if CAUSE in one["text"])
    assert cause["top"] < 500, "on the first screen"
    assert "qemu-amd: " in cause["text"]
    assert "exits.cpuid.c0" in cause["text"]
    assert "since 20" in cause["text"]
    assert "held on 20" in cause["text"]
    headings = [
        one["text"] for one in found[1:] if one["text"].startswith(("Reg", "Tar", "Req", "Run", "Costs"))
    ]
    assert headings == [
        "Regressions since the last run: 7 from one cause",
        "Targets and areas",
        "Run by run",
        "Costs, in instructions",
        "Requirements and targets",
    ]


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_legible_at_the_width_of(front: Path, width: int) -> None:
    """Wide tables scroll by themselves; the page does not, and nothing is too small to read."""
    found = measure(front, width, "h1, h2, p, li, small, code, th, td")
    assert found["needed"] <= found["width"], "the scroll bar takes some of it"
    assert min(one["size"] for one in found["measured"]) >= 12
    outside_of_tables = measure(front, width, "h1, h2, p, li, code")["measured"]
    assert max(one["right"] for one in outside_of_tables) <= width
    red = next(one["color"] for one in found["measured"] if one["text"] == "7 regressions on qemu-amd")
    cells = {one["text"]: one for one in found["measured"]}
    assert cells["7 deviation, 93 conformant"]["color"] == red
    assert cells["7 deviation, 93 conformant"]["right"] <= width, "what fails is seen without scrolling"
    assert cells["100 conformant"]["color"] != red


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_requirement_that_fails_is_seen_with_all_targets(front: Path, width: int) -> None:
    """Its chapter is open, and no target is out of the window."""
    found = measure(front, width, "summary b, .proofs th, .proofs td")["measured"]
    red = next(one["color"] for one in found if one["text"] == "qemu-amd: 1 FAIL")
    cells = [one for one in found if one["text"] in ("7 FAIL", "93 hold, 7 FAIL", "100 hold")]
    assert [one["text"] for one in cells] == ["93 hold, 7 FAIL", *["100 hold"] * 3], "each target's"
    assert cells[0]["color"] == red != cells[1]["color"]
    assert all(one["right"] <= width for one in cells)


def test_cost_says_since_when_it_is_what_it_is(front: Path) -> None:
    """A plot has no dates that a finger could point at."""
    found = [one["text"] for one in measure(front, PHONE, "p, li")["measured"]]
    (shift,) = (text for text in found if "exit: RDMSR" in text)
    assert re.fullmatch(r"20\S+ \S+, veneer 222222222222: exit: RDMSR \+30% qemu-amd", shift)
    assert any(re.fullmatch(r"Plotted from .* 111111111111 to .* 333333333333\.", text) for text in found)


def test_night_after_a_repair_names_what_is_fixed_on_its_first_screen(tmp_path: Path) -> None:
    page = front_of(tmp_path, (*[0] * 8, 3, 0))
    found = measure(page, DESK, "h1, h2, li, li a, .runs tr, summary")["measured"]
    assert found[0]["text"] == "no failures"
    (head,) = (one for one in found if one["text"] == "Fixed since the last run: 3 from one cause")
    assert head["color"] == found[0]["color"], "good"
    (fixed,) = (one for one in found if one["text"].startswith(CAUSE))
    assert fixed["top"] < 500
    assert "failed on 20" in fixed["text"]
    assert fixed["text"].endswith("qemu-amd: exits.cpuid.c0, exits.cpuid.c1, exits.cpuid.c2")
    assert sum(one["text"] == f"exits.cpuid.c{n}" for one in found for n in range(3)) == 3, "links"
    assert [one["text"] for one in found if one["text"].endswith(" earlier")] == ["3 earlier"], "of ten runs"


def test_nothing_is_asked_of_a_network(front: Path) -> None:
    shown = show(front)
    assert "<svg" in shown.dom
    assert shown.requests == []


@needs_allure
def test_packed_report_unpacks_itself(tmp_path: Path) -> None:
    verdicts = {(f"exits.c{n}", "qemu-amd"): "conformant" for n in range(20)}
    results = write_results(tmp_path / "results", {**verdicts, ("exits.bad", "bochs-intel"): "deviation"})
    page = tmp_path / "report.html"
    assert cli.main(["report", str(results), "-o", str(page), "--no-history", "--title", "Night"]) == 0
    there = show(page, f"#{fragment('exits.bad', 'bochs-intel', '')}").dom
    assert "CPU 0: rax: expected 0x1, measured 0x2" in there, "the link from the first page shows the check"
    shown = show(page)
    assert 'Environment: "bochs-intel"' in shown.dom.replace("&quot;", '"')
    assert shown.requests == []


@needs_allure
def test_status_of_a_check_is_seen_on_a_phone(tmp_path: Path) -> None:
    """Status, level, category and time are in one line, where there is room for it."""
    results = write_results(tmp_path / "results", {("exits.bad", "bochs-intel"): "deviation"})
    page = tmp_path / "report.html"
    assert cli.main(["report", str(results), "-o", str(page), "--no-history"]) == 0
    place = fragment("exits.bad", "bochs-intel", "")
    line = '[data-testid="test-result-info-title"] + div *'
    found = {one.get("text", ""): one for one in measure(page, PHONE, line, place)["measured"]}
    (category,) = (one for text, one in found.items() if text.startswith("Category: "))
    assert category["top"] > found["Failed"]["top"], "below it, and not squeezed into a column beside it"
    assert category["right"] <= PHONE


@needs_allure
def test_history_of_a_check_over_three_nights(tmp_path: Path) -> None:
    """The second with a bug, the third with it mended: what each earlier one found, of which commit."""
    one = key("exits.one")
    nights = tmp_path / "nights.jsonl"
    for day, verdict in enumerate((Verdict.CONFORMANT, Verdict.DEVIATION), start=1):
        subject = Software(name="veneer", commit=f"{day}" * 40)
        lines = run_line(subject, at=day / 10), judged_line(one, verdict, cause=CAUSE, at=day / 10)
        journal = write_journal(tmp_path / f"{day}.jsonl", lines[0], *planned_lines([one]), lines[1])
        add_night(nights, night_of([read_journal(journal)]))
    results = write_results(tmp_path / "r", {("exits.one", "qemu-amd"): "conformant"}, subject="veneer")
    page = tmp_path / "report.html"
    assert cli.main(["report", str(results), "-o", str(page), "--nights", str(nights)]) == 0
    place = json.loads(files_of(page.read_text())[INDEX])["exits.one@qemu-amd@veneer"]
    dom = show(page, f"#{place}/history").dom
    assert dom.count('data-testid="test-result-history-item"') == 2
    newest, oldest = dom.split('data-testid="test-result-history-item"')[1:]
    assert "<button" in newest.partition("1970")[0], "which opens what it found"
    assert "<button" not in oldest.partition("1970")[0]
    (result,) = (data for name, data in files_of(page.read_text()).items() if "test-results" in name)
    found = json.loads(result)
    assert found["transition"] == "fixed"
    assert found["history"][0]["error"]["message"] == f"deviation: {CAUSE} (veneer 222222222222)"
