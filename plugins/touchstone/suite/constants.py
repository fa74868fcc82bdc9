"""Names for numbers, in bodies as in ``given`` and ``expect``."""

from __future__ import annotations

from collections.abc import Mapping

from touchstone.machine.probe import SCRATCH_OFFSET, SCRATCH_SIZE
from touchstone.suite import msrs, raising

CONSTANTS: Mapping[str, int] = {
    "KERNEL_CS": 0x08,
    "KERNEL_DS": 0x10,
    "KERNEL_CS32": 0x18,
    "USER_CS32": 0x23,
    "USER_DS": 0x2B,
    "USER_CS": 0x33,
    "TSS": 0x40,
    "SCRATCH_OFFSET": SCRATCH_OFFSET,
    "SCRATCH_SIZE": SCRATCH_SIZE,
    "LOCAL_APIC": raising.LOCAL_APIC,
    **raising.REGISTERS,
    **msrs.symbols(),
}
"""The agent's selectors (``targets/agent/PROTOCOL.md``), the slot's layout, the local APIC, and the MSRs."""
