"""``--target=here``: what of the suites is judged on the machine that the tests run on, whatever it is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.checkout import ROOT
from tests.support.project import INVENTORY, Project, check

CPL3 = "{cpl: [3]}"


def test_what_a_program_can_see_is_judged_and_the_rest_says_why(project: Project) -> None:
    project.suite(
        check("ud", "ud2", '{exception: "#UD", rip: start}', each=CPL3)
        + check("both", "mov eax, 1", "{rax: 1}", each="{cpl: [0, 3], on: [every-cpu]}")
        + check("wrong", "mov eax, 1", "{rax: 2}", each=CPL3)
        + check("zero", "mov eax, 1", "{rax: 1}")
        + check("compared", "cpuid", "native", each=CPL3)
        + check("early", "nop", "{rax: 0}", each=CPL3, phase="native")
        + check("late", "nop", "{rax: 0}", each=CPL3, phase="unloaded")
        + check("linux", "int 0x80", "{rax: 0}", each=CPL3)
        + check("bare", "nop", "{rax: 0}", each=CPL3, requires="way == bare")
        + check("msr", "nop", "{rax: 0}", each=CPL3, requires="msr.0x10[0]")
        + check(
            "shown", "nop", "{rax: 0}", each=CPL3, requires="cpuid.fpu and os == linux and subject == here"
        )
    )
    result = project.run("-v", "-rs", target="here")
    found = {}
    for line in result.outlines:
        if line.startswith("suite.yaml::") and "[here] " in line:
            name, word = line.split("[here] ")[:2]
            found[name.rsplit(".", 1)[1]] = word.split()[0]
    judged = {"ud": "PASSED", "both": "PASSED", "wrong": "FAILED", "shown": "PASSED"}
    skipped = dict.fromkeys(("zero", "compared", "early", "late", "linux", "bare", "msr"), "SKIPPED")
    assert found == judged | skipped
    result.stdout.fnmatch_lines_random(
        [
            "touchstone: what this machine runs under on here",
            "*its probe runs at CPL 0*",
            "*compares with the machine without a hypervisor*",
            "*it is about the phase native*",
            "*it is about the phase unloaded*",
            "*an ordinary program cannot run it*INT 0x80*",
            "*needs way == bare, here has here",
            "*needs msr.0x10*is not known*",
            "again: pytest 'suite.yaml::exits.wrong*here*' --target=here",
            "here: * CPU*, Linux *; under *",
        ]
    )
    assert "machine" not in found.values()


def test_with_ring0_checks_at_cpl0_are_planned(project: Project) -> None:
    """Planned only: to judge them, the agent's module would be inserted into whoever's machine this is."""
    project.suite(
        check("zero", "mov eax, 1", "{rax: 1}")
        + check("state", "nop", "{rax: 0}", given="{msrs: {ia32-star: 1}}")
        + check("compared", "cpuid", "native")
        + check("late", "nop", "{rax: 0}", phase="unloaded")
    )
    result = project.run("-v", "--plan", target="here")
    result.stdout.fnmatch_lines(
        ["*0 checks to judge*", "*2 not: its probe runs at CPL 0, and without --ring0*"]
    )
    result = project.run("-v", "--ring0", "--plan", target="here")
    result.stdout.fnmatch_lines(["*2 checks to judge*", "*1 not: it compares with the machine without*"])
    result.stdout.no_fnmatch_line("*runs at CPL 0*")
    result.stdout.no_fnmatch_line("*begins in a state*")
    result = project.run("--ring0")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--ring0 * goes with --target=here*"])


def test_a_checkout_that_cannot_be_written_is_enough(tmp_path: Path) -> None:
    """Of an ordinary user who runs somebody else's. pytest has its cache there."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--target=here",
        "conformance/exits/cpuid.yaml",
        "-k",
        "same-everywhere",
    ]
    command += ["-o", "cache_dir=/dev/null/none", f"--journal={tmp_path / 'journal'}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    assert "could not create cache path" in done.stdout, done.stdout


def test_it_goes_with_no_other_subject_and_no_other_target(project: Project) -> None:
    project.suite(check("ud", "ud2", "{rax: 0}"))
    for words, error in (
        (["--hypervisor=none"], "*leave out --hypervisor=none*"),
        (["--hypervisor=veneer"], "*leave out --hypervisor=veneer*"),
        (["--target=fake-amd"], "*in a run of its own*judge fake-amd in another*"),
    ):
        result = project.run(*words, target="here")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines([error])
    result = project.run("--hypervisor=here")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*it goes with --target=here*"])
    result = project.run("--list-targets", target=None)
    result.stdout.fnmatch_lines(["here *here *the machine that pytest runs on"])
    assert project.run("--collect-only", "-q", target="all").stdout.str().count("[here]") == 0

    project.inventory(INVENTORY + '\n[targets.here]\ndriver = "fake"\nvendor = "amd"\n')
    result = project.run()
    result.stderr.fnmatch_lines(["*inventory.toml:12: 'here' is the machine that pytest runs on*"])
