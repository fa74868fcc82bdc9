"""The journal of a run, as pytest runs write it, and what goes on after one that was broken off."""

from __future__ import annotations

import os
import signal
from collections import Counter

import pytest

from tests.support.project import Project, check
from touchstone.journal.read import Journal, read_journal
from touchstone.words import Verdict

NOPS = "".join(check(f"c{n}", "nop", "{rax: 0}") for n in range(5))
WRONG = check("wrong", "nop", "{rax: 1}", claims="true")
FAKE_INTEL = "fake-intel"


def journal_of(project: Project, name: str = "journal.jsonl") -> Journal:
    return read_journal(project.path / name)


def verdicts_of(journal: Journal) -> dict[str, Verdict]:
    return {f"{key.check}[{key.target}]": line.verdict for key, line in journal.judged.items()}


@pytest.mark.parametrize("workers", [[], ["-n", "auto"]], ids=["alone", "workers"])
def test_everything_is_written_down(project: Project, workers: list[str]) -> None:
    project.suite(NOPS + WRONG + check("amd", "nop", "{rax: 0}", requires="vendor == amd", level="should"))
    result = project.run(*workers, "--journal=journal.jsonl", target="all", process=bool(workers))
    result.assert_outcomes(passed=11, failed=2, skipped=1)
    result.stdout.fnmatch_lines(["journal: journal.jsonl"])
    found = journal_of(project)
    (run,) = found.runs
    assert (run.subject.name, len(run.subject.content)) == ("veneer", 16)
    assert run.touchstone.version
    assert run.arguments[-1] == "--target=all"
    assert found.damaged == []
    assert not found.unfinished
    assert [str(key) for key in found.planned][:2] == ["exits.c0[fake-amd]", "exits.c1[fake-amd]"]
    assert found.missing == found.interrupted == []
    assert set(found.planned) == set(found.started) == set(found.judged)
    assert Counter(line.verdict for line in found.judged.values()) == {
        Verdict.CONFORMANT: 11,
        Verdict.DEVIATION: 2,
        Verdict.UNSUPPORTED: 1,
    }
    assert found.targets["fake-amd"].facts["driver"] == "fake"
    assert found.targets["fake-amd"].facts["subject"] == "0.1"
    assert found.targets["fake-amd"].about.startswith("Fake CPU")
    assert (found.checks["exits.amd"].level, found.checks["exits.amd"].source) == ("should", "suite.yaml:30")
    assert found.ended is not None
    assert found.ended.status == result.ret == 1
    # The first check of a target starts it, and the others find it where they need it.
    reaching = {str(key): line.reaching for key, line in found.judged.items() if line.reaching}
    assert reaching.keys() == {"exits.c0[fake-amd]", "exits.c0[fake-intel]"}
    assert all(line.reaching <= line.seconds for line in found.judged.values())
    for key, line in found.judged.items():
        if line.verdict is Verdict.DEVIATION:
            assert line.cause == "rax: expected 0x1, measured 0x0, nop"
            evidence = found.evidence[key]
            (first, *_) = evidence.differences
            assert (first.what, first.expected, first.measured) == ("rax", "0x1", "0x0")
            assert f"--target={key.target}" in evidence.again
            assert "expected 0x1, measured 0x0" in evidence.text
        elif line.verdict is Verdict.UNSUPPORTED:
            assert line.reason == "needs vendor == amd, fake-intel has intel"


def test_default_place_is_new_for_each_run(project: Project) -> None:
    project.suite(NOPS)
    for _ in range(2):
        project.run().assert_outcomes(passed=5)
    names = sorted((project.path / "build" / "journals").iterdir())
    assert len(names) == 2
    assert all(len(read_journal(name).judged) == 5 for name in names)


def test_collection_alone_writes_no_journal(project: Project) -> None:
    project.suite(NOPS)
    project.run("--collect-only", "--journal=journal.jsonl")
    assert not (project.path / "journal.jsonl").exists()


def test_outcome_is_kept_beside_the_verdict(project: Project) -> None:
    project.file(
        "hypervisor/veneer.toml",
        (project.path / "hypervisor" / "veneer.toml").read_text()
        + '[[known-deviations]]\ncheck = "exits.wrong"\nreason = "to be mended"\n',
    )
    project.suite(WRONG)
    project.run("--journal=journal.jsonl").assert_outcomes(xfailed=1)
    (line,) = journal_of(project).judged.values()
    assert (line.outcome, line.verdict) == (Verdict.DEVIATION, Verdict.KNOWN_DEVIATION)
    assert line.deviation == "hypervisor/veneer.toml:9"
    assert journal_of(project).evidence


