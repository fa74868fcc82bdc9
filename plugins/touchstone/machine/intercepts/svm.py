"""The intercepts of SVM (APM2, appendices B and C), one guest for each.

SMI, INIT, RSM, task switches, FERR_FREEZE and SKINIT are left out: nothing but a chipset or a lost machine
shows whether they are heeded. So are the write traps of EFER and of control registers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from touchstone.machine.intercepts import row, svm_state
from touchstone.machine.intercepts.row import (
    EXCEPTIONS,
    HANDLER,
    RESULT,
    RESULTS,
    TARGET,
    UNBLOCK_NMIS,
    Machine,
    Row,
    bitmap_code,
    idt_code,
)

_DF_AND_GP, _SHUTDOWN, _VMRUN_AND_VMMCALL = 1 << 8 | 1 << 13, 1 << 31, 3
_WORDS = {2: _DF_AND_GP, 3: _SHUTDOWN, 4: _VMRUN_AND_VMMCALL}
"""The intercepts that every guest here has: VMRUN, its end, and what becomes of an exception, for which the
IDT has no gate."""
_RFLAGS, _V_INTR, _IF = 0x570, 0x60, 0x202
_V_IRQ = 1 << 8 | 0xF << 16 | 1 << 20 | 1 << 24 | row.INTERRUPT << 32
"""V_IRQ, V_INTR_PRIO, V_IGN_TPR, V_INTR_MASKING and the vector."""


def _row(
    name: str,
    word: int,
    bit: int,
    guest: str = "",
    more: Mapping[int, int] | None = None,
    needs: str = "",
    *,
    may_hang: bool = False,
) -> Row:
    """The intercept of a bit in the word at 4 * ``word``; exit codes follow the order of the bits."""
    words = dict(_WORDS)
    words[word] = words.get(word, 0) | 1 << bit
    pair = word & ~1
    settings = {4 * pair: words.get(pair, 0) | words.get(pair + 1, 0) << 32, **(more or {})}
    return Row(name, guest or name, 32 * word + bit, settings, needs, may_hang)


def _moves(kind: str, word: int, numbers: tuple[int, ...]) -> tuple[Row, ...]:
    """Reads of control or debug registers, and writes of what was read."""
    return tuple(
        one
        for number in numbers
        for one in (
            _row(f"{kind}{number}-read", word, number, f"mov rax, {kind}{number}"),
            _row(
                f"{kind}{number}-write",
                word,
                16 + number,
                f"mov rax, {kind}{number}; mov {kind}{number}, rax",
            ),
        )
    )


_CPL_3 = 3 | 3 << 5 + 16
"""Of a segment in the VMCB: RPL and DPL."""
_USER = {0x410: _CPL_3, 0x420: _CPL_3}
ROWS = (
    *_moves("cr", 0, (0, 2, 3, 4, 8)),
    *_moves("dr", 1, (0, 1, 2, 3, 6, 7)),
    *(_row(name, 2, vector, guest) for name, (vector, guest) in EXCEPTIONS.items()),
    _row("interrupt", 3, 0, row.INTERRUPT_ITSELF, {_RFLAGS: _IF}),
    _row("nmi", 3, 1, row.NMI_ITSELF),
    _row("interrupt-window", 3, 4, "sti; nop; " + row.WAIT, {_V_INTR: _V_IRQ}),
    _row("cr0-selective-write", 3, 5, row.TOGGLE_CR0_AM),
    _row("sidt", 3, 6, "sidt [rsp - 16]"),
    _row("sgdt", 3, 7, "sgdt [rsp - 16]"),
    _row("sldt", 3, 8, "sldt ax"),
    _row("str", 3, 9, "str ax"),
    _row("lidt", 3, 10, row.LIDT),
    _row("lgdt", 3, 11, row.LGDT),
    _row("lldt", 3, 12, "sldt ax; lldt ax"),
    _row("ltr", 3, 13, "str ax; ltr ax"),
    _row("rdtsc", 3, 14),
    _row("rdpmc", 3, 15, "xor ecx, ecx; rdpmc"),
    _row("pushf", 3, 16, "pushfq"),
    _row("popf", 3, 17, "push 2; popfq"),
    _row("cpuid", 3, 18),
    _row("iret", 3, 20, "iretq"),
    _row("int", 3, 21, f"int {row.INTERRUPT:#x}"),
    _row("invd", 3, 22),
    _row("pause", 3, 23),
    _row("hlt", 3, 24, may_hang=True),
    _row("invlpg", 3, 25, "invlpg [rsp]"),
    _row("invlpga", 3, 26, "xor ecx, ecx; mov rax, rsp; .byte 0x0f, 0x01, 0xdf"),
    _row("io-in", 3, 27, "in al, 0x80"),
    _row("io-out", 3, 27, "out 0x80, al"),
    _row("msr-read", 3, 28, row.READ_MSR),
    _row("msr-write", 3, 28, row.WRITE_MSR),
    _row("msr-read-wide", 3, 28, row.READ_MSR_WIDE),
    _row("msr-write-wide", 3, 28, row.WRITE_MSR_WIDE),
    _row("vmrun", 4, 0),
    _row("vmload", 4, 2),
    _row("vmsave", 4, 3),
    _row("stgi", 4, 4),
    _row("clgi", 4, 5),
    _row("rdtscp", 4, 7, needs="cpuid.rdtscp"),
    _row("icebp", 4, 8, ".byte 0xf1"),
    _row("wbinvd", 4, 9),
    _row("monitor", 4, 10, "mov rax, rsp; xor ecx, ecx; xor edx, edx; monitor", needs="cpuid.monitor"),
    _row("mwait", 4, 11, "xor eax, eax; xor ecx, ecx; mwait", needs="cpuid.monitor", may_hang=True),
    _row("xsetbv", 4, 13, row.XSETBV, needs="cpuid.xsave"),
    _row("rdpru", 4, 14, "xor ecx, ecx; .byte 0x0f, 0x01, 0xfd", needs="cpuid.rdpru"),
    _row("invpcid", 5, 2, row.INVPCID, needs="cpuid.invpcid"),
    Row("hypercall-ring3", "nop", 0x81, {svm_state.CPL: 3 << 24}, toggles=_USER, of_user=True),
)

_CR4 = 0x548
_TSD = {_CR4: 1 << 2}
_PRIVILEGED = row.privileged(
    ROWS,
    Row("", "", 0x4D, {svm_state.CPL: 3 << 24}, read=0x78),
    Row("", "", 0x46, {svm_state.CPL: 3 << 24, 0x08: _DF_AND_GP | 1 << 6 | _SHUTDOWN << 32}),
    {"": _USER, "rdtsc": _TSD, "rdtscp": _TSD},
)
_XSETBV_WITHOUT_OSXSAVE = replace(
    _row(
        "xsetbv",
        4,
        13,
        row.XSETBV_WITHOUT_OSXSAVE,
        {0x08: _DF_AND_GP | 1 << 6 | _SHUTDOWN << 32},
        "cpuid.xsave",
    ),
    name="faults.xsetbv-without-osxsave",
    exit=0x46,
    toggles={_CR4: 1 << 18},
)
STATE = (*svm_state.ROWS, *_PRIVILEGED, _XSETBV_WITHOUT_OSXSAVE)
"""What VMRUN, #VMEXIT, VMLOAD and VMSAVE have to do with the guest's state, and with events."""

