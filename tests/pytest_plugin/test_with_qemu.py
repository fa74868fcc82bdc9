"""The plugin with a real machine: an emulated AMD one, without a hypervisor."""

from __future__ import annotations

import shutil
import signal

import pytest

from tests.support.project import Project, check
from touchstone.journal.read import read_journal
from touchstone.words import Verdict

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
    result.assert_outcomes(passed=2, failed=1, errors=1)
    result.stdout.fnmatch_lines_random(
        [
            "suite.yaml::exits.before[[]real[]] PASSED*",
            "suite.yaml::exits.triple[[]real[]] CRASH*",
            "suite.yaml::exits.after[[]real[]] PASSED*",
            "test_killer.py::test_killed[[]real[]] INFRASTRUCTURE*",
            "*QEMU killed by SIGKILL, from outside",
            "autopsy: *",
            "real: *AMD*, 2 CPUs, SVM revision 1 (NPT), os bare; no hypervisor",
            "exits  2 conformant, 1 crash, 1 infrastructure*",
        ]
    )


CONTROLLER_KILLER = """
import os
import signal

import pytest


@pytest.mark.touchstone(id="exits.killed", title="Somebody shoots the controller", area="exits",
    cite={"doc": "touchstone-design", "title": "Survive", "says": "the check gets its verdict"})
def test_killed(target, probe):
    if not os.path.exists("shot"):
        open("shot", "w").close()
        os.kill(os.getppid(), signal.SIGKILL)
    assert probe("mov eax, 7")[0].registers["rax"] == 7
"""


def test_run_whose_controller_was_killed_is_resumed(project: Project) -> None:
    """Every planned check has a verdict then, and what was judged before is not judged again.

    A worker notices that its controller is gone when it next looks at the line to it: it judges until then.
    """
    project.inventory(INVENTORY)
    names = [f"c{n}" for n in range(4)]
    project.suite("".join(check(name, f"mov eax, {name[1]}", f"{{rax: {name[1]}}}") for name in names))
    project.suite(check("late", "cpuid", "native", phase="unloaded", given="{rax: 1}"), name="z.yaml")
    project.file("test_killer.py", CONTROLLER_KILLER)
    words = ["-n", "1", "--hypervisor=none", "suite.yaml", "test_killer.py", "z.yaml"]
    killed = project.run(*words, "--journal=j", target="real", process=True)
    assert killed.ret == -signal.SIGKILL
    before = read_journal(project.path / "j")
    assert before.ended is None
    assert len(before.planned) == 6
    assert {key.check for key in before.judged} >= {f"exits.{name}" for name in names}
    assert before.targets["real"].facts["emulator"].startswith("QEMU ")
    resumed = project.run(*words, "--resume=j", target="real", process=True)
    assert resumed.ret == 0
    whole = read_journal(project.path / "j")
    assert whole.missing == []
    assert {line.verdict for line in whole.judged.values()} == {Verdict.CONFORMANT}
    assert all(whole.judged[key] == line for key, line in before.judged.items())
    resumed.stdout.re_match_lines([r"6 planned checks: [456] judged before, [012] judged now, 0 not judged"])
