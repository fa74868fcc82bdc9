"""Faults in what is tested outside of the suites: a module in Linux, payloads that start CPUs, autopsies."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.breakages.faults import Fault
from tests.breakages.judging import SEEN
from tests.breakages.runs import run_checks
from tests.breakages.subjects import break_veneer
from tests.support.checkout import ROOT
from tests.support.linux import linux_machine
from tests.support.linux.qemu_machine import REFUSED_CPU, run_qemu
from tests.support.payloads import build_cpus
from tests.support.post_mortem import say_of_post_mortem

LINUX = "EPYC,+svm,+npt"
WORDS = "cycles=2 quiet-cycles=10 hotplug=1"
"""How often the tests of a Linux do what they do over and over."""
PAYLOADS = """
[[payload]]
file = "cpus"
cpus = 3
arguments = "3"
"""


def say_of_module(fault: Fault, copies: Path, folder: Path) -> str:
    """What tests/linux say in a machine whose veneer.ko has the fault; nothing if all of them pass.

    AssertionError if it cannot be built.
    """
    kernel = linux_machine.oldest_kernel()
    host = break_veneer(ROOT, copies, (fault,)).parent / "hosts" / "linux"
    with tempfile.TemporaryDirectory(dir=folder) as built:
        module, _ = linux_machine.build_module(kernel, Path(built), host)
        try:
            printed = run_qemu(kernel, Path(built), LINUX, 4, WORDS, module)
            if said := _complaint(printed, linux_machine.expect_all):
                return said
            printed = run_qemu(kernel, Path(built), REFUSED_CPU, 2, "refused=1", module)
        except pytest.fail.Exception as hung:  # CPUs that wait for each other do so for ever
            return str(hung).partition("\n")[0]
        return _complaint(printed, partial(linux_machine.expect_ok, linux_machine.REFUSED_TESTS))


def _complaint(printed: str, expect: Callable[[str], None]) -> str:
    """What a machine has printed of a test that failed; nothing if it has printed what is expected."""
    if failed := re.search(r"^FAIL .*$", printed, re.MULTILINE):
        return failed[0].strip()
    try:
        expect(printed)
    except AssertionError:
        return printed.strip().splitlines()[-1]
    return ""


def say_of_autopsy(fault: Fault, copies: Path, folder: Path) -> str:
    """How an autopsy contradicts a Veneer with the fault on its last exits; nothing if it does not."""
    return say_of_post_mortem(break_veneer(ROOT, copies, (fault,)).parent, "amd", folder)


def say_of_payload(fault: Fault, copies: Path, folder: Path) -> str:
    """Which lines of the payload that starts CPUs accuse a Veneer with the fault; nothing if none does.

    AssertionError if it is not judged on the fault's target.
    """
    build_cpus(folder)
    payloads = folder / "list.toml"
    payloads.write_text(PAYLOADS)
    subject = break_veneer(ROOT, copies, (fault,))
    outcome = run_checks(ROOT, fault.target, subject, [f"--payload={payloads}"])
    assert outcome.red or outcome.green, outcome.output
    return "; ".join(f"{check}: {verdict}" for check, verdict in outcome.red.items() if verdict in SEEN)
