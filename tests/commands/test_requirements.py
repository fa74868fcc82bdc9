"""`touchstone requirements`: what a run proved, by a journal made by hand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.journals import (
    SUBJECT,
    judged_line,
    key,
    planned_lines,
    run_line,
    target_line,
    write_journal,
)
from tests.support.requirement_texts import requirements
from touchstone.cli import main
from touchstone.journal.lines import CheckLine
from touchstone.words import Verdict

CHAPTERS = (
    "- chapter: Mine\n  requirements:\n"
    + "".join(f"    {line}\n" for line in requirements("need", "forgotten").splitlines())
    + "- chapter: Only AMD\n  requirements:\n"
    + "".join(f"    {line}\n" for line in requirements("svm", more="vendor: amd").splitlines())
    + requirements("loose", more="level: should")
)
A, B, C = key("exits.a"), key("exits.b"), key("exits.c", "bochs-intel")


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conformance").mkdir()
    (tmp_path / "conformance" / "requirements.yaml").write_text(CHAPTERS)
    proved = {
        "exits.a": ["need", "svm"],
        "exits.b": ["need"],
        "exits.c": ["need", "svm"],
        "exits.d": ["gone"],
    }
    lines = [
        CheckLine(at=1, check=one, title="T", area="exits", level="must", phase="loaded", proves=ids)
        for one, ids in proved.items()
    ]
    (tmp_path / "build" / "journals").mkdir(parents=True)
    write_journal(
        tmp_path / "build" / "journals" / "1.jsonl",
        run_line(SUBJECT),
        target_line("qemu-amd", vendor="amd"),
        target_line("bochs-intel", vendor="intel"),
        *planned_lines([A, B, C, key("exits.c"), key("exits.d")]),
        *lines,
        judged_line(A),
        judged_line(B, Verdict.DEVIATION, cause="x"),
        judged_line(C, Verdict.BLOCKED),
        judged_line(key("exits.d")),
    )


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["requirements", *words]) == 0
    return capsys.readouterr().out


def rows(text: str) -> list[str]:
    """Ids of the rows of the chapters' tables."""
    return re.findall(r"^\| ([a-z0-9-]+) \| (?:must|should|claimed|\|)", text, re.M)


def test_chapters_and_requirements(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys)
    overview, *chapters = text.split("\n## ")
    assert "| chapter | requirements | without checks | qemu-amd | bochs-intel |\n" in overview
    assert "| Mine | 2 | 1 | 1 FAIL | 1 not judged |\n" in overview
    assert "| Only AMD | 1 | - | 1 hold | - |\n" in overview
    assert "| others | 1 | 1 | - | - |\n" in overview
    assert "| in no file of requirements | 1 | - | 1 hold | - |" in overview
    mine = next(one for one in chapters if one.startswith("Mine"))
    assert "| requirement | level | qemu-amd | bochs-intel |\n" in mine
    assert "| need | must | 1 hold, 1 FAIL, 1 not judged | none judged |\n" in mine
    assert "| forgotten | must | - | - |\n" in mine
    assert "| svm | must, amd | 1 hold, 1 not judged | n/a |\n" in text
    assert "| loose | should | - | - |\n" in text
    assert "| gone |  | 1 hold | - |\n" in text
    last = text.split("without a check: ")[1].split(", ")
    assert {"forgotten", "loose\n"} <= set(last)
    assert not {"need", "svm"} & set(last)


def test_filters(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "--chapter=only amd")
    assert rows(text) == ["svm"]
    assert re.search(r"^1 of 1 requirements have checks in this run \(of \d{3} in all\)$", text, re.M)
    assert {"svm", "need"} <= set(rows(said(capsys, "--vendor=amd")))
    intel = rows(said(capsys, "--vendor=intel"))
    assert "need" in intel
    assert "exits-xsetbv" in intel
    assert "svm" not in intel
    assert "exits-xsetbv" not in rows(said(capsys, "--vendor=both"))
    should = rows(said(capsys, "--level=should"))
    assert "loose" in should
    assert "need" not in should
    assert {"loose", "need"} <= set(rows(said(capsys, "--level=should", "--level=must")))
    assert rows(said(capsys, "--failing")) == ["need"]
    assert said(capsys, "--failing", "--level=should").startswith("none of ")


def test_what_has_no_check_with_its_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "--without-checks", "--chapter=mine")
    assert "## Mine\n\n- forgotten (must): What forgotten says.\n" in text
    assert "need" not in text
    assert re.search(r"^1 of \d+ requirements have no check in this run$", text, re.M)


def test_the_checks_of_a_requirement(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "--checks", "--chapter=mine")
    assert "| requirement | level | qemu-amd | bochs-intel | checks |\n|---|---|---|---|---|\n" in text
    assert (
        "| need | must | 1 hold, 1 FAIL, 1 not judged | none judged | exits.a, exits.b, exits.c |\n" in text
    )
    assert "| forgotten | must | - | - | - |\n" in text


def test_a_file_with_a_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "conformance" / "requirements.yaml").write_text(requirements("a", more="level: shall"))
    assert main(["requirements"]) == 2
    message = "error: conformance/requirements.yaml:4:10: level must be must, should or claimed, not 'shall'"
    assert message in capsys.readouterr().err


def test_the_page_opens_where_something_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.html"
    assert main(["summary", "--html", str(page)]) == 0
    text = page.read_text()
    opened = re.findall(r'<details class="chapter" open><summary><b>([^<]*)</b>', text)
    assert opened == ["Mine"]
    cells = '<b class="bad">qemu-amd: 1 FAIL</b>; bochs-intel: 1 not judged'
    assert f"2 requirements, 1 without a check in this run; {cells}" in text
    assert '<td class="bad" data-column="qemu-amd">1 hold, 1 FAIL, 1 not judged</td>' in text
    assert re.search('<td class="none" data-column="[a-z-]+">n/a</td>', text)
    assert '<span class="quiet">no check in this run</span></td>' in text
    assert text.count('<details class="chapter"') > 20
