"""The facts that requirements are about: of the inventory, of the subject's file, of CPUID and of MSRs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from touchstone.config.inventory import Target
from touchstone.config.subjects import Subject
from touchstone.engine.cpu import PROBE_TIMEOUT, Leaf, MeasuredCpu, measure_cpu
from touchstone.machine.driver import Driver, TargetInfo
from touchstone.machine.intercepts.names import NAMES, STATE_NAMES, fact
from touchstone.machine.settings import RING0, TargetSettings
from touchstone.suite import cpu_bits, requires
from touchstone.suite.cpu_bits import CpuidBits, MsrBits
from touchstone.suite.model import Check


def static_facts(target: Target, subject: Subject) -> requires.Facts:
    """What the inventory and the subject's file say, for ``requires``; nothing is contacted.

    The OS of a driver that is not known here is found out when the target is reached.
    """
    settings = target.settings
    os = {"qemu": "bare", "bochs": "bare", "ssh": "linux", "here": "linux"}.get(settings.driver)
    way = "here" if settings.driver == "here" else os
    if subject.hosted and os == "linux":
        os, way = "bare", "hosted"
    if settings.uefi:
        way = "uefi"
    return {
        "vendor": settings.vendor,
        **({RING0: True} if settings.ring0 else {}),
        **({"os": os, "way": way} if os and way else {}),
        "cpus": settings.cpus,
        **dict.fromkeys(map(fact, (*NAMES, *STATE_NAMES)), True),  # until a self-test finds otherwise
        "target": target.inventory_name,
        **({requires.CALLED: target.name} if target.base else {}),
        "driver": settings.driver,
        **({} if (emulator := emulator_of(settings)) is None else {"emulator": emulator}),
        "subject": subject.name,
        **{f"subject.{name}": value for name, value in subject.on(settings).claims.items()},
    }


def emulator_of(settings: TargetSettings, accelerator: str = "") -> str | None:
    """``qemu`` or ``bochs`` if it is the processor under the target; else ``none``.

    None: not known before it is reached, since KVM runs QEMU's processors if it nests on this host.
    ``accelerator``: what the driver that has reached it says of that.
    """
    if settings.driver == "ssh" and "image" in settings.options:  # a virtual box
        return str(settings.options.get("emulator", "qemu"))
    if settings.driver != "qemu":
        return settings.driver if settings.driver == "bochs" else "none"
    return {"tcg": "qemu", "kvm": "none"}.get(accelerator or settings.accel)


def bits_for(checks: Iterable[Check]) -> dict[str, CpuidBits | MsrBits]:
    """The bits of CPUID and of MSRs that the requirements of checks ask for, by the names that they use."""
    names: set[str] = set()
    for check in checks:
        for requirement in (*check.requires, *(one for case in check.cases for one in case.requires)):
            names |= requires.names_used(requirement)
    return {name: cpu_bits.parse(name) for name in names if name.startswith(("cpuid.", "msr."))}


def leaves_for(bits: Iterable[CpuidBits | MsrBits]) -> list[Leaf]:
    """The CPUID leaves among them."""
    return sorted({(one.leaf, one.subleaf) for one in bits if isinstance(one, CpuidBits)})


def msrs_for(bits: Iterable[CpuidBits | MsrBits]) -> list[int]:
    """The MSRs among them."""
    return sorted({one.msr for one in bits if isinstance(one, MsrBits)})


def cpu_facts(cpu: MeasuredCpu, bits: Mapping[str, CpuidBits | MsrBits]) -> requires.Facts:
    """The values of bits on a CPU whose leaves and MSRs were measured.

    An MSR that cannot be read counts as 0, as a CPUID leaf above the highest one does.
    """
    registers = ("eax", "ebx", "ecx", "edx")

    def value(one: CpuidBits | MsrBits) -> int:
        if isinstance(one, MsrBits):
            return cpu.msrs.get(one.msr, 0)
        return cpu.read((one.leaf, one.subleaf))[registers.index(one.register)]

    return {name: value(one) >> one.low & ((1 << one.width) - 1) for name, one in bits.items()}


def measured_facts(
    driver: Driver,
    info: TargetInfo,
    checks: Iterable[Check],
    more: Iterable[Leaf] = (),
    cpl: Literal[0, 3] = 0,
) -> tuple[MeasuredCpu, requires.Facts]:
    """Measure CPU 0, and the bits that the requirements of checks ask for; ``more`` leaves are read, too.

    At CPL 3, where MSRs cannot be read, their bits are no facts.
    """
    bits = bits_for(checks)
    if cpl == 3:
        bits = {name: one for name, one in bits.items() if isinstance(one, CpuidBits)}
    leaves, msrs = [*leaves_for(bits.values()), *more], msrs_for(bits.values())
    cpu = measure_cpu(driver, info.vendor, info.cpus, leaves, msrs, PROBE_TIMEOUT, cpl=cpl)
    return cpu, cpu_facts(cpu, bits)
