"""A machine that is judged as it is found (``--target=here``): nothing can be taken from underneath it.

There is no native phase to compare with, and probes run as an ordinary program, unless the agent's kernel
module was asked for (``--ring0``). What that leaves of a check is judged; what it does not is *unsupported*,
with the reason in words.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from touchstone.config.subjects import Claim
from touchstone.engine.cpu import Leaf, MeasuredCpu
from touchstone.engine.oracle import compares
from touchstone.machine.settings import RING0
from touchstone.suite.model import Case, Check
from touchstone.suite.requires import Facts

WAY = "here"
"""What requirements call it."""
FEATURES: Leaf = (1, 0)
EXTENDED_FEATURES: Leaf = (0x80000001, 0)
HYPERVISOR: Leaf = (0x40000000, 0)
"""Only where the hypervisor bit is set, CPUID leaf 1, ECX[31]; then EBX, ECX, EDX are a signature."""
_NAMES = {
    "KVMKVMKVM": "KVM",
    "Microsoft Hv": "Hyper-V",
    "VMwareVMware": "VMware",
    "XenVMMXenVMM": "Xen",
    "TCGTCGTCGTCG": "QEMU without KVM",
    "bhyve bhyve": "bhyve",
    "VBoxVBoxVBox": "VirtualBox",
    "ACRNACRNACRN": "ACRN",
}


def is_as_found(known: Facts) -> bool:
    """Whether facts are those of such a machine."""
    return known.get("way") == WAY


def has_ring0(known: Facts) -> bool:
    """Whether probes of such a machine run at CPL 0 as well."""
    return known.get(RING0) is True


def cannot_judge(check: Check, *, ring0: bool) -> str | None:
    """Why nothing of a check can be judged on such a machine; None: some of it can."""
    if check.phase != "loaded":
        return f"it is about the phase {check.phase}, and what this machine runs under stays where it is"
    if not check.cases:
        return "it drives the machine, and here nothing is loaded, unloaded or sent NMIs"
    reasons = [cannot_judge_case(check, case, ring0=ring0) for case in check.cases]
    return None if None in reasons else reasons[-1]


def cannot_judge_case(check: Check, case: Case, *, ring0: bool) -> str | None:
    """Why a case cannot be judged on such a machine, if it cannot."""
    given = case.given
    if compares(case):
        return (
            "it compares with the machine without a hypervisor, and what is underneath cannot be taken away"
        )
    if case.cpl != 3 and not ring0:
        return "its probe runs at CPL 0, and without --ring0 this machine's agent is an ordinary program"
    if case.then or check.prepared is not None:
        return "what it does to a CPU lasts longer than one probe, and this machine is in use"
    if case.expect.exits:
        return "it counts exits, and what this machine runs under is not asked for them"
    of_its_own = (
        given.bits or given.keep or given.msrs or given.handlers or given.debug or case.mode != "long"
    )
    if of_its_own and not ring0:
        return "it begins in a state of the CPU that an ordinary program cannot set"
    return None


def claims_of(cpu: MeasuredCpu) -> Mapping[str, Claim]:
    """What CPU 0 says by CPUID, as claims: other CPUs, instructions and orders of them must say the same.

    A hypervisor need not show itself. Where it does not, nothing of that is claimed, and nothing is demanded.
    """
    claims: dict[str, Claim] = {}
    amd = cpu.vendor == "amd"
    offered = cpu.read(EXTENDED_FEATURES)[2] >> 2 if amd else cpu.read(FEATURES)[2] >> 5
    if not offered & 1:
        claims["nested"] = "hidden"
    if _shows_itself(cpu):
        claims["hypervisor-bit"] = True
        _, *signature = cpu.leaves[HYPERVISOR]
        for name, value in zip(("ebx", "ecx", "edx"), signature, strict=True):
            claims[f"cpuid-signature.{name}"] = value
    return claims


def underneath(cpu: MeasuredCpu) -> str:
    """What CPUID says of what the machine runs under: ``KVM ("KVMKVMKVM")``; empty if nothing."""
    if not _shows_itself(cpu):
        return ""
    signature = (
        struct.pack("<3I", *cpu.leaves[HYPERVISOR][1:]).rstrip(b" \0").decode("ascii", "backslashreplace")
    )
    return f'{_NAMES.get(signature, "a hypervisor")} ("{signature}")'


def _shows_itself(cpu: MeasuredCpu) -> bool:
    return bool(cpu.read(FEATURES)[2] >> 31 and HYPERVISOR in cpu.leaves)
