"""What the drivers' tests need: settings, probes, a driver that is stopped again."""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Iterator
from pathlib import Path

from touchstone.drivers.build import BareImage
from touchstone.drivers.emulator import EmulatorDriver
from touchstone.drivers.registry import make_driver
from touchstone.machine.driver import TargetInfo
from touchstone.machine.probe import ProbeRequest
from touchstone.machine.settings import TargetSettings

CPUID = ProbeRequest(code=b"\x0f\xa2")
HANG = ProbeRequest(code=b"\xeb\xfe", timeout=0.2)  # jmp .
NULL_IDT = bytes.fromhex("6a 00 6a 00 0f 01 1c 24")  # push 0; push 0; lidt [rsp]
TRIPLE_FAULT = ProbeRequest(code=NULL_IDT + b"\xcc", timeout=10.0)


def qemu(cpus: int = 4, **options: object) -> TargetSettings:
    return TargetSettings("qemu-test", "qemu", "amd", cpus=cpus, options=options)


def silent(_: str) -> None:
    pass


@contextlib.contextmanager
def running(
    settings: TargetSettings, image: BareImage | None, logs: Path
) -> Iterator[tuple[EmulatorDriver, TargetInfo]]:
    driver = make_driver(settings, image, logs)
    assert isinstance(driver, EmulatorDriver)
    try:
        yield driver, driver.start(silent)
    finally:
        driver.stop()
        assert driver.pid is None


def ends_within(pid: int, seconds: float) -> bool:
    """Whether a process (of anybody) ends in time."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([fd], [], [], seconds)[0])
    finally:
        os.close(fd)
