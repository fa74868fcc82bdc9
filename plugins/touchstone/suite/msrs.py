"""MSRs by name (SDM 4 chapter 2, APM2 appendix A), lower case with dashes."""

from __future__ import annotations

from touchstone.suite.numeral import number

MSRS = {
    "ia32-p5-mc-addr": 0x0, "ia32-p5-mc-type": 0x1, "ia32-monitor-filter-size": 0x6,
    "ia32-time-stamp-counter": 0x10, "ia32-platform-id": 0x17, "ia32-apic-base": 0x1B,
    "ia32-feature-control": 0x3A, "ia32-tsc-adjust": 0x3B, "ia32-spec-ctrl": 0x48, "ia32-pred-cmd": 0x49,
    "ia32-bios-updt-trig": 0x79, "ia32-bios-sign-id": 0x8B, "ia32-smm-monitor-ctl": 0x9B,
    "ia32-smbase": 0x9E, "ia32-pmc0": 0xC1, "ia32-pmc1": 0xC2, "ia32-umwait-control": 0xE1,
    "ia32-mperf": 0xE7, "ia32-aperf": 0xE8, "platform-info": 0xCE,
    "ia32-mtrrcap": 0xFE, "ia32-arch-capabilities": 0x10A,
    "ia32-flush-cmd": 0x10B, "ia32-tsx-ctrl": 0x122, "misc-feature-enables": 0x140,
    "ia32-sysenter-cs": 0x174, "ia32-sysenter-esp": 0x175,
    "ia32-sysenter-eip": 0x176, "ia32-mcg-cap": 0x179, "ia32-mcg-status": 0x17A, "ia32-mcg-ctl": 0x17B,
    "ia32-perfevtsel0": 0x186, "ia32-perfevtsel1": 0x187, "ia32-perf-status": 0x198, "ia32-perf-ctl": 0x199,
    "ia32-clock-modulation": 0x19A, "ia32-therm-interrupt": 0x19B, "ia32-therm-status": 0x19C,
    "ia32-misc-enable": 0x1A0, "ia32-energy-perf-bias": 0x1B0, "ia32-debugctl": 0x1D9,
    "ia32-lastbranchfromip": 0x1DB, "ia32-lastbranchtoip": 0x1DC, "ia32-lastintfromip": 0x1DD,
    "ia32-lastinttoip": 0x1DE, "ia32-smrr-physbase": 0x1F2, "ia32-smrr-physmask": 0x1F3,
    "ia32-mtrr-physbase0": 0x200, "ia32-mtrr-physmask0": 0x201, "ia32-mtrr-physbase1": 0x202,
    "ia32-mtrr-physmask1": 0x203, "ia32-mtrr-fix64k-00000": 0x250, "ia32-mtrr-fix16k-80000": 0x258,
    "ia32-mtrr-fix16k-a0000": 0x259, "ia32-mtrr-fix4k-c0000": 0x268, "ia32-mtrr-fix4k-f8000": 0x26F,
    "ia32-pat": 0x277, "ia32-mtrr-def-type": 0x2FF, "ia32-fixed-ctr0": 0x309,
    "ia32-perf-capabilities": 0x345, "ia32-fixed-ctr-ctrl": 0x38D, "ia32-perf-global-status": 0x38E,
    "ia32-perf-global-ctrl": 0x38F, "ia32-pebs-enable": 0x3F1, "ia32-mc0-ctl": 0x400,
    "ia32-mc0-status": 0x401, "ia32-mc0-addr": 0x402, "ia32-mc0-misc": 0x403, "ia32-vmx-basic": 0x480,
    "ia32-vmx-pinbased-ctls": 0x481, "ia32-vmx-procbased-ctls": 0x482, "ia32-vmx-exit-ctls": 0x483,
    "ia32-vmx-entry-ctls": 0x484, "ia32-vmx-misc": 0x485, "ia32-vmx-cr0-fixed0": 0x486,
    "ia32-vmx-cr0-fixed1": 0x487, "ia32-vmx-cr4-fixed0": 0x488, "ia32-vmx-cr4-fixed1": 0x489,
    "ia32-vmx-vmcs-enum": 0x48A, "ia32-vmx-procbased-ctls2": 0x48B, "ia32-vmx-ept-vpid-cap": 0x48C,
    "ia32-vmx-true-pinbased-ctls": 0x48D, "ia32-vmx-true-procbased-ctls": 0x48E,
    "ia32-vmx-true-exit-ctls": 0x48F, "ia32-vmx-true-entry-ctls": 0x490, "ia32-vmx-vmfunc": 0x491,
    "ia32-vmx-procbased-ctls3": 0x492, "ia32-vmx-exit-ctls2": 0x493, "ia32-rtit-ctl": 0x570,
    "ia32-ds-area": 0x600, "ia32-u-cet": 0x6A0, "ia32-s-cet": 0x6A2, "ia32-pl0-ssp": 0x6A4,
    "ia32-pl1-ssp": 0x6A5, "ia32-pl2-ssp": 0x6A6, "ia32-pl3-ssp": 0x6A7,
    "ia32-interrupt-ssp-table-addr": 0x6A8, "ia32-pkrs": 0x6E1, "ia32-tsc-deadline": 0x6E0,
    "ia32-x2apic-apicid": 0x802, "ia32-x2apic-version": 0x803, "ia32-x2apic-tpr": 0x808,
    "ia32-x2apic-icr": 0x830, "ia32-debug-interface": 0xC80, "ia32-xss": 0xDA0, "ia32-efer": 0xC0000080,
    "ia32-star": 0xC0000081, "ia32-lstar": 0xC0000082, "ia32-cstar": 0xC0000083, "ia32-fmask": 0xC0000084,
    "ia32-fs-base": 0xC0000100, "ia32-gs-base": 0xC0000101, "ia32-kernel-gs-base": 0xC0000102,
    "ia32-tsc-aux": 0xC0000103, "tsc-ratio": 0xC0000104, "amd-tsc-ratio": 0xC0000104,
    "mcax-mc0-ctl": 0xC0002000, "mcax-mc0-status": 0xC0002001, "amd-perfevtsel0": 0xC0010000,
    "amd-perfctr0": 0xC0010004, "syscfg": 0xC0010010, "hwcr": 0xC0010015, "iorr-base0": 0xC0010016,
    "iorr-mask0": 0xC0010017, "top-mem": 0xC001001A, "top-mem2": 0xC001001D, "nb-cfg": 0xC001001F,
    "patch-loader": 0xC0010020, "smm-base": 0xC0010111, "smm-addr": 0xC0010112, "smm-mask": 0xC0010113,
    "vm-cr": 0xC0010114, "ignne": 0xC0010115, "smm-ctl": 0xC0010116, "vm-hsave-pa": 0xC0010117,
    "svm-key": 0xC0010118, "osvw-id-length": 0xC0010140, "osvw-status": 0xC0010141,
    "sev-status": 0xC0010131, "dr1-addr-mask": 0xC0011019, "dr0-addr-mask": 0xC0011027,
    "ls-cfg": 0xC0011020, "ibs-fetch-ctl": 0xC0011030, "ibs-op-ctl": 0xC0011033,
    "virt-spec-ctrl": 0xC001011F,
}  # fmt: skip
"""Name to number. The VMX and SVM ones are all here; for the rest a number serves as well."""


def find(text: str) -> int | None:
    """Number of an MSR by name (``ia32-lstar``, ``IA32_LSTAR``, ``lstar``) or number, or None."""
    value = number(text)
    if value is not None:
        return value if 0 <= value < 2**32 else None
    name = text.lower().replace("_", "-")
    return MSRS.get(name, MSRS.get(f"ia32-{name}"))


def symbols() -> dict[str, int]:
    """The MSRs as constants for the assembler: ``IA32_LSTAR``, ``VM_CR``."""
    return {name.upper().replace("-", "_"): value for name, value in MSRS.items()}
