"""The plugin with a real machine: an emulated AMD one, without a hypervisor."""

from __future__ import annotations

import shutil

import pytest

from tests.support.project import Project, check

pytestmark = pytest.mark.skipif(
    shutil.which("qemu-system-x86_64") is None, reason="qemu-system-x86_64 is not installed"
)

INVENTORY = """
[targets.real]
driver = "qemu"
vendor = "amd"
cpus = 2
cpu-model = "EPYC,+svm,+npt"
accel = "tcg"
timeout-factor = 10
"""

KILLER = """
import os
import signal
from pathlib import Path

import pytest


def emulators():
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            text = status.read_text()
        except OSError:
            continue
        if f"PPid:\\t{os.getpid()}\\n" in text and "Name:\\tqemu-system" in text:
            yield int(status.parent.name)


@pytest.mark.touchstone(id="exits.killed", title="Somebody shoots the emulator", area="exits",
    cite={"doc": "touchstone-design", "title": "Survive", "says": "the check gets its verdict"})
def test_killed(target, probe):
    assert probe("mov eax, 7")[0].registers["rax"] == 7
    (pid,) = emulators()
    os.kill(pid, signal.SIGKILL)
    probe("nop")
"""


def test_killed_emulator_and_triple_fault_cost_their_check_only(project: Project) -> None:
    project.inventory(INVENTORY)
    project.suite(
        check("before", "mov eax, 1", "{rax: 1}", each="{on: [every-cpu], cpl: [0, 3]}")
        + check("triple", "|\n      push 0\n      push 0\n      lidt [rsp]\n      ud2", "{rax: 0}")
        + check("after", "cpuid", "native", given="{gprs: random, rax: 1}")
    )
    project.file("test_killer.py", KILLER)
    result = project.run("-v", "--hypervisor=none", target="real", process=True)
    result.assert_outcomes(passed=2, failed=2)
    result.stdout.fnmatch_lines_random(
        [
            "suite.yaml::exits.before[[]real[]] PASSED*",
            "suite.yaml::exits.triple[[]real[]] CRASH*",
            "suite.yaml::exits.after[[]real[]] PASSED*",
            "test_killer.py::test_killed[[]real[]] CRASH*",
            "autopsy: *",
            "real: *AMD*, 2 CPUs, SVM revision 1 (NPT), os bare; no hypervisor",
            "exits  2 conformant, 2 crash*",
        ]
    )
