"""What the inventory says about one target, for the driver that has to drive it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


class SettingsError(ValueError):
    """A setting that its driver cannot work with: which one, its value, and what would do."""

    def __init__(self, key: str, what: str) -> None:
        super().__init__(f"{key}: {what}")
        self.key = key
        """Key in the inventory's table of the target; options of the driver by their own name."""
        self.what = what


X2APIC = "x2apic"
RING0 = "ring0"
"""Option of the driver ``here``, and the fact that a machine that is judged as it is found has it."""


@dataclass(frozen=True)
class TargetSettings:
    """One target of the inventory. ``touchstone.drivers.registry.validate`` says if its driver takes it."""

    name: str
    driver: str
    """``qemu``, ``bochs``."""
    vendor: Literal["intel", "amd"]
    cpus: int = 4
    memory_mib: int = 64
    """RAM of the machine in MiB."""
    cpu_model: str = ""
    """As the emulator names it (``EPYC,+svm,+npt``, ``corei7_skylake_x``); empty: the driver's default."""
    timeout_factor: float = 1.0
    """Stretches every timeout."""
    options: Mapping[str, object] = field(default_factory=dict)
    """What only this driver knows; see its ``OPTIONS``."""

    @property
    def uefi(self) -> bool:
        """Whether a UEFI firmware boots it: an option of the emulators' drivers."""
        return bool(self.options.get("uefi"))

    @property
    def ring0(self) -> bool:
        """Whether the agent's kernel module is inserted into the machine that we run on."""
        return bool(self.options.get(RING0))

    @property
    def accel(self) -> str:
        """What runs QEMU's processors: ``tcg``, ``kvm`` or ``auto``. Its software CPU, TCG, has no VMX."""
        return str(self.options.get("accel", "kvm" if self.vendor == "intel" else "tcg"))

    @property
    def x2apic(self) -> bool:
        """Whether the bare OS has its CPUs in x2APIC mode: an option of the emulators' drivers."""
        return self.options.get("apic") == X2APIC
