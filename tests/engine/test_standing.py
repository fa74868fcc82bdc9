"""Where in its probe a CPU stands, read from the registers as the monitors print them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from touchstone.engine.standing import offsets_in_probe
from touchstone.machine.driver import Autopsy, TargetInfo
from touchstone.machine.probe import Place, ProbeRequest

INFO = TargetInfo("amd", 4, "bare", "veneer", "1", slot=0xF0000000, uslot=0xF1000000, stride=0x8000)
PROBE = ProbeRequest(b"\x90\x0f\x32\x90", cpus=(1, 2))


def seen(*registers: str, probe: ProbeRequest = PROBE) -> list[int]:
    found = Autopsy("it hangs", dict(enumerate(registers)))
    return sorted(offsets_in_probe(found, INFO, probe))


@pytest.mark.parametrize(
    "registers",
    [
        "RIP=00000000f0008001 RFL=00000046",
        "rip: 00000000_f0008001\neflags 0x00000046",
        "rax=0000000000000001 rip=00000000f0008001 rfl=0002",
    ],
    ids=["QEMU", "Bochs", "guest"],
)
def test_each_monitor_is_understood(registers: str) -> None:
    assert seen("RIP=ffffffff81000000", registers) == [1]


def test_a_guest_says_all_its_cpus_at_once() -> None:
    assert seen("CPU 1 runs\nrip=00000000f0008001\nCPU 2 is in HLT\nrip=00000000f0010003\n") == [1, 3]


@pytest.mark.parametrize(
    "rip",
    [0xF0008004, 0xF0007FFF, 0xF0000001, 0xF1008001, 0x8001],
    ids=["end", "before", "cpu", "ring", "low"],
)
def test_elsewhere_is_not_in_the_probe(rip: int) -> None:
    """Not behind it, nor in the slot of a CPU that it does not run on."""
    assert seen(f"RIP={rip:016x}") == []


def test_the_place_of_a_probe() -> None:
    assert seen("RIP=00000000f1010101", probe=replace(PROBE, cpl=3, at=0x100)) == [1]
    linear = replace(PROBE, place=Place(linear=0xFFFFFFFE))
    assert seen("RIP=00000000ffffffff", "RIP=00000000f0008001", probe=linear) == [1]


@pytest.mark.parametrize(
    "probe",
    [
        replace(PROBE, place=Place(base=0x1000)),
        replace(PROBE, place=Place("pae-paging")),
        replace(PROBE, code_bits=16),
    ],
)
def test_where_rip_is_no_linear_address_nothing_is_known(probe: ProbeRequest) -> None:
    assert seen("RIP=00000000f0008001", probe=probe) == []


def test_without_registers_nothing_is_known() -> None:
    assert seen() == []
    assert offsets_in_probe(None, INFO, PROBE) == frozenset()
