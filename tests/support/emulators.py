"""What the drivers' tests need: settings, probes, a driver that is stopped again."""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from touchstone.drivers.build import BareImage
from touchstone.drivers.emulated.driver import EmulatorDriver
from touchstone.drivers.registry import make_driver
from touchstone.machine.driver import AgentRefused, TargetHung, TargetInfo
from touchstone.machine.probe import ProbeRequest, ProbeResult
from touchstone.machine.settings import TargetSettings

FACTOR = 6.0
"""Of every timeout of a machine: the computer that runs it may be busy with others."""
CPUID = ProbeRequest(code=b"\x0f\xa2")
SAYS_X = bytes.fromhex("66 ba f8 03 b0 58 ee")  # mov dx, 0x3f8; mov al, 'X'; out dx, al
HANG = ProbeRequest(code=SAYS_X + b"\xeb\xfe")  # jmp .
NULL_IDT = bytes.fromhex("6a 00 6a 00 0f 01 1c 24")  # push 0; push 0; lidt [rsp]
TRIPLE_FAULT = ProbeRequest(code=NULL_IDT + b"\xcc", timeout=60.0 / FACTOR)
PATIENT = replace(CPUID, timeout=600.0 / FACTOR)
"""Its answer is waited for so long that nobody takes the end of that for an end at once."""
AT_ONCE = 120.0


def qemu(cpus: int = 4, **options: object) -> TargetSettings:
    return TargetSettings("qemu-test", "qemu", "amd", cpus=cpus, timeout_factor=FACTOR, options=options)


def silent(_: str) -> None:
    pass


def emulator_driver(settings: TargetSettings, image: BareImage | None, logs: Path) -> EmulatorDriver[Any]:
    driver = make_driver(settings, image, logs)
    assert isinstance(driver, EmulatorDriver)
    return driver


def pid_of(machine: EmulatorDriver[Any]) -> int:
    assert machine.pid is not None
    return machine.pid


def emulator_of(machine: EmulatorDriver[Any]) -> Any:
    assert machine._emulator is not None
    return machine._emulator


def slot_of(machine: EmulatorDriver[Any]) -> int:
    assert machine._client is not None
    assert machine._client.info is not None
    return machine._client.info.slot


def accepted(answer: list[ProbeResult] | AgentRefused) -> list[ProbeResult]:
    assert isinstance(answer, list), answer
    return answer


@contextlib.contextmanager
def running(
    settings: TargetSettings, image: BareImage | None, logs: Path
) -> Iterator[tuple[EmulatorDriver[Any], TargetInfo]]:
    driver = emulator_driver(settings, image, logs)
    try:
        yield driver, driver.start(silent)
    finally:
        driver.stop()
        assert driver.pid is None


def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def hang(machine: EmulatorDriver[Any], request: ProbeRequest = HANG) -> int:
    """Have a probe hang; where it does. Its answer is not waited for, but that it was begun is.

    ``request`` says X when it has begun, with SAYS_X, and hangs behind that.
    """

    def begun() -> bool:
        machine._collect()
        return "X" in machine.serial_since(mark)

    mark = machine.serial_position()
    with pytest.raises(TargetHung, match="no answer to run"):
        machine.run(replace(request, timeout=0.01))
    until(begun)
    return slot_of(machine) + len(SAYS_X)


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
