"""veneer.ko on VMX, in Bochs: the same program as on SVM, in the oldest of the stock kernels."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.linux import bochs_machine, linux_machine

TIMEOUT = 2400.0
"""Seconds; on an idle machine it takes less than two minutes."""


def run(tmp_path: Path, cpus: int, append: str) -> str:
    kernel = linux_machine.oldest_kernel()
    initrd = linux_machine.build_initrd(kernel, "kvm_intel", tmp_path)
    return bochs_machine.run_bochs(kernel.image, initrd, cpus, append, TIMEOUT)


@pytest.mark.parametrize(
    ("cpus", "words"),
    [
        (2, f"cycles=6 quiet-cycles=12 hotplug=2 {bochs_machine.QUICK}"),
        pytest.param(3, "cycles=100 quiet-cycles=50", marks=pytest.mark.nightly),
    ],
)
def test_busy_linux_does_not_notice(cpus: int, words: str, tmp_path: Path) -> None:
    output = run(tmp_path, cpus, f"suspend.pm_test_delay=0 {words}")
    linux_machine.expect_all(output)
    assert re.search(rf"^# ok loaded=1 .* cpus={cpus} backend=vmx ", output, re.MULTILINE), output


@pytest.mark.nightly  # a boot in Bochs for one line, which test_module.py has from QEMU
def test_last_words_get_out(tmp_path: Path) -> None:
    # Looking for pages that are writable and executable took 34 s of a boot of 206 on a busy machine.
    linux_machine.expect_last_words(run(tmp_path, 1, "die=1 rodata=off"))
