"""Subjects that harm the machine that they are loaded on, or lie: what is said, and that the run ends."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.checkout import ROOT
from tests.support.runs import Run, run_suites

ROGUE = ROOT / "tests" / "subjects" / "rogue"
SIGNATURE = ("conformance/broadcast/signature.yaml", "-k", "bit.every-cpu")
LOADING = ("conformance/broadcast/test_loading.py", "-k", "all_cpus or test_query and not ticks")
UNLOADING = ("conformance/teardown/test_cycles.py", "-k", "all_cpus or not_loaded")
MODULE = ("park", "hang", "panic", "serial")
"""Words that the module for Linux obeys."""
SUBJECT = """
name = "rogue"
title = "Rogue ({does})"
[claims]
hypervisor-bit = true
unloadable = {unloadable}
"""
ON_LINUX = """
[deploy.linux]
sources = "."
build = "make KDIR={{headers}} BUILD={{build}}"
files = "rogue.ko"
present = "test -e /sys/module/rogue"
insert = "insmod {{directory}}/rogue.ko"
remove = "rmmod rogue"
load = "{load}"
unload = "{unload}"
query = "echo ok {query}"
"""
ON_BARE = '[deploy.bare]\ndirectory = "."\n'
MAKE = """
SUBJECT_NAME := rogue
SUBJECT_SOURCES := rogue.c
SUBJECT_CFLAGS := -DROGUE='"{does}"'
"""


@dataclass(frozen=True)
class Rogue:
    """A subject, and what is to be said of it."""

    target: str
    does: str
    """When it is loaded. On Linux: words of the module's, or else a command of the shell."""
    word: str
    """The verdict of each check."""
    said: str
    """Part of what the run prints."""
    suites: tuple[str, ...] = SIGNATURE
    checks: int = 1
    query: str = "loaded=1 name=rogue version=1 cpus=4"
    """On Linux: what it says of itself, whatever it has done."""
    unload: str = "echo ok"
    """On Linux: a command of the shell. It claims to be unloadable if the suites unload it."""

    def __str__(self) -> str:
        unusual = (self.unload, self.query) != (Rogue.unload, Rogue.query)
        return f"{self.target}: {self.does}{f', {self.unload}, {self.query}' if unusual else ''}"


ROGUES = [
    Rogue("qemu-amd", "park", "hang", "in spin (rogue/rogue.c)"),
    Rogue("qemu-amd", "hang", "hang", "(rogue/rogue.c)"),  # in spin, or in load if the compiler inlines it
    Rogue("qemu-amd", "panic", "crash", "load+0x"),
    Rogue("bochs-amd", "serial", "hang", "no answer to subject"),
    # It dies of nothing that the emulator lacks, and is found out to virtualise nothing.
    Rogue("bochs-amd", "msrs", "deviation", "Rogue (msrs) 1.0 on 4 of 4 CPUs"),
    Rogue("linux-amd", "park", "hang", "the box does not answer over SSH either"),
    Rogue("linux-amd", "hang", "hang", "took more than 80 s"),
    Rogue("linux-amd", "panic", "crash", "Kernel panic - not syncing: rogue"),
    Rogue("linux-amd", "pkill -KILL sshd", "hang", "the box does not answer over SSH either"),
    # Linux is asked over SSH, and its console alone is on the serial line. It virtualises nothing.
    Rogue("linux-amd", "serial", "deviation", "ecx.hypervisor"),
    Rogue("linux-amd", "serial panic", "crash", "the target's Linux panicked"),
    # It says that it was unloaded, and that it is still there.
    Rogue("linux-amd", "true", "deviation", "the subject says of itself", UNLOADING, 2),
    Rogue("linux-amd", "true", "hang", "took more than 80 s", UNLOADING, 2, unload="sleep 100000"),
    Rogue("linux-amd", "true", "deviation", "the subject says of itself", LOADING, 2, "loaded=0 name=rogue"),
    Rogue("linux-amd", "true", "deviation", "999999999999 of", UNLOADING, 2, "loaded=1 cpus=999999999999"),
    Rogue("linux-amd", "true", "deviation", "many of", UNLOADING, 2, "loaded=1 cpus=many"),
]


def bare(directory: Path, rogue: Rogue) -> Path:
    """The subject's file of a rogue on the bare OS."""
    shutil.copytree(ROGUE / "bare", directory)
    (directory / "subject.mk").write_text(MAKE.format(does=rogue.does))
    file = directory / "rogue.toml"
    file.write_text(SUBJECT.format(does=rogue.does, unloadable="false") + ON_BARE)
    return file


