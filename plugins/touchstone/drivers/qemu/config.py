"""How a QEMU is started: the target's options, checked, and what they come to."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace

from touchstone.drivers.options import check_apic, check_uefi_memory, options_of
from touchstone.machine.settings import SettingsError, TargetSettings

OLDEST = (7, 2)
INSTALL = "apt-get install qemu-system-x86"

OPTIONS: Mapping[str, type] = {
    "accel": str,
    "machine": str,
    "firmware": str,
    "uefi": bool,
    "apic": str,
    "binary": str,
    "arguments": list,
}
"""``machine`` and ``firmware`` are QEMU's -machine and -bios; ``uefi``: a UEFI firmware boots the machine,
Debian's OVMF or that of ``firmware``; ``arguments`` are appended to its command."""

FAST_FIRMWARE = "qboot.rom"
"""Comes with QEMU and boots a Multiboot image in half of SeaBIOS's time (0.07 s against 0.13 s, 4 CPUs)."""


@dataclass(frozen=True)
class QemuSettings:
    """The options of ``OPTIONS``, checked."""

    accel: str
    """``tcg``, ``kvm``, or ``auto``: KVM if it nests SVM on this host, else the software CPU."""
    machine: str
    firmware: str
    """Empty: what QEMU takes by itself (SeaBIOS); with ``uefi``, Debian's OVMF."""
    uefi: bool
    binary: str
    arguments: tuple[str, ...]


def read_settings(settings: TargetSettings) -> QemuSettings:
    """What QEMU is asked for. SettingsError for what it could not be."""
    options = options_of(settings, OPTIONS, "QEMU's driver")
    check_uefi_memory(settings)
    check_apic(settings, options)
    accel = settings.accel
    if accel not in ("tcg", "kvm", "auto"):
        raise SettingsError("accel", f"{accel!r} is none of 'tcg', 'kvm' and 'auto'")
    if accel != "kvm" and settings.vendor == "intel":
        raise SettingsError("accel", "QEMU's software CPU has no VMX; KVM has it ('kvm'), and Bochs")
    arguments = options.get("arguments", [])
    assert isinstance(arguments, list)
    if not all(isinstance(word, str) for word in arguments):
        raise SettingsError("arguments", f"{arguments!r} is not a list of strings")
    return QemuSettings(
        accel=accel,
        machine=_without_vmport(str(options.get("machine", "pc"))),
        firmware=str(options.get("firmware", "" if options.get("uefi") else FAST_FIRMWARE)),
        uefi=bool(options.get("uefi")),
        binary=str(options.get("binary", "qemu-system-x86_64")),
        arguments=tuple(arguments),
    )


def _without_vmport(machine: str) -> str:
    """QEMU's -machine, without the port 5658h of VMware's hypervisor, which a bare machine does not have."""
    name, *said = machine.split(",")
    if name == "microvm" or any(word.startswith("vmport=") for word in said):
        return machine
    return f"{machine},vmport=off"


def cpu_model(settings: TargetSettings, accel: str) -> str:
    """QEMU's -cpu: the model, without CPUID's signs of a virtual machine.

    A bare machine has no CPUID leaf 0x40000000, and claims no hypervisor in leaf 1.
    """
    default = ("host" if accel == "kvm" else "EPYC") + (",+svm,+npt" if settings.vendor == "amd" else ",+vmx")
    chosen_for_tcg = accel == "kvm" and settings.options.get("accel") == "auto"
    model = default if chosen_for_tcg else settings.cpu_model or default
    said = {word.lstrip("+-").split("=")[0] for word in model.split(",")[1:]}
    for name, flag in (("hypervisor", "-hypervisor"), ("tcg-cpuid", "tcg-cpuid=off"), ("kvm", "kvm=off")):
        if name not in said and not (accel == "tcg" and name == "kvm"):
            model += f",{flag}"
    return model


def too_old(binary: str, version: tuple[int, int]) -> str:
    """The sentence for a QEMU that is older than OLDEST."""
    wanted, found = (".".join(map(str, numbers)) for numbers in (OLDEST, version))
    return f"{binary} is version {found}; {wanted} or newer is needed ({INSTALL})"


UNKNOWN_VERSION = (0, 0)
"""Of a QEMU that does not tell its version."""


def installed_version(binary: str) -> tuple[int, int]:
    """Version of a QEMU program, or UNKNOWN_VERSION."""
    try:
        run = subprocess.run([binary, "--version"], capture_output=True, timeout=60, check=False)
        major, minor = run.stdout.decode().split("version ", 1)[1].split(".")[:2]
        return (int(major), int(minor))
    except (OSError, subprocess.SubprocessError, IndexError, ValueError):
        return UNKNOWN_VERSION


FIRST_WITH_X2APIC = (9, 0)
"""The first QEMU whose software CPU has this mode of the local APIC."""


def without_x2apic(binary: str) -> str:
    """That the software CPU of a QEMU has no x2APIC mode, in one sentence; nothing if it may have."""
    found = installed_version(binary)
    if UNKNOWN_VERSION < found < FIRST_WITH_X2APIC:
        said, first = (".".join(map(str, numbers)) for numbers in (found, FIRST_WITH_X2APIC))
        return f"the software CPU of {binary} {said} has no x2APIC mode; that of {first} and later has"
    return ""


def read_linux_settings(settings: TargetSettings) -> QemuSettings:
    """QEMU's settings for a Linux machine: those of the target's options that QEMU's driver knows.

    SettingsError as for that driver. The target's other options are those of the SSH driver.
    """
    options = {key: value for key, value in settings.options.items() if key.replace("-", "_") in OPTIONS}
    return read_settings(replace(settings, options=options))
