"""CPUID and the capability MSRs of a target, read once, before any subject is loaded."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from touchstone.machine.driver import AgentRefused, Driver
from touchstone.machine.probe import Operand, ProbeRequest

PROBE_TIMEOUT = 5.0
"""Seconds for a probe that only reads a CPU."""
Leaf = tuple[int, int]
"""CPUID leaf and subleaf."""
Registers = tuple[int, int, int, int]
"""EAX, EBX, ECX, EDX."""

# Reads r8d pairs of leaf and subleaf from rsi, and writes the four registers of each to rdi.
READ_LEAVES = bytes.fromhex(
    "8b06"  # 0: mov eax, [rsi]
    "8b4e04"  #  mov ecx, [rsi+4]
    "0fa2"  #    cpuid
    "8907"  #    mov [rdi], eax
    "895f04"  #  mov [rdi+4], ebx
    "894f08"  #  mov [rdi+8], ecx
    "89570c"  #  mov [rdi+12], edx
    "4883c608"  # add rsi, 8
    "4883c710"  # add rdi, 16
    "41ffc8"  #  dec r8d
    "75e1"  #    jne 0
)
READ_MSR = bytes.fromhex("0f32")

_OUTPUT = 0x400
_BATCH = 12  # leaves that one probe reads
_BRAND = tuple((leaf, 0) for leaf in (0x80000002, 0x80000003, 0x80000004))
_SVM: Leaf = (0x8000000A, 0)
_FEATURES_8000_0001: Leaf = (0x80000001, 0)
_BASE: tuple[Leaf, ...] = ((0, 0), (1, 0), (0x80000000, 0), _FEATURES_8000_0001, _SVM, *_BRAND)

# APM3 E.4.9 and SDM 3C 24.6.2: the features that most checks depend on.
_SVM_BITS = {
    0: "NPT",
    3: "NRIPS",
    5: "VMCB clean",
    6: "flush by ASID",
    7: "decode assists",
    16: "VGIF",
    25: "VNMI",
}
_VMX_BITS = {1: "EPT", 5: "VPID", 7: "unrestricted guest", 14: "VMCS shadowing", 17: "PML"}
_VMX_BASIC, _VMX_PROCBASED, _VMX_PROCBASED2 = 0x480, 0x482, 0x48B
_MICROCODE = 0x8B  # IA32_BIOS_SIGN_ID (SDM 3A 10.11.7), PATCH_LEVEL (APM2 appendix A)


@dataclass
class MeasuredCpu:
    """CPUID and capability MSRs of CPU 0, and what follows from them."""

    vendor: str
    cpus: int
    leaves: dict[Leaf, Registers] = field(default_factory=dict)
    msrs: dict[int, int] = field(default_factory=dict)

    def read(self, leaf: Leaf) -> Registers:
        """A leaf that was measured; zeros above the highest one, where a CPU may answer with another's."""
        limit = self.leaves[0x80000000 if leaf[0] >= 0x80000000 else 0, 0][0]
        return self.leaves.get(leaf, (0, 0, 0, 0)) if leaf[0] <= limit else (0, 0, 0, 0)

    @property
    def model(self) -> str:
        """The CPU's brand string, or its vendor string where it has none."""
        text = b"".join(struct.pack("<4I", *self.read(leaf)) for leaf in _BRAND)
        brand = " ".join(text.split(b"\0")[0].decode("ascii", "replace").split())
        eax_ebx_ecx_edx = self.leaves[0, 0]
        vendor = struct.pack("<3I", eax_ebx_ecx_edx[1], eax_ebx_ecx_edx[3], eax_ebx_ecx_edx[2])
        return brand or vendor.decode("ascii", "replace")

    @property
    def stepping(self) -> str:
        """``family 0x17, model 0x31, stepping 0`` (SDM 2A, CPUID leaf 1; APM3 E.3.2)."""
        eax = self.read((1, 0))[0]
        family, model = eax >> 8 & 0xF, eax >> 4 & 0xF
        if family in (6, 0xF):
            model |= eax >> 12 & 0xF0
        if family == 0xF:
            family += eax >> 20 & 0xFF
        return f"family {family:#x}, model {model:#x}, stepping {eax & 0xF}"

    @property
    def microcode(self) -> str:
        """The revision that the firmware or the OS has loaded; empty if there is none, as in an emulator."""
        value = self.msrs.get(_MICROCODE, 0)
        revision = value >> 32 if self.vendor == "intel" else value & 0xFFFFFFFF
        return f"{revision:#x}" if revision else ""

    @property
    def virtualization(self) -> str:
        """``SVM revision 1 (NPT, VGIF)``, ``VMX revision 0x12 (EPT, VPID)``, ``no virtualization``."""
        if self.vendor == "amd" and self.read(_FEATURES_8000_0001)[2] >> 2 & 1:
            revision, _, _, edx = self.read(_SVM)
            return f"SVM revision {revision & 0xFF}{_listed(edx, _SVM_BITS)}"
        if self.vendor == "intel" and self.read((1, 0))[2] >> 5 & 1:
            basic = self.msrs.get(_VMX_BASIC)
            if basic is None:
                return "VMX (its capability MSRs cannot be read)"
            allowed = self.msrs.get(_VMX_PROCBASED2, 0) >> 32
            return f"VMX revision {basic & 0x7FFFFFFF:#x}{_listed(allowed, _VMX_BITS)}"
        return "no virtualization"


