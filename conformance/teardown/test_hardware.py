"""After unloading, the virtualization hardware can be used again: these probes use it on every CPU."""

import struct

import pytest

from touchstone.machine.probe import Operand

VMX_BASIC = 0x480
VMEXIT_VMMCALL = 0x81

# A guest of our own in the VMCB at physical r8 (virtual rdi), whose one instruction is VMMCALL; the host save
# area is at physical r9. Offsets: APM2 appendix B. EFER is put back by the agent.
RUN_GUEST = """
    mov ecx, IA32_EFER
    rdmsr
    bts eax, 12
    wrmsr
    mov [rdi + 0x4d0], eax
    mov dword ptr [rdi + 0x4d4], edx
    mov ecx, VM_HSAVE_PA
    mov eax, r9d
    xor edx, edx
    wrmsr
    mov dword ptr [rdi + 0x10], 3           # intercept VMRUN and VMMCALL
    mov dword ptr [rdi + 0x58], 1           # ASID
    mov rax, cs
    mov [rdi + 0x410], ax
    mov word ptr [rdi + 0x412], 0x29b
    mov dword ptr [rdi + 0x414], 0xffffffff
    mov rax, ss
    mov [rdi + 0x420], ax
    mov word ptr [rdi + 0x422], 0xc93
    mov dword ptr [rdi + 0x424], 0xffffffff
    mov word ptr [rdi + 0x402], 0xc93
    mov word ptr [rdi + 0x432], 0xc93
    sgdt [rdi + 0x800]
    movzx eax, word ptr [rdi + 0x800]
    mov [rdi + 0x464], eax
    mov rax, [rdi + 0x802]
    mov [rdi + 0x468], rax
    sidt [rdi + 0x800]
    movzx eax, word ptr [rdi + 0x800]
    mov [rdi + 0x484], eax
    mov rax, [rdi + 0x802]
    mov [rdi + 0x488], rax
    mov rax, cr4
    mov [rdi + 0x548], rax
    mov rax, cr3
    mov [rdi + 0x550], rax
    mov rax, cr0
    mov [rdi + 0x558], rax
    mov qword ptr [rdi + 0x560], 0x400
    mov dword ptr [rdi + 0x568], 0xffff0ff0
    mov qword ptr [rdi + 0x570], 2
    lea rax, [rip + guest]
    mov [rdi + 0x578], rax
    lea rax, [rsp - 64]
    mov [rdi + 0x5d8], rax
    clgi
    mov rax, r8
    vmrun
    stgi
    mov r10, [rdi + 0x70]
    mov ecx, VM_HSAVE_PA
    xor eax, eax
    xor edx, edx
    wrmsr
    jmp over
    guest: vmmcall
    ud2
    over: nop
"""

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
    proves=["hardware-released"],
)
def test_guest_runs(target, probe, physical):
    for cpu in range(target.cpus):
        (result,) = probe(
            RUN_GUEST, on=cpu, rdi=Operand("scratch"), r8=physical(cpu), r9=physical(cpu, 0x1000), r10=0
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
    proves=["hardware-released"],
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