def test_parameters_of_a_python_check_are_told_apart(project: Project) -> None:
    project.file(
        "test_checks.py",
        "import pytest\n"
        "CITE = {'doc': 'x', 'title': 't', 'says': 's'}\n"
        "MARK = pytest.mark.touchstone\n"
        "@pytest.mark.parametrize('size', [1, 2])\n"
        "@MARK(id='exits.sizes', title='T', area='exits', cite=CITE)\n"
        "def test_sizes(target, size): ...\n"
        "@pytest.mark.parametrize('name', [\n"
        "    pytest.param('a', marks=MARK(id='exits.a', title='A')),\n"
        "    pytest.param('b', marks=MARK(id='exits.b', title='B'))])\n"
        "@MARK(area='exits', cite=CITE)\n"
        "def test_names(target, name): ...\n",
    )
    project.run("--journal=journal.jsonl", "test_checks.py").assert_outcomes(passed=4)
    assert [key.check for key in journal_of(project).planned] == [
        "exits.sizes[1]",
        "exits.sizes[2]",
        "exits.a",
        "exits.b",
    ]


def test_worker_that_dies_costs_its_check(project: Project) -> None:
    project.suite(NOPS + check("dies", "emms", "{rax: 0}", claims="true") + check("last", "nop", "{rax: 0}"))
    result = project.run("-n", "auto", "--journal=journal.jsonl", target="all", process=True)
    result.assert_outcomes(passed=12, errors=2)
    found = journal_of(project)
    assert found.missing == []
    dead = {str(key): line for key, line in found.judged.items() if line.verdict is not Verdict.CONFORMANT}
    assert {name: line.verdict for name, line in dead.items()} == {
        "exits.dies[fake-amd]": Verdict.INFRASTRUCTURE,
        "exits.dies[fake-intel]": Verdict.INFRASTRUCTURE,
    }
    assert all("crashed while running" in line.reason for line in dead.values())


