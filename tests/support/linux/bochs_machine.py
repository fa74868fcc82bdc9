"""A kernel and an initramfs in Bochs, whose processors have VMX."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from touchstone.drivers.bochs.config import INSTALL, check_firmware, read_linux_settings
from touchstone.drivers.bochs.disk import write_disk
from touchstone.drivers.bochs.linux import command_line
from touchstone.drivers.bochs.process import BochsProcess
from touchstone.machine.settings import TargetSettings

MEMORY_MIB = 256
DEVICES = """\
com1: enabled=1, mode=file, dev={console}
pci: enabled=1, chipset=i440fx
"""
# Bochs ends at a triple fault: that is how Linux is to start the machine again.
WORDS = "reboot=t panic=-1"
QUICK = "mitigations=off rodata=off"
"""Words for a kernel that boots in two thirds of the time, for what the nightly job does with a stock one.

Its page tables are not isolated from those of processes, and nobody looks for writable and executable ones.
"""
RESTARTED = "exception with no resolution"


def run_bochs(image: Path, initrd: Path, cpus: int, append: str, timeout: float) -> str:
    """Everything on the console until the machine starts again. Fails the test if it does not.

    ``timeout``: seconds. Everything that Bochs needs is put beside ``initrd``.
    """
    bochs = read_linux_settings(
        TargetSettings("linux-module", "bochs", "intel", cpus=cpus, memory_mib=MEMORY_MIB)
    )
    if not shutil.which(bochs.binary):
        pytest.skip(f"no {bochs.binary} here: {INSTALL}")
    check_firmware(bochs)
    directory = initrd.parent
    console, disk = directory / "console", directory / "disk.img"
    words = f"{command_line(bochs.ips)} {WORDS} {append}"
    write_disk(image, initrd, words, bochs.memory_mib, disk)
    console.touch()
    until = time.monotonic() + timeout
    process = BochsProcess(bochs, directory, DEVICES.format(console=console))
    try:
        while not console.stat().st_size and not process.wait(0.1) and time.monotonic() < until:
            pass
        process.keep_readable()
        ended = process.wait(max(0.0, until - time.monotonic()))
        said = f"{console.read_text(encoding='utf-8', errors='backslashreplace')}\n{process.log_tail()}"
    finally:
        process.kill()
        disk.unlink()
    if not ended:
        pytest.fail(f"not done after {timeout:.0f} s:\n{said}")
    if RESTARTED not in process.panic():
        pytest.fail(f"Bochs {process.describe_end()} before the machine started again:\n{said}")
    return said
