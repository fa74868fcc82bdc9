"""Values that tell one CPU from the next survive loading and unloading, which zeros always would."""

import pytest

MSRS = {
    "STAR": (0xC0000081, lambda cpu: 0x0023_0008_1000_0000 + cpu),
    "LSTAR": (0xC0000082, lambda cpu: 0xFFFF_8000_0000_0000 + 0x1000 * cpu),
    "CSTAR": (0xC0000083, lambda cpu: 0xFFFF_9000_0000_0000 + 0x1000 * cpu),
    "FMASK": (0xC0000084, lambda cpu: 0x200 | cpu << 4),
    "FS_BASE": (0xC0000100, lambda cpu: 0x0000_7000_0000_0000 + 0x1000 * cpu),
    "GS_BASE": (0xC0000101, lambda cpu: 0xFFFF_A000_0000_0000 + 0x1000 * cpu),
    "KERNEL_GS_BASE": (0xC0000102, lambda cpu: 0xFFFF_B000_0000_0000 + 0x1000 * cpu),
    "SYSENTER_CS": (0x174, lambda cpu: 0x08 + 0x10 * cpu),
    "SYSENTER_ESP": (0x175, lambda cpu: 0x1234_5000 + cpu),
    "SYSENTER_EIP": (0x176, lambda cpu: 0x2345_6000 + cpu),
    # The upper half is free: no page of the bare OS has its PAT bit set.
    "PAT": (0x277, lambda cpu: 0x0007_0406 | (0x0501_0004 + (cpu & 1)) << 32),
    "TSC_AUX": (0xC0000103, lambda cpu: 0x1000 + cpu),
}


def read(probe, cpu, msr):
    (result,) = probe("rdmsr", on=cpu, rcx=msr)
    assert result.vector is None, f"CPU {cpu}: RDMSR of {msr:#x} ended with vector {result.vector}"
    return result.registers["rdx"] << 32 | result.registers["rax"]


def write(probe, cpu, msr, value):
    (result,) = probe("wrmsr", on=cpu, rcx=msr, rax=value & 0xFFFFFFFF, rdx=value >> 32)
    assert result.vector is None, (
        f"CPU {cpu}: WRMSR of {value:#x} to {msr:#x} ended with vector {result.vector}"
    )


@pytest.mark.touchstone(
    id="teardown.values.msrs",
    title="MSRs with a value of their own on every CPU keep it through loading, exits and unloading",
    area="teardown",
    phase="unloaded",
    requires="os == bare and cpuid.rdtscp and cpuid.sep and cpuid.pat",
    cite=[
        {
            "doc": "amd-apm",
            "title": "VMSAVE and VMLOAD Instructions",
            "says": "They transfer the state that VMRUN and #VMEXIT leave alone: FS, GS, TR, LDTR with "
            "their hidden state, KernelGsBase, STAR, LSTAR, CSTAR, SFMASK, SYSENTER_CS, SYSENTER_ESP, "
            "SYSENTER_EIP.",
        },
        {
            "doc": "intel-sdm",
            "title": "Loading Host Control Registers, Debug Registers, MSRs",
            "says": "The IA32_SYSENTER_CS, IA32_SYSENTER_ESP and IA32_SYSENTER_EIP MSRs are loaded from "
            "their fields; the base addresses of FS and GS, too.",
        },
    ],
    proves=["loading-transparent", "unloading-transparent"],
)
def test_msrs(target, probe):
    cpus = range(target.cpus)
    original = {(cpu, name): read(probe, cpu, msr) for cpu in cpus for name, (msr, _) in MSRS.items()}

    def compare(when):
        for cpu in cpus:
            found = {name: f"{read(probe, cpu, msr):#x}" for name, (msr, _) in MSRS.items()}
            wanted = {name: f"{value(cpu):#x}" for name, (_, value) in MSRS.items()}
            assert found == wanted, f"CPU {cpu}, {when}"

    try:
        for cpu in cpus:
            for msr, value in MSRS.values():
                write(probe, cpu, msr, value(cpu))
        compare("before loading: the machine itself does not keep what is written")
        target.load()
        compare("after loading")
        probe("mov r12d, 100\n1: xor eax, eax\ncpuid\ndec r12d\njnz 1b", on="every-cpu", together=True)
        compare("after 100 exits")
        target.unload()
        compare("after unloading")
        target.load()
        compare("after loading again")
        target.unload()
        compare("after unloading again")
    finally:
        if target.phase is not None:
            for (cpu, name), value in original.items():
                write(probe, cpu, MSRS[name][0], value)
