"""A subject's last exits: as an autopsy reads them in its machine's memory, and as the subject tells them."""

from __future__ import annotations

from pathlib import Path

from touchstone.drivers.build import build_bare
from touchstone.drivers.registry import make_driver
from touchstone.machine.driver import Driver
from touchstone.machine.probe import Operand, ProbeRequest
from touchstone.machine.settings import TargetSettings

MACHINES = {
    "amd": TargetSettings("post-mortem", "qemu", "amd", 2, timeout_factor=10.0),
    "intel": TargetSettings("post-mortem", "bochs", "intel", 2, timeout_factor=10.0),
}
CPUIDS = bytes.fromhex("89e8 0fa2 ffcd 75f8")
"""1: mov eax, ebp; cpuid; dec ebp; jnz 1b"""
RING, PLACE = 64, 50
"""Entries of a ring of Veneer's, and which of them the last exit takes: another half than the first."""
SHOWN = 8


def say_of_post_mortem(hypervisor: Path, vendor: str, directory: Path) -> str:
    """How an autopsy and the subject contradict each other on each CPU's last exits; empty: not at all."""
    image = build_bare(hypervisor, directory=directory / "build")
    driver = make_driver(MACHINES[vendor], image, directory)
    try:
        driver.start(lambda _: None)
        driver.load()
        told = [line for cpu in range(2) for line in _told(driver, cpu)]
        found = list(driver.autopsy().exits)
    finally:
        driver.stop()
    return "" if found == told else f"the subject's last exits are {told}, and an autopsy finds {found}"


def _told(driver: Driver, cpu: int) -> list[str]:
    """What the subject says of a CPU's last exits, in an autopsy's words, after CPUIDs that fill its ring."""
    count = RING + (PLACE - _exits(driver, cpu)) % RING
    (result,) = driver.run(
        ProbeRequest(code=CPUIDS, cpus=(cpu,), registers={"rbp": Operand(offset=count)}, timeout=30.0)
    )
    assert result.vector is None, f"CPU {cpu}: {count} CPUIDs ended with vector {result.vector}"
    trace, last = driver.trace(cpu, SHOWN), _exits(driver, cpu)
    lines = []
    for number, line in enumerate(trace, last - len(trace) + 1):
        code, rip, info = (word.rpartition("=")[2] for word in line.split())
        eax, ecx = int(info, 16) & 0xFFFFFFFF, int(info, 16) >> 32
        place = f"{int(rip, 16):#x}"
        lines.append(f"CPU {cpu} #{number}: exit {int(code, 16):#x} at {place} eax={eax:08x} ecx={ecx:08x}")
    return lines


def _exits(driver: Driver, cpu: int) -> int:
    return sum(driver.exits(cpu).values())
