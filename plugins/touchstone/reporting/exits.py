"""Exits as people read them: the architecture's code with its name, repetitions folded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby

from touchstone.suite.exceptions import VECTORS

_VECTOR_NAMES = {vector: name for name, vector in VECTORS.items()}

# APM2 appendix C, "SVM Intercept Exit Codes", from 60h on.
_SVM_FROM_60 = """
    INTR NMI SMI INIT VINTR CR0-selective SIDT SGDT SLDT STR LIDT LGDT LLDT LTR RDTSC RDPMC
    PUSHF POPF CPUID RSM IRET SWINT INVD PAUSE HLT INVLPG INVLPGA IOIO MSR task-switch FERR-freeze shutdown
    VMRUN VMMCALL VMLOAD VMSAVE STGI CLGI SKINIT RDTSCP ICEBP WBINVD MONITOR MWAIT MWAIT-armed XSETBV RDPRU
"""
# SDM 3D appendix C, "VMX Basic Exit Reasons", from 0 on.
_VMX_FROM_0 = """
    exception-or-NMI external-interrupt triple-fault INIT SIPI I/O-SMI SMI interrupt-window NMI-window
    task-switch
    CPUID GETSEC HLT INVD INVLPG RDPMC RDTSC RSM VMCALL VMCLEAR
    VMLAUNCH VMPTRLD VMPTRST VMREAD VMRESUME VMWRITE VMXOFF VMXON CR-access MOV-DR
    I/O RDMSR WRMSR entry-failure-guest-state entry-failure-MSR 35 MWAIT monitor-trap 38 MONITOR
    PAUSE entry-failure-machine-check 42 TPR-below-threshold APIC-access virtualized-EOI
    GDTR-or-IDTR LDTR-or-TR EPT-violation EPT-misconfiguration
    INVEPT RDTSCP preemption-timer INVVPID WBINVD XSETBV APIC-write RDRAND INVPCID VMFUNC
    ENCLS RDSEED PML-full XSAVES XRSTORS
"""

_SVM: Mapping[int, str] = {
    **{0x00 + number: f"read CR{number}" for number in range(16)},
    **{0x10 + number: f"write CR{number}" for number in range(16)},
    **{0x20 + number: f"read DR{number}" for number in range(16)},
    **{0x30 + number: f"write DR{number}" for number in range(16)},
    **{0x40 + vector: _VECTOR_NAMES.get(vector, f"exception {vector}") for vector in range(32)},
    **dict(enumerate(_SVM_FROM_60.split(), start=0x60)),
    0x400: "NPF",
}
_VMX: Mapping[int, str] = dict(enumerate(_VMX_FROM_0.split()))


def readable(lines: Iterable[str], vendor: str) -> list[str]:
    """Lines of a trace, ``4d rip=0x100abc``, as ``4d #GP rip=0x100abc``; equal neighbours are one line."""
    names = _SVM if vendor == "amd" else _VMX
    shown = []
    for line, group in groupby(lines):
        code, _, rest = line.partition(" ")
        try:
            name = names.get(int(code, 16))
        except ValueError:  # the subject has words of its own
            name = None
        count = len(list(group))
        text = f"{code} {name} {rest}" if name else line
        shown.append(text + (f"    ({count} times)" if count > 1 else ""))
    return shown
