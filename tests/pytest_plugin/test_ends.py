"""How a run ends that cannot write its results, or that is asked to end."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.project import Project, check

DISK_FULL = """
import errno, os, pathlib

pytest_plugins = ['touchstone.pytest_plugin.fixtures']
written = []
real = os.write

def write(file, data):
    if os.readlink(f"/proc/self/fd/{file}").startswith(RESULTS):
        written.append(file)
        if len(written) > ROOM:
            real(file, data[:10])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return real(file, data)

def write_text(path, text, **more):
    if str(path).startswith(RESULTS):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    return real_text(path, text, **more)

real_text = pathlib.Path.write_text
os.write = write
pathlib.Path.write_text = write_text
"""


def fill_up(project: Project, directory: Path, room: int) -> None:
    """Let the disk have room for so many writes."""
    text = DISK_FULL.replace("RESULTS", repr(str(directory))).replace("ROOM", str(room))
    project.file("conftest.py", text)


@pytest.mark.parametrize("workers", [[], ["-n", "auto"]], ids=["alone", "workers"])
def test_verdicts_go_on_when_the_disk_is_full(project: Project, workers: list[str]) -> None:
    results = project.path / "results"
    fill_up(project, results, room=2)
    project.suite("".join(check(f"c{n}", "nop", "{rax: 0}") for n in range(9)))
    result = project.run("--alluredir=results", *workers, process=True)
    result.assert_outcomes(passed=9)
    result.stdout.fnmatch_lines(["results were LOST, the verdicts above stand: *No space left on device"])
    assert result.ret == 12
    assert len(list(results.glob("*-result.json"))) == 2
    assert not list(results.glob("*.tmp")), "no half of a result"
    project.suite(check("wrong", "nop", "{rax: 1}", claims="true"))
    result = project.run("--alluredir=results", *workers, process=True)
    result.assert_outcomes(failed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED


@pytest.mark.parametrize("workers", [[], ["-n", "auto"]], ids=["alone", "workers"])
def test_checks_that_the_journal_has_lost_are_not_said_to_have_no_verdict(
    project: Project, workers: list[str]
) -> None:
    fill_up(project, project.path / "full", room=5)
    project.suite("".join(check(f"c{n}", "nop", "{rax: 0}") for n in range(3)))
    result = project.run("--journal=full/j.jsonl", *workers, process=True)
    result.assert_outcomes(passed=3)
    lines = ["the journal has no verdict of ? of 3 planned checks; when there is room, go on with:"]
    result.stdout.fnmatch_lines([*lines, "    pytest * --resume=full/j.jsonl"])
    assert "planned checks have no verdict" not in result.stdout.str()
    assert result.ret == 12


SIGNALLED = """
import os, pytest, signal, time

CITE = {"doc": "x", "title": "t", "says": "s"}

@pytest.mark.touchstone(id="exits.signalled", title="T", area="exits", cite=CITE)
def test_signalled(target):
    while not os.path.exists(SEEN):  # the controller has the verdict of the check before
        time.sleep(0.01)
    os.kill(CONTROLLER, signal.SIGNAL)
    time.sleep(600)
"""


NOTING = """
import pathlib

pytest_plugins = ["touchstone.pytest_plugin.fixtures"]
workers = []

def pytest_configure(config):
    workers.append(hasattr(config, "workerinput"))

def pytest_runtest_logreport(report):
    if not workers[0] and "first" in report.nodeid and report.when == "teardown":
        pathlib.Path(SEEN).touch()
"""


@pytest.fixture
def hangups_are_heard() -> Iterator[None]:
    """Under nohup, what a test starts would ignore SIGHUP as well."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("hangups_are_heard")
@pytest.mark.parametrize("workers", [[], ["-n", "auto"]], ids=["alone", "workers"])
@pytest.mark.parametrize(("name", "status"), [("SIGTERM", 143), ("SIGHUP", 129)])
def test_signal_ends_with_a_summary(project: Project, name: str, status: int, workers: list[str]) -> None:
    project.options()
    project.suite(check("first", "nop", "{rax: 0}"))
    controller = "os.getppid()" if workers else "os.getpid()"
    seen = repr(str(project.path / "seen"))
    project.file("conftest.py", NOTING.replace("SEEN", seen))
    text = SIGNALLED.replace("CONTROLLER", controller).replace("SIGNAL)", f"{name})").replace("SEEN", seen)
    project.file("test_signal.py", text)
    result = project.run(*workers, "suite.yaml", "test_signal.py", process=True)
    assert result.ret == status
    result.stdout.fnmatch_lines_random(
        ["exits  1 conformant*", f"*run was ended by {name}*", "* 1 passed in *"]
    )
    if not workers:  # those get half a minute from xdist, and what they started dies with them
        assert project.journal()[-1] == "fake-amd stop"
