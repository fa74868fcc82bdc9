"""Names of registers and of their bits, as the manuals name them (SDM 3A 2.5, APM2 3.1), in lower case."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from touchstone.machine.probe import GPRS
from touchstone.suite import cpuid


class BitField(NamedTuple):
    """A field of a register: its lowest bit, and how many bits it has."""

    low: int
    width: int = 1


def _bits(text: str) -> dict[str, BitField]:
    """``"pe:0 iopl:12-13"`` as a table."""
    table = {}
    for word in text.split():
        name, _, bits = word.rpartition(":")
        low, _, high = bits.partition("-")
        table[name] = BitField(int(low), int(high or low) - int(low) + 1)
    return table


TABLES: Mapping[str, Mapping[str, BitField]] = {
    "cr0": _bits("pe:0 mp:1 em:2 ts:3 et:4 ne:5 wp:16 am:18 nw:29 cd:30 pg:31"),
    "cr4": _bits(
        "vme:0 pvi:1 tsd:2 de:3 pse:4 pae:5 mce:6 pge:7 pce:8 osfxsr:9 osxmmexcpt:10 umip:11 la57:12"
        " vmxe:13 smxe:14 fsgsbase:16 pcide:17 osxsave:18 kl:19 smep:20 smap:21 pke:22 cet:23 pks:24"
        " uintr:25 lass:27 lam-sup:28 fred:32"
    ),
    "efer": _bits(
        "sce:0 lme:8 lma:10 nxe:11 svme:12 lmsle:13 ffxsr:14 tce:15 mcommit:17 intwb:18 uaie:20 aibrse:21"
    ),
    "rflags": _bits(
        "cf:0 pf:2 af:4 zf:6 sf:7 tf:8 if:9 df:10 of:11 iopl:12-13 nt:14 rf:16 vm:17 ac:18 vif:19 vip:20"
        " id:21"
    ),
    "dr6": _bits("b0:0 b1:1 b2:2 b3:3 bld:11 bd:13 bs:14 bt:15 rtm:16"),
    "dr7": _bits(
        "l0:0 g0:1 l1:2 g1:3 l2:4 g2:5 l3:6 g3:7 le:8 ge:9 rtm:11 gd:13 rw0:16-17 len0:18-19 rw1:20-21"
        " len1:22-23 rw2:24-25 len2:26-27 rw3:28-29 len3:30-31"
    ),
    "xcr0": _bits(
        "x87:0 sse:1 avx:2 bndreg:3 bndcsr:4 opmask:5 zmm-hi256:6 hi16-zmm:7 pkru:9 xtilecfg:17"
        " xtiledata:18 lwp:62"
    ),
    "vm-cr": _bits("dpd:0 r-init:1 dis-a20m:2 lock:3 svmdis:4"),
    "feature-control": _bits(
        "lock:0 vmx-in-smx:1 vmx-outside-smx:2 senter-local:8-14 senter-global:15 sgx-lc:17 sgx:18 lmce:20"
    ),
    "debugctl": _bits(
        "lbr:0 btf:1 bld:2 tr:6 bts:7 btint:8 bts-off-os:9 bts-off-usr:10 freeze-lbrs-on-pmi:11"
        " freeze-perfmon-on-pmi:12 freeze-while-smm:14 rtm:15"
    ),
    "apic-base": _bits("bsp:8 extd:10 en:11 base:12-51"),
    "misc-enable": _bits(
        "fast-strings:0 tcc:3 perfmon:7 bts-unavail:11 pebs-unavail:12 eist:16 monitor:18 limit-cpuid:22"
        " xd-disable:34"
    ),
    "vmx-basic": _bits(
        "revision:0-30 size:32-44 width32:48 dual-monitor:49 memory-type:50-53 ins-outs:54 true-controls:55"
    ),
    "platform-info": _bits("ratio:8-15 cpuid-faulting:31"),
    "misc-feature-enables": _bits("cpuid-fault:0 ring3-mwait:1"),
    "spec-ctrl": _bits("ibrs:0 stibp:1 ssbd:2"),
    "cet": _bits(
        "sh-stk-en:0 wr-shstk-en:1 endbr-en:2 leg-iw-en:3 no-track-en:4 suppress-dis:5 suppress:10 tracker:11"
        " bitmap-base:12-63"
    ),
}
"""Register to its fields. The CPUID leaves have theirs in ``touchstone.suite.cpuid``."""

MSR_TABLES: Mapping[int, str] = {
    0x1B: "apic-base",
    0x3A: "feature-control",
    0x48: "spec-ctrl",
    0xCE: "platform-info",
    0x140: "misc-feature-enables",
    0x1A0: "misc-enable",
    0x1D9: "debugctl",
    0x480: "vmx-basic",
    0x6A0: "cet",
    0x6A2: "cet",
    0xC0000080: "efer",
    0xC0010114: "vm-cr",
}
"""MSR to the name of its fields in ``TABLES``."""

_LEGACY = {"rax": "a", "rcx": "c", "rdx": "d", "rbx": "b"}


def _sub_registers() -> dict[str, tuple[str, int, int]]:
    names = {}
    for name in GPRS:
        names[name] = (name, 0, 64)
        if name in _LEGACY:
            letter = _LEGACY[name]
            names[f"e{letter}x"] = (name, 0, 32)
            names[f"{letter}x"] = (name, 0, 16)
            names[f"{letter}l"] = (name, 0, 8)
            names[f"{letter}h"] = (name, 8, 8)
        elif name[1:].isdigit():
            names[f"{name}d"] = (name, 0, 32)
            names[f"{name}w"] = (name, 0, 16)
            names[f"{name}b"] = (name, 0, 8)
        else:
            names[f"e{name[1:]}"] = (name, 0, 32)
            names[name[1:]] = (name, 0, 16)
            names[f"{name[1:]}l"] = (name, 0, 8)
    return names


SUB_REGISTERS: Mapping[str, tuple[str, int, int]] = _sub_registers()
"""Every name of a general-purpose register or of a part of one, to (64-bit register, lowest bit, bits)."""


def table(name: str) -> Mapping[str, BitField] | None:
    """Fields of ``cr4``, ``efer``, ``cpuid.1.ecx``, ``cpuid.0xd.1.eax``; None if there is no such table."""
    if name in TABLES:
        return TABLES[name]
    leaf = cpuid.leaf(name)
    return {bit: BitField(low, width) for bit, (low, width) in leaf.items()} if leaf is not None else None


def table_names() -> list[str]:
    """All names that ``table`` knows, in their usual spelling."""
    return [*TABLES, *cpuid.leaf_names()]
