"""The options of a target in the inventory, checked against those that its driver has."""

from __future__ import annotations

from collections.abc import Mapping

from touchstone.machine.probe_lines import MOST_CPUS
from touchstone.machine.settings import X2APIC, SettingsError, TargetSettings


def options_of(settings: TargetSettings, known: Mapping[str, type], whose: str) -> dict[str, object]:
    """The target's options with ``_`` for ``-``. SettingsError for one that is unknown or of a wrong type.

    ``whose``: who has the options, as the message names it. Checks ``cpus`` and ``memory-mib`` as well.
    """
    options = {key.replace("-", "_"): value for key, value in settings.options.items()}
    for key, value in options.items():
        if key not in known:
            raise SettingsError(key, f"{whose} has no such option; it has {', '.join(sorted(known))}")
        if not isinstance(value, known[key]) or (isinstance(value, bool) and known[key] is not bool):
            raise SettingsError(key, f"{value!r} is not a {known[key].__name__}")
    if not 1 <= settings.cpus <= MOST_CPUS:
        raise SettingsError("cpus", f"{settings.cpus} is not between 1 and {MOST_CPUS}")
    if not 16 <= settings.memory_mib <= 2048:
        raise SettingsError("memory-mib", f"{settings.memory_mib} is not between 16 and 2048")
    return options


LEAST_UEFI_MEMORY_MIB = 128


def check_uefi_memory(settings: TargetSettings) -> None:
    """SettingsError if a UEFI firmware would have too little memory."""
    if settings.uefi and settings.memory_mib < LEAST_UEFI_MEMORY_MIB:
        raise SettingsError(
            "memory-mib",
            f"{settings.memory_mib} is too little for UEFI; give it {LEAST_UEFI_MEMORY_MIB}",
        )


APIC_MODES = ("xapic", X2APIC)
"""Of the option ``apic``: the mode in which the bare OS has the local APICs."""


def check_apic(settings: TargetSettings, options: Mapping[str, object]) -> None:
    """SettingsError for a mode of the local APIC that there is not, or that the OS cannot choose."""
    mode = options.get("apic", "xapic")
    if mode not in APIC_MODES:
        raise SettingsError("apic", f"{mode!r} is none of {', '.join(map(repr, APIC_MODES))}")
    if settings.x2apic and settings.uefi:
        raise SettingsError("apic", "the firmware has started the CPUs, in xAPIC mode")
    if "apic" in options and settings.driver == "ssh":
        raise SettingsError("apic", "the Linux of a box chooses it itself")