def _listed(bits: int, names: dict[int, str]) -> str:
    found = [name for bit, name in names.items() if bits >> bit & 1]
    return f" ({', '.join(found)})" if found else ""


def measure_cpu(
    driver: Driver,
    vendor: str,
    cpus: int,
    leaves_wanted: Iterable[Leaf],
    msrs_wanted: Iterable[int],
    timeout: float,
    *,
    cpl: Literal[0, 3] = 0,
) -> MeasuredCpu:
    """Read the leaves and MSRs that a description needs, and those that are wanted, on CPU 0.

    At CPL 3, MSRs cannot be read.
    """
    cpu = MeasuredCpu(vendor, cpus)
    leaves = list(dict.fromkeys((*_BASE, *leaves_wanted)))
    for first in range(0, len(leaves), _BATCH):
        batch = leaves[first : first + _BATCH]
        request = ProbeRequest(
            code=READ_LEAVES,
            registers={
                "rsi": Operand("scratch"),
                "rdi": Operand("scratch", _OUTPUT),
                "r8": Operand(offset=len(batch)),
            },
            memory=((0, b"".join(struct.pack("<II", *leaf) for leaf in batch)),),
            read=(_OUTPUT, 16 * len(batch)),
            timeout=timeout,
            cpl=cpl,
        )
        (result,) = driver.run(request)
        for leaf, registers in zip(batch, struct.iter_unpack("<4I", result.memory), strict=True):
            cpu.leaves[leaf] = registers
    if cpl == 3:
        return cpu
    if vendor == "intel" and cpu.read((1, 0))[2] >> 5 & 1:
        for msr in (_VMX_BASIC, _VMX_PROCBASED):
            _read_msr(driver, cpu, msr, timeout)
        if cpu.msrs.get(_VMX_PROCBASED, 0) >> 63:  # secondary controls may be activated (SDM 3C A.3.2)
            _read_msr(driver, cpu, _VMX_PROCBASED2, timeout)
    for msr in (_MICROCODE, *msrs_wanted):
        if msr not in cpu.msrs:
            _read_msr(driver, cpu, msr, timeout)
    return cpu


def _read_msr(driver: Driver, cpu: MeasuredCpu, msr: int, timeout: float) -> None:
    try:
        (result,) = driver.run(
            ProbeRequest(code=READ_MSR, registers={"rcx": Operand(offset=msr)}, timeout=timeout)
        )
    except AgentRefused:
        return
    if result.vector is None:
        cpu.msrs[msr] = (result.registers["rdx"] & 0xFFFFFFFF) << 32 | result.registers["rax"] & 0xFFFFFFFF
