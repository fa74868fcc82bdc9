"""A machine that is judged as it is found: what is taken as a claim, and what it is called."""

from __future__ import annotations

import struct
from typing import Literal

import pytest

from touchstone.engine.as_found import EXTENDED_FEATURES, FEATURES, HYPERVISOR, claims_of, underneath
from touchstone.engine.cpu import MeasuredCpu

HYPERVISOR_BIT, VMX, SVM = 1 << 31, 1 << 5, 1 << 2


def cpu(vendor: Literal["intel", "amd"], features: int, extended: int, signature: bytes) -> MeasuredCpu:
    words = struct.unpack("<3I", signature)
    return MeasuredCpu(
        vendor,
        2,
        {
            (0, 0): (0x10, 0, 0, 0),
            FEATURES: (0, 0, features, 0),
            (0x80000000, 0): (0x80000008, 0, 0, 0),
            EXTENDED_FEATURES: (0, 0, extended, 0),
            HYPERVISOR: (0x40000001, *words),
        },
    )


def test_what_a_cpu_says_of_itself_is_its_claim() -> None:
    kvm = cpu("amd", HYPERVISOR_BIT, 0, b"KVMKVMKVM\0\0\0")
    assert claims_of(kvm) == {
        "nested": "hidden",
        "hypervisor-bit": True,
        "cpuid-signature.ebx": 0x4B4D564B,
        "cpuid-signature.ecx": 0x564B4D56,
        "cpuid-signature.edx": 0x4D,
    }
    assert underneath(kvm) == 'KVM ("KVMKVMKVM")'
    assert underneath(cpu("intel", HYPERVISOR_BIT, 0, b"Microsoft Hv")) == 'Hyper-V ("Microsoft Hv")'
    assert underneath(cpu("intel", HYPERVISOR_BIT, 0, b"\xff\0SOMETHING!")).startswith("a hypervisor")


def test_a_hypervisor_that_does_not_show_itself_claims_nothing_of_it() -> None:
    """The leaf of the signature is then one of another meaning (SDM 2A, CPUID)."""
    bare = cpu("intel", VMX, 0, b"KVMKVMKVM\0\0\0")
    assert claims_of(bare) == {}
    assert underneath(bare) == ""


@pytest.mark.parametrize(
    ("vendor", "features", "extended"), [("intel", VMX, 0), ("amd", 0, SVM), ("amd", VMX, SVM)]
)
def test_who_offers_virtualization_does_not_hide_it(
    vendor: Literal["intel", "amd"], features: int, extended: int
) -> None:
    offered = claims_of(cpu(vendor, HYPERVISOR_BIT | features, extended, b"KVMKVMKVM\0\0\0"))
    assert "nested" not in offered
    assert offered["hypervisor-bit"] is True
