"""What a run is made to require, and the exit status that says what went wrong."""

from __future__ import annotations

import pytest

from tests.support.project import Project, check

PASSING = check("passing", "nop", "{rax: 0}")
FAILING = check("failing", "nop", "{rax: 1}", claims="true")
INTEL = check("intel", "nop", "{rax: 0}", requires="vendor == intel")
LAB = check("lab", "int1", "{rax: 0}", claims="true")
PLAIN = "def test_plain():\n    assert False\n"


@pytest.mark.parametrize(
    ("suite", "plain", "status"),
    [
        (PASSING, "", 0),
        (PASSING + INTEL, "", 0),
        (PASSING + FAILING, "", 1),
        (PASSING + FAILING + LAB, "", 1),
        (PASSING + LAB, "", 10),
        (PASSING + LAB, PLAIN, 1),
    ],
    ids=["good", "unsupported", "deviation", "both", "lab", "lab and another test"],
)
@pytest.mark.parametrize("workers", [(), ("-n1",)], ids=["alone", "xdist"])
def test_exit_status(project: Project, suite: str, plain: str, status: int, workers: tuple[str, ...]) -> None:
    project.suite(suite)
    if plain:
        project.file("test_plain.py", plain)
    assert project.run(*workers, process=bool(workers)).ret == status


def test_a_target_on_which_nothing_was_judged(project: Project) -> None:
    project.suite(INTEL)
    assert project.run().ret == 0
    result = project.run("--require-targets")
    assert result.ret == 11
    result.stdout.fnmatch_lines(["fake-amd: nothing of exits was judged: 1 unsupported"])
    assert project.run("--require-targets", target="fake-intel").ret == 0


def test_an_area_of_which_nothing_was_judged(project: Project) -> None:
    project.suite(PASSING)
    project.suite(INTEL.replace("exits.", "nested."), "nested.yaml", head=HEAD.replace("exits", "nested"))
    assert project.run().ret == 0
    result = project.run("--require-targets", target="all")
    assert result.ret == 11
    result.stdout.fnmatch_lines(["fake-amd: nothing of nested was judged: 1 unsupported"])
    result.stdout.no_fnmatch_line("fake-intel: nothing of*")


HEAD = """
suite: A suite of another area
area: exits
cite: {doc: intel-sdm, title: CPUID, says: "It says so."}
checks:
"""


def test_too_few_are_conformant(project: Project) -> None:
    project.suite(PASSING + INTEL)
    assert project.run("--require-conformant=1").ret == 0
    result = project.run("--require-conformant=2")
    assert result.ret == 11
    result.stdout.fnmatch_lines(["fake-amd: 1 checks are conformant, and the run requires 2"])
    assert project.run("--require-conformant=2", target="fake-intel").ret == 0


def test_what_is_required_is_a_number(project: Project) -> None:
    project.suite(PASSING)
    result = project.run("--require-conformant=all", process=True)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*'all' is not a number of checks, 1 or more"])


def test_a_failure_is_worse_than_too_little(project: Project) -> None:
    project.suite(FAILING)
    result = project.run("--require-conformant=2")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["fake-amd: 0 checks are conformant, and the run requires 2"])
