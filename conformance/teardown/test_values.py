"""MSRs keep a value that differs from CPU to CPU through loading and unloading."""

import struct

import pytest

from touchstone.machine.probe import Operand

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


# r8d MSRs, whose numbers are at rsi, 4 bytes each, and whose values are at rdi, 8 bytes each.
READ = """
    1: mov ecx, [rsi]
    rdmsr
    mov [rdi], eax
    mov [rdi + 4], edx
    add rsi, 4
    add rdi, 8
    dec r8d
    jnz 1b
"""
WRITE = """
    1: mov ecx, [rsi]
    mov eax, [rdi]
    mov edx, [rdi + 4]
    wrmsr
    add rsi, 4
    add rdi, 8
    dec r8d
    jnz 1b
"""
NUMBERS = b"".join(struct.pack("<I", msr) for msr, _ in MSRS.values())
VALUES = 0x40
"""Offset of the values in the scratch area; the numbers are at its beginning."""


def addresses():
    return {"rsi": Operand("scratch"), "rdi": Operand("scratch", VALUES), "r8": len(MSRS)}


def checked(result):
    msr = list(MSRS)[min(result.given["r8"] - result.registers["r8"], len(MSRS) - 1)]
    assert result.vector is None, f"CPU {result.cpu}: the access to {msr} ended with vector {result.vector}"
    return result


def read(probe):
    """The values of all MSRs, by CPU."""
    results = probe(READ, on="every-cpu", memory=((0, NUMBERS),), read=(VALUES, 8 * len(MSRS)), **addresses())
    return [struct.unpack(f"<{len(MSRS)}Q", checked(result).memory) for result in results]


def write(probe, cpu, values):
    data = struct.pack(f"<{len(MSRS)}Q", *values)
    (result,) = probe(WRITE, on=cpu, memory=((0, NUMBERS), (VALUES, data)), **addresses())
    checked(result)


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
def test_msrs(target, probe, cycles):
    original = read(probe)
    wanted = [tuple(value(cpu) for _, value in MSRS.values()) for cpu in range(target.cpus)]

    def compare(when):
        for cpu, (found, values) in enumerate(zip(read(probe), wanted, strict=True)):
            table = [
                {name: f"{value:#x}" for name, value in zip(MSRS, row, strict=True)}
                for row in (found, values)
            ]
            assert table[0] == table[1], f"CPU {cpu}, {when}"

    try:
        for cpu, values in enumerate(wanted):
            write(probe, cpu, values)
        compare("before loading: the machine itself does not keep what is written")
        for step in cycles(2):
            compare(step)
            if step.loaded:
                probe(
                    "mov r12d, 100\n1: xor eax, eax\ncpuid\ndec r12d\njnz 1b", on="every-cpu", together=True
                )
                compare(f"{step}, and 100 exits")
    finally:
        if target.phase is not None:
            for cpu, values in enumerate(original):
                write(probe, cpu, values)
