"""A subject that leaves a CPU unasked is told of the check behind which it is gone, and of no other."""

from __future__ import annotations

import pytest

from tests.support.project import Project, check, verdicts

# The fake subject leaves the CPU that executes CPUID with this leaf, if it has that bug.
KEY = "{rax: 0x41414141}"
SHOWN = check(
    "shown", "cpuid", "{ecx: 0x84000000}", given="{rax: 1}", each="{on: [every-cpu]}", claims="true"
)
"""CPUID says that there is a hypervisor."""
PYTHON = """
import pytest
CITE = {"doc": "x", "title": "x", "says": "x"}
@pytest.mark.touchstone(id="exits.python", title="Python", area="exits", cite=CITE)
def test_python(target, probe):
    probe("cpuid", rax=0x41414141)
    assert probe("nop", rax=RAX)[0].registers["rax"] == 1
"""
GONE = "it is gone from CPU 1 of 2: CPUID says there what the bare machine says (leaf 1, ECX.hypervisor; *"


@pytest.mark.parametrize(
    ("expect", "said"),
    [("{ebx: 0}", GONE), ("{ebx: 7}", f"{GONE}; before that: CPU 1: ebx: expected 0x7, *")],
)
def test_only_the_check_that_it_leaves_at_is_red(project: Project, expect: str, said: str) -> None:
    """Whether what it answers is right or wrong: it is loaded again for what follows."""
    project.options(bug="key")
    project.suite(
        SHOWN + check("key", "cpuid", expect, given=KEY, each="{on: [last]}") + SHOWN.replace("shown", "then")
    )
    result = project.run("-v")
    assert verdicts(result) == {"shown": "PASSED", "key": "FAILED", "then": "PASSED"}
    result.stdout.fnmatch_lines([f"fake-amd: {said}"])
    told = [line.split()[1] for line in project.journal()]
    assert told == ["start", "load", "reset", "load", "stop"]


@pytest.mark.parametrize(("rax", "said"), [(1, "*it is gone from CPU 0 of 2: *"), (2, "*assert 2 == 1*")])
def test_a_python_check_is_no_exception(project: Project, rax: int, said: str) -> None:
    project.options(bug="key")
    project.file("test_python.py", PYTHON.replace("RAX", str(rax)))
    project.suite(SHOWN)
    result = project.run("-v", "test_python.py", "suite.yaml")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines([said])
    assert verdicts(result) == {"shown": "PASSED"}


@pytest.mark.parametrize("bug", ["none", "upper-halves"])
def test_who_stays_is_not_accused_of_leaving(project: Project, bug: str) -> None:
    project.options(bug=bug)
    project.suite(SHOWN + check("key", "cpuid", "{ebx: 0}", given=KEY) + SHOWN.replace("shown", "then"))
    result = project.run("-v")
    assert verdicts(result) == {"shown": "PASSED", "key": "PASSED", "then": "PASSED"}
    assert [line.split()[1] for line in project.journal()] == ["start", "load", "stop"]


def test_a_target_that_does_not_survive_the_look_was_lost_by_the_check_before(project: Project) -> None:
    project.options(bug="key-kills")
    project.suite(SHOWN + check("key", "cpuid", "{ebx: 0}", given=KEY) + SHOWN.replace("shown", "then"))
    result = project.run("-v")
    assert verdicts(result) == {"shown": "PASSED", "key": "CRASH", "then": "PASSED"}
    result.stdout.fnmatch_lines(["*(behind its probes, when CPUID was read)*"])
