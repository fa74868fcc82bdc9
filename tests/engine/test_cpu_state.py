"""What the probe that reads the state of a CPU brings back, and what counts as a change."""

from __future__ import annotations

import dataclasses
import re
import struct

import pytest
from msgspec.structs import replace

from tests.support.checkout import ROOT
from tests.support.fake_target import FakeDriver
from tests.support.sessions import FakeMachine
from touchstone.config.subjects import Subject
from touchstone.engine.cpu_state import READ_STATE, StateReader
from touchstone.machine.driver import InfrastructureError, TargetInfo
from touchstone.machine.probe import ProbeRequest, ProbeResult
from touchstone.machine.settings import TargetSettings
from touchstone.suite.load import load
from touchstone.suite.msrs import find

READ_ONLY = {"0x179"}
"""IA32_MCG_CAP."""
CR4, DR7 = "rbp", "r9"


def machine(os: str) -> tuple[FakeDriver, TargetInfo]:
    settings = TargetSettings(name="fake", driver="fake", vendor="intel", cpus=2, options={"os": os})
    driver = FakeDriver(settings, Subject(name="none", title="none"))
    return driver, driver.start(lambda _: None)


def changes(os: str, register: str, value: int) -> str | None:
    """What the reader says when a register of CPU 1 is something else the second time."""
    driver, info = machine(os)
    reader = StateReader(info, 1.0)
    reader.learn(driver)
    first, second = driver.run(reader.request())
    second = replace(second, registers={**second.registers, register: value})
    return reader.changes([first, second])


def test_a_change_names_register_cpu_and_both_values() -> None:
    assert changes("bare", CR4, 0x40000) == "CR4 of CPU 1 was 0x0 and is 0x40000"
    assert changes("bare", DR7, 1) == "DR7 of CPU 1 was 0x0 and is 0x1"
    assert changes("bare", CR4, 0) is None


def test_what_linux_switches_with_its_tasks_is_left_out() -> None:
    assert changes("linux", CR4, 1 << 8) is None
    assert changes("linux", DR7, 1) is None
    assert changes("linux", CR4, 1 << 18) == "CR4 of CPU 1 was 0x0 and is 0x40000"


def test_msrs_that_the_machine_lacks_are_left_out() -> None:
    """The fake machine has none from 4000_0000h on; IA32_EFER and the others there are asked for once."""
    driver, info = machine("bare")
    reader = StateReader(info, 1.0)
    before = len(reader.request().memory[0][1])
    reader.learn(driver)
    assert 0 < len(reader.request().memory[0][1]) < before
    assert reader.changes(driver.run(reader.request())) is None


def test_an_msr_that_cannot_be_read_any_more_is_a_change() -> None:
    driver, info = machine("bare")
    reader = StateReader(info, 1.0)
    reader.learn(driver)
    first, second = driver.run(reader.request())
    at = second.start + READ_STATE.index(bytes.fromhex("0f32"))
    faulted = replace(
        second, vector=13, error_code=0, rip=at, registers={**second.registers, "rsi": second.scratch}
    )
    assert reader.changes([first, faulted]) == "IA32_APIC_BASE of CPU 1 cannot be read any more (#GP(0x0))"


def test_a_state_that_cannot_be_read_is_nobodys_fault_but_the_labs() -> None:
    class Faulting(FakeMachine):
        def run(self, probe: ProbeRequest) -> list[ProbeResult]:
            return [replace(one, vector=6) for one in super().run(probe)]

    faulting = Faulting()
    reader = StateReader(faulting.start(lambda _: None), 1.0)
    with pytest.raises(InfrastructureError, match="the state of CPU 0 cannot be read: #UD"):
        reader.learn(faulting)


@pytest.mark.parametrize("area", ["broadcast", "teardown"])
def test_msrs_that_checks_hold_against_the_bare_machine_s_are_read(area: str) -> None:
    """A probe that leaves one of them changed changes what such a check expects.

    Nobody would notice before the target is reset between the two answers: by a crash in another check.
    """
    _, info = machine("bare")
    requests = [
        StateReader(dataclasses.replace(info, vendor=vendor), 1.0).request() for vendor in ("amd", "intel")
    ]
    looked_at = {
        number for request in requests for (number,) in struct.iter_unpack("<I", request.memory[0][1])
    }
    suite = load(ROOT / "conformance" / area / "state-msrs.yaml")
    bodies = "\n".join("; ".join(case.body.lines) for check in suite.checks for case in check.cases)
    read = re.findall(r"mov ecx, (\w+); rdmsr", bodies)
    assert len(read) == bodies.count("rdmsr")
    assert [name for name in read if name not in READ_ONLY and find(name) not in looked_at] == []
