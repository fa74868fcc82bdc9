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


def test_matrix_and_runs_are_of_the_project_that_one_is_in(
    home: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also from below its top, and if what is to be run lies in another project, which pytest looks at."""
    other = tmp_path_factory.mktemp("other")
    (other / "targets").mkdir()
    (other / "pyproject.toml").write_text("[tool.pytest]\nstrict = true\n")
    (other / "targets" / "inventory.toml").write_text(
        '[targets.fake-other]\ndriver = "fake"\nvendor = "amd"\ncpus = 2\n'
    )
    (other / "targets" / "matrix.toml").write_text('[[matrix.all.include]]\ntarget = "fake-other"\n')
    suite = other / "suite.yaml"
    suite.write_text((home / "suite.yaml").read_text())

    def targets(place: Path, *words: str) -> set[str]:
        place.mkdir(exist_ok=True)
        monkeypatch.chdir(place)
        directory = tmp_path_factory.mktemp("night")
        assert main(["night", "all", "-d", str(directory), *PLUGINS, str(suite), *words]) in (0, 1)
        return {key.target for path in directory.glob("*.jsonl") for key in read_journal(path).planned}

    assert targets(home) == {"fake-amd"}
    assert targets(home / "below") == {"fake-amd"}
    assert targets(home, f"--touchstone-inventory={other / 'targets' / 'inventory.toml'}") == {"fake-other"}


def test_worst_status_counts(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for statuses, worst in (([0, 0], 0), ([10, 1], 1), ([11, 10], 11), ([0, 12], 12)):
        monkeypatch.setattr(night, "_run_together", lambda runs, statuses=statuses: (statuses, ()))
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
    # The other run waits for the target, or has not come so far: it ends as well.
    assert "1 of 3 planned checks have no verdict; go on with:\n    " in done.stdout


MEETS = """
import time
from pathlib import Path
import pytest

CITE = {"doc": "x", "title": "t", "says": "s"}

@pytest.mark.touchstone(id="exits.meets", title="T", area="exits", cite=CITE)
def test_meets(target, request):
    subject, name = request.config.getoption("touchstone_hypervisor"), request.node.callspec.id
    with Path("order").open("a") as file:
        file.write(f"{subject} has {name}\\n")
    end = time.monotonic() + 100
    while name == "fake-intel" and Path("order").read_text().count("has fake-amd") < 2:
        assert time.monotonic() < end, "the other run does not come while this one is at work"
        time.sleep(0.01)
    with Path("order").open("a") as file:
        file.write(f"{subject} leaves {name}\\n")
"""


def test_runs_are_at_work_at_the_same_time_but_not_on_one_box(
    home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whoever has fake-intel first leaves it when the other run has fake-amd."""
    (home / "targets" / "matrix.toml").write_text(MATRIX.replace('"fake-amd"', '["fake-amd", "fake-intel"]'))
    (home / "test_meets.py").write_text(MEETS)
    assert main(["night", "all", "-d", "tonight", *PLUGINS, "test_meets.py"]) == 0
    lines = (home / "order").read_text().splitlines()
    of_one_box = [line for line in lines if line.endswith("fake-amd")]
    assert [line.split()[1] for line in of_one_box] == ["has", "leaves"] * 2, lines
    out = capfd.readouterr().out
    assert out.count(" passed in ") == 2
    assert out.index(" passed in ") < out.index("no hypervisor"), "what the second prints comes behind it"


def test_old_nights_are_removed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(night, "_run_together", lambda runs: ([0], ()))
    nights = home / "build" / "nights"
    for day in range(40):
        (nights / f"202501{day:02}-020000").mkdir(parents=True)
    (nights / "kept-by-hand").mkdir()
    assert main(["night", "all"]) == 0
    names = sorted(path.name for path in nights.iterdir())
    assert len(names) == night.KEPT + 1
    assert names[0] == "20250111-020000"
    assert names[-1] == "kept-by-hand"
