"""What the lab breaks is tried once more, and nothing else is; a box that stays dead is one message."""

from __future__ import annotations

import json

import pytest

from tests.support.project import Project, check, verdicts
from touchstone.cli import main
from touchstone.journal.read import read_journal
from touchstone.words import Verdict

NOPS = "".join(check(f"c{n}", "nop", "{rax: 0}") for n in range(6))
BREAKS = check("breaks", "int1", "{rax: 0}", claims="true")
DEVIATES = check("wrong", "nop", "{rax: 1}", claims="true")
DIES = check("dies", "hlt", "{rax: 0}", claims="true")
HANGS = check("hangs", "pause", "{rax: 0}", claims="true")

PYTHON = """
import pytest

@pytest.mark.touchstone(
    id="exits.python", title="T", area="exits", cite={"doc": "x", "title": "t", "says": "s"}
)
def test_python(target, probe):
    probe("nop")
    probe("int1")
    assert target.phase == "loaded"
"""


def retried(project: Project) -> list[str]:
    return [str(key) for key in read_journal(project.path / "j").retried]


def test_link_that_broke_once_costs_nothing(project: Project) -> None:
    project.options(link="heals")
    project.suite(BREAKS + NOPS)
    result = project.run("--journal=j", "suite.yaml")
    result.assert_outcomes(passed=7)
    assert retried(project) == ["exits.breaks[fake-amd]"]
    result.stdout.fnmatch_lines(
        ["fake-amd: 1 check was tried again, and judged then: exits.breaks; *: the link *"]
    )
    assert project.journal() == [
        f"fake-amd {word}" for word in ("start", "load", "distrust", "reset", "load", "stop")
    ]


def test_python_check_is_run_again(project: Project) -> None:
    project.options(link="heals")
    project.file("test_python.py", PYTHON)
    project.run("--journal=j", "test_python.py").assert_outcomes(passed=1)
    assert retried(project) == ["exits.python[fake-amd]"]


def test_machine_that_did_not_start_is_switched_on_again(project: Project) -> None:
    project.options(start="fail-once")
    project.file("test_python.py", PYTHON.replace("int1", "nop"))
    project.suite(NOPS)
    project.run("--journal=j", "test_python.py", "suite.yaml").assert_outcomes(passed=7)
    assert retried(project) == ["exits.python[fake-amd]"]


def test_nothing_else_is_tried_again(project: Project) -> None:
    project.options()
    project.suite(DEVIATES + DIES + HANGS + NOPS)
    result = project.run("-v", "--journal=j")
    assert verdicts(result) == {"wrong": "FAILED", "dies": "CRASH", "hangs": "HANG"} | {
        f"c{n}": "PASSED" for n in range(6)
    }
    assert retried(project) == []
    assert "fake-amd distrust" not in project.journal()


def test_broken_build_is_not_tried_again(project: Project) -> None:
    project.options(start="compile")
    project.suite(NOPS)
    project.run("--journal=j").assert_outcomes(errors=1)
    assert retried(project) == []
    assert project.journal() == ["fake-amd start", "fake-amd stop"]


def test_dead_box_is_one_message(project: Project) -> None:
    project.options(start="fail", shared="box")
    project.suite(NOPS)
    result = project.run("--journal=j", "-n", "auto", target="all", process=True)
    result.assert_outcomes(passed=6, errors=1)
    text = [line for line in result.outlines if "has no power" in line]
    assert len(text) == 4, text  # the check in full; the others; what was tried again; pytest's own summary
    result.stdout.fnmatch_lines(["fake-amd: 5 blocked: starting fake-amd: the fake machine has no power"])
    found = read_journal(project.path / "j")
    assert found.missing == []
    assert sum(line.verdict is Verdict.BLOCKED for line in found.judged.values()) == 5


def test_link_that_breaks_with_every_check_is_given_up(project: Project) -> None:
    """Also if the machine can be reached again each time."""
    project.options()
    project.suite("".join(check(f"b{n}", "int1", "{rax: 0}", claims="true") for n in range(6)))
    project.run("--journal=j")
    found = [line.verdict for line in read_journal(project.path / "j").judged.values()]
    assert found == [Verdict.INFRASTRUCTURE] * 2 + [Verdict.BLOCKED] * 4


def test_sick_box_is_skipped_until_it_is_cleared(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project.options(start="fail", shared="box")
    project.suite(NOPS)
    project.run().assert_outcomes(errors=1)
    mark = project.path / "build" / "sick" / "fake-amd.json"
    assert json.loads(mark.read_text())["reason"] == "starting fake-amd: the fake machine has no power"
    (project.path / "journal").unlink()
    project.options(shared="box")
    result = project.run()
    assert result.ret == 10
    assert project.journal() == [], "nothing was contacted"
    result.stdout.fnmatch_lines(
        [
            "fake-amd: 6 blocked: fake-amd is marked as sick since ????-??-?? ??:??: starting fake-amd: "
            "the fake machine has no power; touchstone sick --clear fake-amd takes it back into use"
        ]
    )
    plan = project.run("--plan")
    plan.stdout.fnmatch_lines(["    6 not: fake-amd is marked as sick since *"])
    monkeypatch.chdir(project.path)
    capsys.readouterr()
    assert main(["sick", "--clear", "fake-adm"]) == 1
    printed = capsys.readouterr()
    assert "fake-adm is not marked; did you mean fake-amd?" in printed.err
    assert printed.out.startswith("fake-amd is marked as sick since ")
    assert main(["sick", "--clear", "fake-amd"]) == 0
    assert capsys.readouterr().out == ""
    project.run().assert_outcomes(passed=6)


def test_emulated_machine_is_never_marked(project: Project) -> None:
    """The next run has another one."""
    project.options(start="fail")
    project.suite(NOPS)
    project.run()
    assert not (project.path / "build" / "sick").exists()


def test_box_can_be_marked_by_hand(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project.path)
    assert main(["sick", "--mark", "fake-amd", "its fan is being replaced"]) == 0
    assert "its fan is being replaced" in capsys.readouterr().out
    project.suite(NOPS)
    project.run("-rA").stdout.fnmatch_lines(["fake-amd: 6 blocked: *its fan is being replaced*"])
    (project.path / "build" / "sick" / "fake-amd.json").write_text("nonsense")
    project.run("-rA").stdout.fnmatch_lines(
        ["fake-amd: 6 blocked: *its mark */build/sick/fake-amd.json cannot be read*"]
    )
