"""The facts that requirements of checks are about: of the inventory, of the subject's file, and of CPUID."""

from __future__ import annotations

from collections.abc import Iterable

from touchstone.config.inventory import Target
from touchstone.config.subjects import Subject
from touchstone.engine.cpu import Leaf, MeasuredCpu
from touchstone.suite import cpuid, requires
from touchstone.suite.model import Check


def static_facts(target: Target, subject: Subject) -> requires.Facts:
    """What the inventory and the subject's file say, for ``requires``; nothing is contacted.

    The OS of a driver that is not known here is found out when the target is reached.
    """
    settings = target.settings
    os = {"qemu": "bare", "bochs": "bare", "ssh": "linux"}.get(settings.driver)
    return {
        "vendor": settings.vendor,
        **({"os": os} if os else {}),
        "cpus": settings.cpus,
        "target": target.name,
        "driver": settings.driver,
        "subject": subject.name,
        **{f"subject.{name}": value for name, value in subject.claims.items()},
    }


def leaves_for(checks: Iterable[Check]) -> list[Leaf]:
    """The CPUID leaves that the requirements of checks ask for."""
    names: set[str] = set()
    for check in checks:
        for requirement in (*check.requires, *(one for case in check.cases for one in case.requires)):
            names |= requires.names_used(requirement)
    features = cpuid.features()
    found = {
        (feature.leaf, feature.subleaf)
        for name in names
        if name.startswith("cpuid.") and (feature := features.get(name.removeprefix("cpuid.")))
    }
    return sorted(found)


def cpuid_facts(cpu: MeasuredCpu) -> requires.Facts:
    """``cpuid.FEATURE`` of every leaf that was measured."""
    registers = ("eax", "ebx", "ecx", "edx")
    return {
        f"cpuid.{name}": cpu.read((feature.leaf, feature.subleaf))[registers.index(feature.register)]
        >> feature.low
        & ((1 << feature.width) - 1)
        for name, feature in cpuid.features().items()
        if (feature.leaf, feature.subleaf) in cpu.leaves
    }
