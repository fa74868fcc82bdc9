"""`touchstone night`: all subjects of a matrix, each with a journal of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.project import Project, check, plugin_option
from touchstone.cli import main
from touchstone.commands import night
from touchstone.journal.read import read_journal

MATRIX = '[[matrix.all.include]]\ntarget = "fake-amd"\nsubject = ["veneer", "none"]\n'
PLUGINS = [*plugin_option(), "-p", "tests.support.fake_target", "-p", "no:cacheprovider", "-n", "0"]


@pytest.fixture
def home(project: Project, monkeypatch: pytest.MonkeyPatch) -> Path:
    project.file("targets/matrix.toml", MATRIX)
    project.suite(check("claimed", "nop", "{rax: 1}", claims="true") + check("good", "nop", "{rax: 0}"))
    monkeypatch.chdir(project.path)
    return project.path


def test_each_subject_has_a_run_and_a_journal(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["night", "all", "-d", "tonight", *PLUGINS]) == 1
    found = {path.stem: read_journal(path) for path in (home / "tonight").iterdir()}
    assert {name: one.runs[0].subject.name for name, one in found.items()} == {
        "veneer": "veneer",
        "none": "none",
    }
    assert all(len(one.judged) == 2 for one in found.values())
    assert main(["night", "all", "-d", "tonight", *PLUGINS]) == 2
    assert "tonight has a night already: --resume goes on with it" in capfd.readouterr().err
    assert main(["night", "all", "-d", "tonight", "--resume", *PLUGINS]) == 1, "the status of the whole night"
    assert "2 planned checks: 2 judged before, 0 judged now, 0 not judged" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["other"], "there is no matrix 'other'"),
        (["all", "--resume"], "there is no night in build/nights: name one with --directory"),
    ],
)
def test_what_is_asked_wrongly(
    home: Path, capsys: pytest.CaptureFixture[str], words: list[str], text: str
) -> None:
    assert main(["night", *words]) == 2
    assert text in capsys.readouterr().err


def test_worst_status_counts(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for statuses, worst in (([0, 0], 0), ([10, 1], 1), ([11, 10], 11), ([0, 12], 12)):
        left = list(statuses)
        monkeypatch.setattr(night, "_run_pytest", lambda words, left=left: (left.pop(0), False))
        assert main(["night", "all", "-d", f"night-{statuses[0]}-{statuses[1]}"]) == worst


SLOW = """
import os, pytest, signal

CITE = {"doc": "x", "title": "t", "says": "s"}

@pytest.mark.touchstone(id="exits.slow", title="T", area="exits", cite=CITE)
def test_slow(target):
    os.kill(int(os.environ["NIGHT"]), signal.SIGTERM)
    signal.pause()
"""


def test_signal_ends_the_night_with_a_summary(home: Path) -> None:
    (home / "test_slow.py").write_text(SLOW)
    code = (
        "import os, sys; from touchstone.cli import main; os.environ['NIGHT'] = str(os.getpid()); "
        "sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "night", "all", "-d", "tonight", *PLUGINS, "suite.yaml", "test_slow.py"],
        capture_output=True,
        text=True,
        check=False,
        env=dict(os.environ),
    )
    assert done.returncode == 128 + signal.SIGTERM, done.stdout + done.stderr
    assert "1 of 3 planned checks have no verdict; go on with: " in done.stdout
    assert [path.name for path in (home / "tonight").iterdir()] == ["veneer.jsonl"], "no second run"


def test_old_nights_are_removed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(night, "_run_pytest", lambda words: (0, False))
    nights = home / "build" / "nights"
    for day in range(40):
        (nights / f"202501{day:02}-020000").mkdir(parents=True)
    (nights / "kept-by-hand").mkdir()
    assert main(["night", "all"]) == 0
    names = sorted(path.name for path in nights.iterdir())
    assert len(names) == night.KEPT + 1
    assert names[0] == "20250111-020000"
    assert names[-1] == "kept-by-hand"
