"""After unloading, the virtualization hardware can be used again: these probes use it on every CPU."""

import struct

import pytest

from touchstone.machine.probe import Operand
from touchstone.machine.svm_guest import VMEXIT_VMMCALL, run_guest

VMX_BASIC = 0x480

VMX_CYCLE = """
    mov rax, cr4
    mov rbx, rax
    bts rbx, 13
    mov cr4, rbx
    mov [rsp + 8], r8
    vmxon [rsp + 8]
    setbe r10b
    vmxoff
    setbe r11b
    mov cr4, rax
"""


@pytest.mark.touchstone(
    id="teardown.svm.guest-runs",
    title="After unloading, another hypervisor runs a guest on every CPU",
    area="teardown",
    phase="unloaded",
    requires="os == bare and vendor == amd and cpuid.svm",
    claims=False,
    cite={
        "doc": "amd-apm",
        "title": "Basic Operation",
        "says": "VMRUN saves some host processor state information in the host state-save area, loads "
        "guest state from the VMCB and enters the guest; the guest runs until an intercept causes "
        "#VMEXIT.",
    },
    proves=["unload-next-hypervisor"],
)
def test_guest_runs(target, probe, physical):
    for cpu in range(target.cpus):
        (result,) = probe(
            run_guest(), on=cpu, rdi=Operand("scratch"), r8=physical(cpu), r9=physical(cpu, 0x1000), r10=0
        )
        assert result.vector is None, f"CPU {cpu}: vector {result.vector} at +{result.rip - result.start:#x}"
        assert result.registers["r10"] == VMEXIT_VMMCALL, f"CPU {cpu}: exit code {result.registers['r10']:#x}"


@pytest.mark.touchstone(
    id="teardown.vmx.vmxon-works",
    title="After unloading, another hypervisor can enter VMX operation and leave it, on every CPU",
    area="teardown",
    phase="unloaded",
    requires="os == bare and vendor == intel and cpuid.vmx",
    claims=False,
    cite={
        "doc": "intel-sdm",
        "title": "VMXON—Enter VMX Operation",
        "says": "Puts the logical processor in VMX operation with no current VMCS; if the logical "
        "processor is in VMX operation already, VMfail.",
    },
    proves=["unload-next-hypervisor"],
)
def test_vmxon_works(target, probe, physical):
    for cpu in range(target.cpus):
        (basic,) = probe("rdmsr", on=cpu, rcx=VMX_BASIC)
        assert basic.vector is None, f"CPU {cpu}: the VMX capability MSRs are still hidden"
        revision = struct.pack("<I", basic.registers["rax"] & 0x7FFFFFFF)
        (result,) = probe(VMX_CYCLE, on=cpu, r8=physical(cpu), r10=0, r11=0, memory=((0, revision),))
        assert result.vector is None, f"CPU {cpu}: vector {result.vector} at +{result.rip - result.start:#x}"
        assert not result.registers["r10"], f"CPU {cpu}: VMXON failed"
        assert not result.registers["r11"], f"CPU {cpu}: VMXOFF failed"