def on_linux(directory: Path, rogue: Rogue) -> Path:
    """The subject's file of a rogue on Linux."""
    shutil.copytree(ROGUE / "linux", directory)
    words = rogue.does.split()
    does = [f"echo {word} >/sys/module/rogue/parameters/does" for word in words if word in MODULE]
    load = " && ".join([*(does or [rogue.does]), "echo ok"])
    file = directory / "rogue.toml"
    about = SUBJECT.format(does=rogue.does, unloadable=str(rogue.suites == UNLOADING).lower())
    file.write_text(about + ON_LINUX.format(load=load, unload=rogue.unload, query=rogue.query))
    return file


def judge(directory: Path, rogue: Rogue) -> Run:
    make = on_linux if rogue.target == "linux-amd" else bare
    file = make(directory / "rogue", rogue)
    return run_suites(directory, *rogue.suites, f"--target={rogue.target}", f"--hypervisor={file}")


# A hang is waited for, 80 s on a target with these timeouts, but for a killed sshd.
@pytest.mark.nightly
@pytest.mark.parametrize("rogue", ROGUES, ids=str)
def test_what_a_rogue_does_has_a_verdict(rogue: Rogue, tmp_path: Path) -> None:
    run = judge(tmp_path, rogue)
    assert run.status == 1, run.printed
    assert [verdict.word for verdict in run.verdicts] == [rogue.word] * rogue.checks, run.printed
    assert rogue.said in run.printed


STRAY = """
suite: What leads into the hypervisor's own code
area: exits
checks:
  - id: exits.stray
    title: SYSCALL leads to the handler of the OS
    level: must
    cite: {doc: touchstone-design, title: Words, says: "the hypervisor must not show"}
    run: syscall
    expect: {exception: "#UD"}
  - id: exits.stray-again
    title: SYSCALL leads to the handler of the OS, with another register
    level: must
    cite: {doc: touchstone-design, title: Words, says: "the hypervisor must not show"}
    given: {rax: 1}
    run: syscall
    expect: {exception: "#UD"}
  - id: exits.behind
    title: The next check is judged on a machine that was reset
    level: must
    cite: {doc: touchstone-design, title: Words, says: "the hypervisor must not show"}
    run: nop
    expect: {exception: none}
"""


# Two boots of QEMU for each check, 6 CPU s in all.
def test_an_exception_in_the_hypervisors_own_code_is_a_crash_and_not_the_probes_end(tmp_path: Path) -> None:
    (tmp_path / "stray.yaml").write_text(STRAY)
    file = bare(tmp_path / "rogue", Rogue("qemu-amd", "stray", "crash", "in the hypervisor's own code"))
    run = run_suites(tmp_path, str(tmp_path / "stray.yaml"), "--target=qemu-amd", f"--hypervisor={file}")
    assert {verdict.check: verdict.word for verdict in run.verdicts} == {
        "exits.stray": "crash",
        "exits.stray-again": "crash",
        "exits.behind": "conformant",
    }, run.printed
    # Where it was is said by name, in the headline, in the autopsy and in the summary, which has it once.
    printed = " ".join(run.printed.split())
    place = r"exception 06 at [0-9a-f]+ stray\+0x7 \(rogue/rogue\.c:\d+\), in the hypervisor's own code"
    assert re.search(f"the target's OS panicked on CPU 0: {place}", printed)
    assert re.search(r"backtrace of CPU 0, innermost first 0x[0-9a-f]+ stray\+0x7 \(rogue", printed)
    assert re.search(
        f"2 checks end the machine in the same way: {place} exits.stray exits.stray-again", printed
    )


# As many boots, and two waits for an answer that does not come.
def test_hangs_at_one_place_in_the_hypervisors_own_code_are_told_once(tmp_path: Path) -> None:
    (tmp_path / "stray.yaml").write_text(
        STRAY.replace("    run: syscall", "    timeout: 3\n    run: syscall")
    )
    file = bare(tmp_path / "rogue", Rogue("qemu-amd", "linger", "hang", "in linger"))
    run = run_suites(tmp_path, str(tmp_path / "stray.yaml"), "--target=qemu-amd", f"--hypervisor={file}")
    assert {verdict.check: verdict.word for verdict in run.verdicts} == {
        "exits.stray": "hang",
        "exits.stray-again": "hang",
        "exits.behind": "conformant",
    }, run.printed
    printed = " ".join(run.printed.split())
    assert "the same hang as of exits.stray, which is shown in full" in printed
    place = r"2 checks hang in the same way: in linger \(rogue/rogue\.c\) exits.stray exits.stray-again"
    assert re.search(place, printed)
