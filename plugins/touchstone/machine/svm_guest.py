"""Assembly of probes that run an SVM guest of their own, on a machine on which nobody else uses SVM.

Only for targets whose page tables can be read where they physically are (the bare OS).
"""

from __future__ import annotations

VMEXIT_VMMCALL = 0x81
"""APM2, appendix C: so ends the guest, unless something that it does before is intercepted."""
_VMRUN_AND_VMMCALL = 3

PHYSICAL = """
    mov rax, cr3
    mov ecx, 39
    1: mov rdx, 0x000ffffffffff000
    and rax, rdx
    mov rdx, rdi
    shr rdx, cl
    and edx, 0x1ff
    mov rax, [rax + rdx * 8]
    sub ecx, 9
    cmp ecx, 12
    jae 1b
    mov rdx, 0x000ffffffffff000
    and rax, rdx
"""
"""The physical address of the linear address in RDI, in RAX. Changes RCX and RDX."""

_RUN = """
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
    mov dword ptr [rdi + 0x10], INTERCEPTS
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
    guest: GUEST
    vmmcall
    ud2
    over: nop
"""


def run_guest(instructions: str = "nop", intercepts: int = 0) -> str:
    """Run instructions as a guest that ends with VMMCALL. R10 is the exit code then (APM2, appendix C).

    The VMCB is at physical R8 (virtual RDI), the host save area at physical R9. ``intercepts``: bits of the
    VMCB's word at 10h, beside VMRUN and VMMCALL (APM2, appendix B). EFER is put back by the agent.
    """
    bits = intercepts | _VMRUN_AND_VMMCALL
    return _RUN.replace("INTERCEPTS", f"{bits:#x}").replace("GUEST", instructions)