_VM_CR = 0xC0010114
CAPABILITIES = (_VM_CR,)
KEEP = (0x277, 0xC0000081, 0xC0000082, 0xC0000083, 0xC0000084, 0xC0000102)
"""MSRs that guests change, and that #VMEXIT may leave so: PAT, STAR, LSTAR, CSTAR, SFMASK, KERNEL_GS_BASE."""
EXIT_CODE = 0x70


def common(machine: Machine) -> dict[int, int]:
    """The VMCB of every guest: 64-bit code at CPL 0 in the address space of the probe, whose IDT is empty."""
    vmcb, _, bitmap, *_ = machine.pages
    flat = 0xFFFF_FFFF << 32
    return {
        0x08: _DF_AND_GP | _SHUTDOWN << 32,
        0x10: _VMRUN_AND_VMMCALL,
        0x40: bitmap,
        0x48: bitmap,
        0x58: 1,  # ASID
        0x400: 0xC93 << 16 | flat,
        0x410: machine.cs | 0x29B << 16 | flat,
        0x420: machine.ss | 0xC93 << 16 | flat,
        0x430: 0xC93 << 16 | flat,
        0x460: machine.gdt[1] << 32,
        0x468: machine.gdt[0],
        0x4D0: machine.efer | 1 << 12,
        0x548: machine.cr4,
        0x550: machine.cr3,
        0x558: machine.cr0,
        0x560: 0x400,
        0x568: 0xFFFF0FF0,
        _RFLAGS: 2,
        0x5F8: vmcb,  # RAX: an address that VMRUN, VMLOAD and VMSAVE take
    }


