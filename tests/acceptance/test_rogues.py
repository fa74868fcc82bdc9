"""Subjects that harm the machine that they are loaded on: what is said of them, and that the run ends."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.checkout import ROOT
from tests.support.runs import Run, run_suites

ROGUE = ROOT / "tests" / "subjects" / "rogue"
SUITE = "conformance/broadcast/signature.yaml"
SUBJECT = """
name = "rogue"
title = "Rogue ({does})"
[claims]
hypervisor-bit = true
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
unload = "echo ok"
query = "echo ok loaded=1 name=rogue version=1 cpus=4"
"""
ON_BARE = '[deploy.bare]\ndirectory = "."\n'
MAKE = """
SUBJECT_NAME := rogue
SUBJECT_SOURCES := rogue.c
SUBJECT_CFLAGS := -DROGUE='"{does}"'
"""


def bare(directory: Path, does: str) -> Path:
    """The subject's file of a rogue on the bare OS."""
    shutil.copytree(ROGUE / "bare", directory)
    (directory / "subject.mk").write_text(MAKE.format(does=does))
    file = directory / "rogue.toml"
    file.write_text(SUBJECT.format(does=does) + ON_BARE)
    return file


def on_linux(directory: Path, does: str) -> Path:
    """The subject's file of a rogue on Linux. A word is the module's, other text a command of the shell."""
    shutil.copytree(ROGUE / "linux", directory)
    word = f"echo {does} >/sys/module/rogue/parameters/does" if does.isalpha() else does
    file = directory / "rogue.toml"
    file.write_text(SUBJECT.format(does=does) + ON_LINUX.format(load=f"{word} && echo ok"))
    return file


def judge(directory: Path, target: str, file: Path) -> Run:
    return run_suites(directory, SUITE, "-k", "bit.every-cpu", f"--target={target}", f"--hypervisor={file}")


# Each waits 80 s for the subject's answer, but for panic and sshd.
@pytest.mark.nightly
@pytest.mark.parametrize(
    ("target", "does", "word", "said"),
    [
        ("qemu-amd", "park", "hang", "no answer to subject"),
        ("qemu-amd", "hang", "hang", "no answer to subject"),
        ("bochs-amd", "serial", "hang", "no answer to subject"),
        ("linux-amd", "park", "hang", "the box does not answer over SSH either"),
        ("linux-amd", "hang", "hang", "took more than 80 s"),
        ("linux-amd", "panic", "crash", "Kernel panic - not syncing: rogue"),
        ("linux-amd", "pkill -KILL sshd", "hang", "the box does not answer over SSH either"),
    ],
)
def test_what_a_rogue_does_has_a_verdict(
    target: str, does: str, word: str, said: str, tmp_path: Path
) -> None:
    make = on_linux if target == "linux-amd" else bare
    run = judge(tmp_path, target, make(tmp_path / "rogue", does))
    assert run.status == 1, run.printed
    assert run.words() == {word}, run.printed
    assert said in run.printed
