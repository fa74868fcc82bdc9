"""CPUID feature bits by name (SDM 2A "CPUID", APM3 appendix E), lower case with dashes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

from touchstone.suite.numeral import number


class Feature(NamedTuple):
    """Where a feature is reported."""

    leaf: int
    subleaf: int
    register: str
    """``eax``, ``ebx``, ``ecx`` or ``edx``."""
    low: int
    width: int


_LEAVES: dict[tuple[int, int, str], str] = {
    (0x1, 0, "eax"): "stepping:0-3 model:4-7 family:8-11 type:12-13 ext-model:16-19 ext-family:20-27",
    (0x1, 0, "ebx"): "brand:0-7 clflush-size:8-15 max-apic-ids:16-23 apic-id:24-31",
    (0x1, 0, "ecx"): (
        "sse3:0 pclmulqdq:1 dtes64:2 monitor:3 ds-cpl:4 vmx:5 smx:6 eist:7 tm2:8 ssse3:9 cnxt-id:10 sdbg:11"
        " fma:12 cx16:13 xtpr:14 pdcm:15 pcid:17 dca:18 sse4-1:19 sse4-2:20 x2apic:21 movbe:22 popcnt:23"
        " tsc-deadline:24 aes:25 xsave:26 osxsave:27 avx:28 f16c:29 rdrand:30 hypervisor:31"
    ),
    (0x1, 0, "edx"): (
        "fpu:0 vme:1 de:2 pse:3 tsc:4 msr:5 pae:6 mce:7 cx8:8 apic:9 sep:11 mtrr:12 pge:13 mca:14 cmov:15"
        " pat:16 pse36:17 psn:18 clfsh:19 ds:21 acpi:22 mmx:23 fxsr:24 sse:25 sse2:26 ss:27 htt:28 tm:29"
        " pbe:31"
    ),
    (0x6, 0, "eax"): "digital-temperature:0 turbo:1 arat:2 pln:4 ecmd:5 ptm:6 hwp:7",
    (0x6, 0, "ecx"): "aperfmperf:0 energy-bias:3",
    (0x7, 0, "ebx"): (
        "fsgsbase:0 tsc-adjust:1 sgx:2 bmi1:3 hle:4 avx2:5 fdp-excptn-only:6 smep:7 bmi2:8 erms:9"
        " invpcid:10 rtm:11 rdt-m:12 fcs-fds-deprecated:13 mpx:14 rdt-a:15 avx512f:16 avx512dq:17 rdseed:18"
        " adx:19 smap:20 avx512-ifma:21 clflushopt:23 clwb:24 pt:25 avx512pf:26 avx512er:27 avx512cd:28"
        " sha:29 avx512bw:30 avx512vl:31"
    ),
    (0x7, 0, "ecx"): (
        "prefetchwt1:0 avx512-vbmi:1 umip:2 pku:3 ospke:4 waitpkg:5 avx512-vbmi2:6 cet-ss:7 gfni:8 vaes:9"
        " vpclmulqdq:10 avx512-vnni:11 avx512-bitalg:12 tme:13 avx512-vpopcntdq:14 la57:16 rdpid:22 kl:23"
        " bus-lock-detect:24 cldemote:25 movdiri:27 movdir64b:28 enqcmd:29 sgx-lc:30 pks:31"
    ),
    (0x7, 0, "edx"): (
        "avx512-4vnniw:2 avx512-4fmaps:3 fsrm:4 uintr:5 avx512-vp2intersect:8 md-clear:10"
        " rtm-always-abort:11 serialize:14 hybrid:15 tsxldtrk:16 pconfig:18 arch-lbr:19 cet-ibt:20"
        " amx-bf16:22 avx512-fp16:23 amx-tile:24 amx-int8:25 spec-ctrl:26 stibp:27 l1d-flush:28"
        " arch-capabilities:29 core-capabilities:30 ssbd:31"
    ),
    (0x7, 1, "eax"): (
        "sha512:0 sm3:1 sm4:2 rao-int:3 avx-vnni:4 avx512-bf16:5 lass:6 cmpccxadd:7 fzlrm:10 fsrs:11"
        " fsrc:12 fred:17 lkgs:18 wrmsrns:19 amx-fp16:21 hreset:22 avx-ifma:23 lam:26 msrlist:27"
    ),
    (0xD, 0, "eax"): "x87-state:0 sse-state:1 avx-state:2 bndreg-state:3 bndcsr-state:4 opmask-state:5"
    " zmm-hi256-state:6 hi16-zmm-state:7 pkru-state:9 xtilecfg-state:17 xtiledata-state:18",
    (0xD, 1, "eax"): "xsaveopt:0 xsavec:1 xgetbv-ecx1:2 xsaves:3 xfd:4",
    (0x80000001, 0, "ecx"): (
        "lahf-lm:0 cmp-legacy:1 svm:2 extapic:3 cr8-legacy:4 abm:5 sse4a:6 misalignsse:7 3dnowprefetch:8"
        " osvw:9 ibs:10 xop:11 skinit:12 wdt:13 lwp:15 fma4:16 tce:17 nodeid-msr:19 tbm:21 topoext:22"
        " perfctr-core:23 perfctr-nb:24 dbext:26 perftsc:27 perfctr-llc:28 mwaitx:29 addr-mask-ext:30"
    ),
    (0x80000001, 0, "edx"): (
        "syscall:11 nx:20 mmxext:22 ffxsr:25 page1gb:26 rdtscp:27 lm:29 3dnowext:30 3dnow:31"
    ),
    (0x80000007, 0, "edx"): "invariant-tsc:8",
    (0x80000008, 0, "eax"): "physical-bits:0-7 linear-bits:8-15 guest-physical-bits:16-23",
    (0x80000008, 0, "ebx"): (
        "clzero:0 irperf:1 xsaveerptr:2 invlpgb:3 rdpru:4 mcommit:8 wbnoinvd:9 ibpb:12 int-wbinvd:13"
        " ibrs:14 amd-stibp:15 no-lmsle:20 amd-ssbd:24 virt-ssbd:25"
    ),
    (0x8000000A, 0, "eax"): "svm-revision:0-7",
    (0x8000000A, 0, "ebx"): "asids:0-31",
    (0x8000000A, 0, "edx"): (
        "npt:0 lbrv:1 svm-lock:2 nrips:3 tsc-rate-msr:4 vmcb-clean:5 flush-by-asid:6 decode-assists:7"
        " pause-filter:10 pause-filter-threshold:12 avic:13 vmsave-virt:15 vgif:16 gmet:17 x2avic:18"
        " sss-check:19 spec-ctrl-virt:20 rogpt:21 host-mce-override:23 tlbi-ctl:24 vnmi:25 ibs-virt:26"
    ),
    (0x8000001F, 0, "eax"): "sme:0 sev:1 page-flush-msr:2 sev-es:3 sev-snp:4 vmpl:5",
}

_NAME = re.compile(r"cpuid\.(0x[0-9a-f]+|[0-9]+)(?:\.(0x[0-9a-f]+|[0-9]+))?\.(e[abcd]x)")


@cache
def _table(key: tuple[int, int, str]) -> dict[str, tuple[int, int]]:
    fields = {}
    for word in _LEAVES[key].split():
        name, _, bits = word.rpartition(":")
        low, _, high = bits.partition("-")
        fields[name] = (int(low), int(high or low) - int(low) + 1)
    return fields


def leaf(name: str) -> Mapping[str, tuple[int, int]] | None:
    """Fields of ``cpuid.LEAF.REGISTER`` or ``cpuid.LEAF.SUBLEAF.REGISTER`` as name to (lowest bit, bits)."""
    parts = _NAME.fullmatch(name)
    if not parts:
        return None
    number_of_leaf, subleaf = number(parts[1]), number(parts[2] or "0")
    if number_of_leaf is None or subleaf is None:  # 001 is no number
        return None
    key = (number_of_leaf, subleaf, parts[3])
    return _table(key) if key in _LEAVES else None


def leaf_names() -> list[str]:
    """The known leaves, as ``leaf`` takes them."""
    return [
        f"cpuid.{at:#x}.{register}" if subleaf == 0 else f"cpuid.{at:#x}.{subleaf}.{register}"
        for at, subleaf, register in _LEAVES
    ]


@cache
def features() -> Mapping[str, Feature]:
    """Every feature by its name alone, as ``requires: cpuid.xsave`` uses it."""
    found: dict[str, Feature] = {}
    for key in _LEAVES:
        for name, (low, width) in _table(key).items():
            found.setdefault(name, Feature(*key, low, width))
    return found