def possible(one: Row, machine: Machine) -> bool:
    """Whether the processor has the intercept: every SVM has them all."""
    return True


def settings(one: Row, machine: Machine) -> Mapping[int, int]:
    """The settings of a row, with the addresses of what CODE has prepared in the pages."""
    own = dict(one.settings)
    if own.get(svm_state.NESTED_CONTROL):
        own[0xB0] = machine.pages[5]
    if svm_state.CS_BASE in own:
        own[svm_state.CS_BASE] = machine.pages[4]
    return own


def registers(machine: Machine) -> dict[str, int]:
    """The registers that CODE begins with, beside those that both vendors' code has."""
    vmcb, save_area, _, host, _, _, level3, level2 = machine.pages
    return {"r8": vmcb, "r9": save_area, "r13": host, "r14": level3 | 7, "rbp": level2 | 7}


def memory(machine: Machine) -> tuple[tuple[int, bytes], ...]:
    """What CODE finds in the scratch area, beside settings and rows: nothing."""
    return ()


def is_usable(machine: Machine) -> bool:
    """Whether SVM can be switched on (APM2 15.4)."""
    return not machine.msrs.get(_VM_CR, 0) >> 4 & 1  # SVMDIS


CODE = f"""
    mov ecx, IA32_EFER
    rdmsr
    bts eax, 12
    wrmsr
    mov ecx, VM_HSAVE_PA
    rdmsr
    push rax
    push rdx
    mov eax, r9d
    xor edx, edx
    wrmsr
    mov rax, r13
    vmsave
    lea rax, [rsi + {TARGET:#x}]
    mov dr0, rax
    mov [rdi + 0x5000], r14
    mov [rdi + 0x6000], rbp
    lea rbx, [rdi + 0x7000]
    mov eax, 0x87
    large: mov [rbx], rax
    add rbx, 8
    add rax, 0x200000
    test ebx, 0xfff
    jnz large
    {bitmap_code()}
    {idt_code()}
    mov dword ptr [rdi + {0x4000 + svm_state.VMMCALL_IN_IDT:#x}], 0xd9010f
    lea r12, [rsi + {RESULTS:#x}]
    clgi
    row: push rdi
    mov ecx, 0x200
    xor eax, eax
    rep stosq
    pop rdi
    mov rbx, rsi
    mov ecx, r10d
    call apply
    mov eax, [r15]
    lea rdx, [rip + guests]
    add rax, rdx
    mov [rdi + 0x578], rax
    mov [r12 + 24], rax
    movzx ecx, word ptr [r15 + 4]
    movzx ebp, word ptr [r15 + 6]
    lea rbx, [r15 + 8]
    call apply
    push rbx
    push rbp
    push rdi
    push rsi
    push r8
    push r10
    push r11
    push r12
    push r13
    lea rax, [rsp - 0x200]
    mov [rdi + 0x5d8], rax
    mov rax, r8
    vmload
    vmrun
    mov rax, [rsp + 0x20]
    vmsave
    mov rax, [rsp]
    vmload
    {UNBLOCK_NMIS}
    stgi
    nop
    clgi
    pop r13
    pop r12
    pop r11
    pop r10
    pop r8
    pop rsi
    pop rdi
    pop rbp
    pop r15
    mov ecx, IA32_PAT
    rdmsr
    mov [rdi + {svm_state.HOST_PAT:#x}], eax
    mov [rdi + {svm_state.HOST_PAT + 4:#x}], edx
    mov rax, [rdi + 0x70]
    mov [r12], rax
    mov rax, [rdi + rbp]
    mov [r12 + 8], rax
    mov rax, [rdi + 0x578]
    mov [r12 + 16], rax
    add r12, {RESULT}
    dec r11d
    jnz row
    mov rax, r13
    vmload
    stgi
    pop rdx
    pop rax
    mov ecx, VM_HSAVE_PA
    wrmsr
    jmp over
    apply: jrcxz applied
    movzx eax, word ptr [rbx]
    mov rdx, [rbx + 2]
    mov [rdi + rax], rdx
    add rbx, 10
    dec ecx
    jmp apply
    applied: ret
    {HANDLER}
    HYPERCALL
    guests: GUESTS
    over: nop
"""
"""Runs R11 guests, whose rows are at R15, with R10 settings at RSI before each. RDI: the first page. Between
two guests, an NMI that has made one exit is taken."""
HYPERCALL = "vmmcall"
