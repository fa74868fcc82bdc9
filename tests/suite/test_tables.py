"""The tables of names: no name twice, no bit twice, and the values that everything depends on."""

from __future__ import annotations

import pytest

from touchstone.suite import cpuid, msrs
from touchstone.suite.exceptions import VECTORS, WITH_ERROR_CODE, name
from touchstone.suite.registers import SUB_REGISTERS, TABLES, table, table_names


@pytest.mark.parametrize("which", table_names())
def test_fields_do_not_overlap(which: str) -> None:
    fields = table(which)
    assert fields
    width = 32 if which.startswith("cpuid") else 64
    used = 0
    for bit, (low, size) in fields.items():
        mask = (2**size - 1) << low
        assert not used & mask, bit
        assert low + size <= width
        used |= mask


def test_every_feature_has_a_name_of_its_own() -> None:
    assert len(cpuid.features()) == sum(len(table(leaf) or ()) for leaf in cpuid.leaf_names())


@pytest.mark.parametrize(
    ("which", "bit", "low"),
    [
        ("cr0", "ne", 5),
        ("cr4", "vmxe", 13), ("cr4", "osxsave", 18), ("efer", "svme", 12), ("rflags", "tf", 8),
        ("dr6", "bs", 14), ("dr7", "gd", 13), ("vm-cr", "svmdis", 4), ("vm-cr", "lock", 3),
        ("feature-control", "vmx-outside-smx", 2), ("cpuid.1.ecx", "vmx", 5),
        ("cpuid.1.ecx", "hypervisor", 31),
        ("cpuid.1.0.ecx", "osxsave", 27), ("cpuid.0x1.ecx", "xsave", 26), ("cpuid.7.ebx", "invpcid", 10),
        ("cpuid.0xd.1.eax", "xsaves", 3), ("cpuid.13.1.eax", "xsaves", 3), ("cpuid.0x80000001.ecx", "svm", 2),
        ("cpuid.0x80000001.edx", "rdtscp", 27), ("cpuid.0x8000000a.edx", "nrips", 3),
        ("cpuid.0x8000000a.edx", "vnmi", 25),
    ],
)  # fmt: skip
def test_bits(which: str, bit: str, low: int) -> None:
    fields = table(which)
    assert fields
    assert fields[bit] == (low, 1)


def test_unknown_tables() -> None:
    assert table("cpuid.1.esi") is None
    assert table("cpuid.0x99.eax") is None
    assert table("cr5") is None


def test_sub_registers() -> None:
    assert SUB_REGISTERS["ah"] == ("rax", 8, 8)
    assert SUB_REGISTERS["sil"] == ("rsi", 0, 8)
    assert SUB_REGISTERS["r10d"] == ("r10", 0, 32)
    assert SUB_REGISTERS["esp"] == ("rsp", 0, 32)
    assert len(SUB_REGISTERS) == 4 * 5 + 4 * 4 + 8 * 4


def test_msrs() -> None:
    assert msrs.find("ia32-vmx-basic") == msrs.find("IA32_VMX_BASIC") == msrs.find("vmx-basic") == 0x480
    assert msrs.find("vm_cr") == msrs.find("0xc0010114") == 0xC0010114
    assert msrs.find("0x100000000") is None
    assert msrs.find("ia32-nothing") is None
    assert msrs.symbols()["VM_HSAVE_PA"] == 0xC0010117
    assert all(symbol.isidentifier() for symbol in msrs.symbols())


def test_exceptions() -> None:
    assert {
        VECTORS[mnemonic]
        for mnemonic in ("#DF", "#TS", "#NP", "#SS", "#GP", "#PF", "#AC", "#CP", "#VC", "#SX")
    } == (WITH_ERROR_CODE)
    assert name(13, 0) == "#GP(0x0)"
    assert name(0x80) == "vector 0x80"
    assert TABLES["rflags"]["iopl"] == (12, 2)
