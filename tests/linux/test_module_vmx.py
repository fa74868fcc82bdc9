"""veneer.ko on VMX, in Bochs: the same program as on SVM, in the oldest of the stock kernels.

By night: it takes minutes of a CPU. By day, tests/acceptance/test_running_linux.py loads and unloads the
module under a running Linux in Bochs, and test_module.py has this program on SVM.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.linux import bochs_machine, linux_machine

pytestmark = pytest.mark.nightly
TIMEOUT = 2400.0
"""Seconds."""


def run(tmp_path: Path, cpus: int, append: str) -> str:
    kernel = linux_machine.oldest_kernel()
    initrd = linux_machine.build_initrd(kernel, "kvm_intel", tmp_path)
    return bochs_machine.run_bochs(kernel.image, initrd, cpus, append, TIMEOUT)


def test_busy_linux_does_not_notice(tmp_path: Path) -> None:
    output = run(tmp_path, 3, "suspend.pm_test_delay=0 cycles=100 quiet-cycles=50")
    linux_machine.expect_all(output)
    assert re.search(r"^# ok loaded=1 .* cpus=3 backend=vmx ", output, re.MULTILINE), output


def test_last_words_get_out(tmp_path: Path) -> None:
    # Looking for pages that are writable and executable took 34 s of a boot of 206 on a busy machine.
    linux_machine.expect_last_words(run(tmp_path, 1, "die=1 rodata=off"))