KILLED = """
import os, pytest, signal

CITE = {"doc": "x", "title": "t", "says": "s"}

@pytest.mark.touchstone(id="exits.killed", title="T", area="exits", cite=CITE)
def test_killed(target):
    if not os.path.exists("killed"):
        open("killed", "w").close()
        os.kill(CONTROLLER, signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("workers", [[], ["-n", "1"]], ids=["alone", "workers"])
def test_killed_run_is_resumed(project: Project, workers: list[str]) -> None:
    project.options()
    project.suite(NOPS + WRONG, name="a.yaml")
    project.suite(check("late", "nop", "{rax: 0}", phase="unloaded"), name="z.yaml")
    project.file("test_killed.py", KILLED.replace("CONTROLLER", "os.getppid()" if workers else "os.getpid()"))
    files = ["a.yaml", "test_killed.py", "z.yaml"]
    result = project.run(*workers, "--journal=journal.jsonl", *files, process=True)
    assert result.ret in (-signal.SIGKILL, 128 + signal.SIGKILL)
    broken_off = journal_of(project)
    assert broken_off.ended is None
    assert [str(key) for key in broken_off.interrupted] == ["exits.killed[fake-amd]"]
    assert [key.check for key in broken_off.missing] == ["exits.killed", "exits.late"]
    text = (project.path / "journal.jsonl").read_bytes()
    (project.path / "journal.jsonl").write_bytes(text + b'{"line":"judged","at":1')
    os.remove(project.path / "journal")
    result = project.run(*workers, "--resume=journal.jsonl", *files, process=True)
    result.assert_outcomes(passed=2, deselected=0 if workers else 6)  # a controller does not hear of these
    assert result.ret == 1, "a check has failed before"
    result.stdout.fnmatch_lines(
        [
            "exits  7 conformant, 1 deviation*",
            "8 planned checks: 6 judged before, 2 judged now, 0 not judged",
        ]
    )
    whole = journal_of(project)
    assert whole.missing == []
    assert [line.resumed for line in whole.runs] == [False, True]
    assert len(whole.judged) == 8
    again = project.run(*workers, "--resume=journal.jsonl", *files, process=True)
    assert again.ret == 1
    again.stdout.fnmatch_lines(["8 planned checks: 8 judged before, 0 judged now, 0 not judged"])


def test_what_could_not_be_judged_is_judged_when_resumed(project: Project) -> None:
    project.options(start="fail")
    project.suite(NOPS)
    assert project.run("--journal=journal.jsonl").ret == 10
    project.options()
    result = project.run("--resume=journal.jsonl")
    result.assert_outcomes(passed=5)
    assert result.ret == 0
    assert set(verdicts_of(journal_of(project)).values()) == {Verdict.CONFORMANT}


def test_resume_without_a_file_takes_the_newest(project: Project) -> None:
    project.suite(NOPS)
    project.run("-x", "--maxfail=1").assert_outcomes(passed=5)
    project.suite(NOPS + check("more", "nop", "{rax: 0}"))
    result = project.run("suite.yaml", "--resume")
    result.assert_outcomes(passed=1, deselected=5)
    result.stdout.fnmatch_lines(["6 planned checks: 5 judged before, 1 judged now, 0 not judged"])


def test_run_that_stops_says_how_to_go_on(project: Project) -> None:
    project.suite(WRONG + NOPS)
    result = project.run("-x", "--journal=journal.jsonl")
    result.stdout.fnmatch_lines(
        [
            "5 of 6 planned checks have no verdict; go on with:",
            "    pytest *=fake-amd --resume=journal.jsonl",
        ]
    )


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--resume"], "--resume: there is no journal in build/journals: name one, --resume=FILE"),
        (["--resume=nothing"], "--resume: nothing: No such file or directory*"),
        (
            ["--resume", "targets/inventory.toml"],
            "--resume: *inventory.toml:2: not a journal of Touchstone*--resume=FILE",
        ),
        (["--resume", "suite.yaml"], "--resume: suite.yaml is no journal, * name suite.yaml before --resume"),
        (["--plan", "suite.yaml::right"], "--plan: suite.yaml::right is no journal, * before --plan"),
        (["--plan", "."], "--plan: . is no journal, but what is behind --plan is taken for one: *"),
        (["--journal=suite.yaml"], "--journal: suite.yaml exists: --resume=suite.yaml goes on with it; *"),
        (["--journal=a", "--resume"], "--resume=FILE goes on with a journal, --journal=FILE begins one*"),
        (
            ["--resume=journal.jsonl", "--hypervisor=none"],
            "*journal.jsonl is about veneer, and this run about none*",
        ),
    ],
)
def test_what_cannot_be_resumed(project: Project, arguments: list[str], text: str) -> None:
    project.suite(NOPS)
    if "--resume=journal.jsonl" in arguments:
        project.run("--journal=journal.jsonl")
    result = project.run(*arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {text}"])


def test_another_hypervisor_is_another_run(project: Project) -> None:
    project.suite(NOPS)
    project.run("--journal=journal.jsonl")
    project.file("hypervisor/exit.c", "int changed;\n")
    result = project.run("--resume=journal.jsonl")
    result.stderr.fnmatch_lines(["ERROR: --resume: veneer has changed since journal.jsonl was written*"])
    assert result.ret == pytest.ExitCode.USAGE_ERROR


def test_two_runs_do_not_write_one_journal(project: Project) -> None:
    project.suite(NOPS)
    project.run("--journal=journal.jsonl")
    from touchstone.journal.writer import JournalWriter

    other = JournalWriter(project.path / "journal.jsonl")
    other.claim()
    try:
        result = project.run("--resume=journal.jsonl")
    finally:
        other.close()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *journal.jsonl: another run is writing this journal"])


FULL = """
import errno, os

pytest_plugins = ['touchstone.pytest_plugin.fixtures']
real, written = os.write, []

def write(file, data):
    if os.readlink(f"/proc/self/fd/{file}").endswith("journal.jsonl"):
        written.append(file)
        if 12 < len(written) < 16:
            real(file, data[:10])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return real(file, data)

os.write = write
"""


def test_full_disk_loses_lines_and_no_verdict(project: Project) -> None:
    project.suite(NOPS)
    project.file("conftest.py", FULL)
    result = project.run("--journal=journal.jsonl", process=True)
    result.assert_outcomes(passed=5)
    assert result.ret == 12
    result.stdout.fnmatch_lines(
        ["results were LOST, the verdicts above stand: *journal.jsonl: No space left*"]
    )
    left = len(journal_of(project).missing)
    assert 0 < left < 5
    project.file("conftest.py", "pytest_plugins = ['touchstone.pytest_plugin.fixtures']\n")
    result = project.run("--resume=journal.jsonl", process=True)
    result.assert_outcomes(passed=left, deselected=5 - left)
    assert result.ret == 0
