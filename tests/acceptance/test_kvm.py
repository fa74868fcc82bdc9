"""KVM of Debian's kernel, judged as a stranger: what it does otherwise is known, and nothing else is new."""

from pathlib import Path

import pytest

from tests.support.checkout import ROOT
from tests.support.runs import run_suites

# The matrix nightly has all suites. Here are the ones that KVM does not hold, and what is about its guest.
SUITES = (
    "conformance/nested/svm-msrs.yaml",
    "conformance/nested/svm-instructions.yaml",
    "conformance/broadcast/signature.yaml",
    "conformance/exits/cpuid.yaml",
)


# It continues the machine that test_running_linux.py has booted from its snapshot: 8 CPU s.
def test_kvm_is_accused_of_what_it_does(tmp_path: Path) -> None:
    run = run_suites(tmp_path, "--target=linux-amd", "--hypervisor=kvm", *SUITES)
    # What QEMU's software CPU does wrong on a busy host (docs/kvm.md) costs a guest, and no verdict.
    assert run.status == 0, run.printed
    assert "on 4 of 4 CPUs" in run.printed
    assert run.words() <= {"conformant", "known-deviation", "machine", "unsupported"}, run.printed
    found = {verdict.check: verdict.word for verdict in run.verdicts}
    red = ("nested.svm.vm-cr-locked-off", "nested.svm.hsave-read-gp", "nested.svm.vmrun-ud")
    assert {found[check] for check in red} == {"known-deviation"}
    assert sum(verdict.word == "conformant" for verdict in run.verdicts) >= 18, run.printed


KILLER = """
name = "killer"
title = "KVM, and somebody who kills"
[claims]
nested = "hidden"
[deploy.hosted]
sources = "{sources}"
build = "make -C kvm BUILD={{build}}"
files = "touchstone-kvm"
prepare = "[ -d /sys/module/kvm_amd ] || modprobe kvm_amd"
processes = "pgrep touchstone-kvm"
run = '''exec sh -c '{script}' '''
"""
# What goes to the guest passes by here; the guest is not asked any more what somebody was killed for.
SCRIPT = """
armed={armed}
while IFS= read -r line; do
    case $line in
    *0f1f8011111111*) armed=yes;;
    *0f1f8022222222*) [ -z "$armed" ] || {{ {command}; }};;
    esac
    printf "%s\\\\n" "$line"
done | ./touchstone-kvm {{image}} {{cpus}} {{memory-mib}}
"""
CHECKS = """
import pytest

def check(name):
    cite = {"doc": "touchstone-design", "title": "Words", "says": "the hypervisor must not show"}
    return pytest.mark.touchstone(id=f"exits.{name}", title="It answers", area="exits", cite=cite)

@check("armed")
def test_armed(target, probe):
    probe("nop dword ptr [rax + 0x11111111]")

@check("killed")
def test_killed(target, probe):
    probe("nop")
    probe("nop dword ptr [rax + 0x22222222]")

@check("behind")
def test_behind(target, probe):
    probe("nop")
"""


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("command", "armed", "word", "said"),
    [
        ("pkill -KILL touchstone-kvm; exit", "yes", "crash", "the guest's program was ended by signal 9"),
        # Its threads do nothing, and the box says so.
        (
            "[ -e /run/once ] || { touch /run/once; pkill -STOP touchstone-kvm; }",
            "yes",
            "conformant",
            "no answer to run: none of its threads runs, or is ready to",
        ),
        # Whoever does it once is not the subject; a subject whose guest brings the box down does it again.
        ("pkill -KILL sshd", "", "conformant", "1 check was tried again, and judged then: exits.killed"),
        ("pkill -KILL sshd", "yes", "hang", "the guest before it hung as well"),
    ],
)
def test_a_run_goes_on_when_a_guests_program_or_sshd_is_killed_or_stopped(
    tmp_path: Path, command: str, armed: str, word: str, said: str
) -> None:
    (tmp_path / "test_killed.py").write_text(CHECKS)
    script = SCRIPT.format(armed=armed, command=command)
    file = tmp_path / "killer.toml"
    file.write_text(KILLER.format(sources=ROOT / "targets", script=script))
    run = run_suites(tmp_path, str(tmp_path / "test_killed.py"), "--target=linux-amd", f"--hypervisor={file}")
    found = {verdict.check: verdict.word for verdict in run.verdicts}
    assert (found["exits.killed"], found["exits.behind"]) == (word, "conformant"), run.printed
    assert said in " ".join(run.printed.split())
