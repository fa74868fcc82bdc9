"""The controls of VMX (SDM 3C, "VM-Execution Control Fields", "Basic Exit Reasons"), one guest for each.

SMI, INIT, SIPI, task switches, GETSEC, exits of XSAVES, ENCLS, APIC accesses and EPT are left out.
"""

from __future__ import annotations

import struct

from touchstone.machine.intercepts import row, vmx_state
from touchstone.machine.intercepts.row import (
    EXCEPTIONS,
    HANDLER,
    POINTERS,
    RESULT,
    RESULTS,
    TABLES,
    TARGET,
    UNBLOCK_NMIS,
    Machine,
    Row,
    bitmap_code,
    idt_code,
)
from touchstone.machine.intercepts.vmx_state import ENTRY as _ENTRY
from touchstone.machine.intercepts.vmx_state import EXIT as _EXIT
from touchstone.machine.intercepts.vmx_state import HOST_EFER

_PIN, _PROC, _EXCEPTIONS, _PROC2 = 0x4000, 0x4002, 0x4004, 0x401E
_CAPABILITY = {_PIN: 0x481, _PROC: 0x482, _EXIT: 0x483, _ENTRY: 0x484, _PROC2: 0x48B}
_TRUE = {_PIN: 0x48D, _PROC: 0x48E, _EXIT: 0x48F, _ENTRY: 0x490}
"""Without those controls that early processors always had (SDM 3D A.2)."""
_BASIC, _FEATURE_CONTROL = 0x480, 0x3A
CAPABILITIES = (_FEATURE_CONTROL, _BASIC, *_CAPABILITY.values(), *_TRUE.values(), 0x486, 0x487, 0x488, 0x489)
_RFLAGS, _IF = 0x6820, 0x202
_ACTIVATE_SECONDARY = 1 << 31
_INVLPG, _RDTSC = 1 << 9, 1 << 12
_CR0_MASK, _CR4_MASK, _CR0_SHADOW, _CR4_SHADOW = 0x6000, 0x6002, 0x6004, 0x6006


def _pin(name: str, bits: int, exit_reason: int, guest: str, more: dict[int, int] | None = None) -> Row:
    return Row(name, guest, exit_reason, {_PIN: bits, **(more or {})})


def _proc(
    name: str,
    bit: int,
    exit_reason: int,
    guest: str = "",
    more: dict[int, int] | None = None,
    needs: str = "",
    *,
    may_hang: bool = False,
) -> Row:
    return Row(name, guest or name, exit_reason, {_PROC: 1 << bit, **(more or {})}, needs, may_hang)


def _proc2(name: str, bit: int, exit_reason: int, guest: str = "", proc: int = 0, needs: str = "") -> Row:
    settings = {_PROC: _ACTIVATE_SECONDARY | proc, _PROC2: 1 << bit}
    return Row(name, guest or name, exit_reason, settings, needs)


_CPL_3 = {0x802: 3, 0x804: 3, 0x4816: 3 << 5, 0x4818: 3 << 5}
"""RPL and DPL of CS and SS."""
ROWS = (
    Row("cpuid", "cpuid", 10),
    Row("hypercall-ring3", "nop", 18, toggles=_CPL_3, of_user=True),
    Row("invd", "invd", 13),
    Row("xsetbv", row.XSETBV, 55, needs="cpuid.xsave"),
    *(Row(name, guest, 0, {_EXCEPTIONS: 1 << vector}) for name, (vector, guest) in EXCEPTIONS.items()),
    _pin("interrupt", 1, 1, row.INTERRUPT_ITSELF, {_RFLAGS: _IF}),
    _pin("nmi", 1 << 3, 0, row.NMI_ITSELF),
    _pin("nmi-window", 1 << 3 | 1 << 5, 8, "nop; nop", {_PROC: 1 << 22}),
    _pin("preemption-timer", 1 << 6, 52, "nop; nop", {0x482E: 0}),
    _proc("interrupt-window", 2, 7, "nop; nop", {_RFLAGS: _IF}),
    _proc("hlt", 7, 12, may_hang=True),
    _proc("invlpg", 9, 14, "invlpg [rsp]"),
    _proc("mwait", 10, 36, "xor eax, eax; xor ecx, ecx; mwait", needs="cpuid.monitor", may_hang=True),
    _proc("rdpmc", 11, 15, "xor ecx, ecx; rdpmc"),
    _proc("rdtsc", 12, 16),
    _proc2("rdtscp", 3, 51, proc=_RDTSC, needs="cpuid.rdtscp"),
    _proc("cr3-write", 15, 28, "mov rax, cr3; mov cr3, rax"),
    _proc("cr3-read", 16, 28, "mov rax, cr3"),
    _proc("cr8-write", 19, 28, "mov rax, cr8; mov cr8, rax"),
    _proc("cr8-read", 20, 28, "mov rax, cr8"),
    Row("cr0-write", row.TOGGLE_CR0_AM, 28, {_CR0_MASK: 1 << 18}),
    Row("cr4-write", "mov rax, cr4; btc rax, 3; mov cr4, rax", 28, {_CR4_MASK: 1 << 3}),
    *(_proc(f"dr{number}-read", 23, 29, f"mov rax, dr{number}") for number in (0, 7)),
    *(
        _proc(f"dr{number}-write", 23, 29, f"mov eax, {value:#x}; mov dr{number}, rax")
        for number, value in ((0, 0), (7, 0x400))
    ),
    _proc("io-unconditional", 24, 30, "in al, 0x80"),
    _proc("io-in", 25, 30, "in al, 0x80"),
    _proc("io-out", 25, 30, "out 0x80, al"),
    _proc("monitor-trap", 27, 37, "nop; nop"),
    _proc("msr-read", 28, 31, row.READ_MSR),
    _proc("msr-write", 28, 32, row.WRITE_MSR),
    _proc("msr-read-wide", 28, 31, row.READ_MSR_WIDE),
    _proc("msr-write-wide", 28, 32, row.WRITE_MSR_WIDE),
    _proc("monitor", 29, 39, "mov rax, rsp; xor ecx, ecx; xor edx, edx; monitor", needs="cpuid.monitor"),
    _proc("pause", 30, 40),
    _proc2("sgdt", 2, 46, "sgdt [rsp - 16]"),
    _proc2("sidt", 2, 46, "sidt [rsp - 16]"),
    _proc2("lgdt", 2, 46, "lgdt [rsp]"),
    _proc2("lidt", 2, 46, "lidt [rsp]"),
    _proc2("sldt", 2, 47, "sldt ax"),
    _proc2("str", 2, 47, "str ax"),
    _proc2("lldt", 2, 47, "xor eax, eax; lldt ax"),
    _proc2("ltr", 2, 47, "xor eax, eax; ltr ax"),
    _proc2("wbinvd", 6, 54),
    _proc2("rdrand", 11, 57, "rdrand rax", needs="cpuid.rdrand"),
    _proc2("rdseed", 16, 61, "rdseed rax", needs="cpuid.rdseed"),
    _proc2("invpcid", 12, 58, row.INVPCID, _INVLPG, "cpuid.invpcid"),
    _proc2("xsaves", 20, 18, row.XSAVES, needs="cpuid.xsaves"),  # it is executed: the exit is the guest's end
    _proc2("tpause", 26, 68, "xor eax, eax; xor edx, edx; xor ecx, ecx; tpause ecx", _RDTSC, "cpuid.waitpkg"),
)
_CR4 = 0x6804
_TSD = {_CR4: 1 << 2}
_PRIVILEGED = row.privileged(
    ROWS,
    Row("", "", 0, {_EXCEPTIONS: 1 << 13}, read=0x4406),
    Row("", "", 0, {_EXCEPTIONS: 1 << 6}),
    {"": _CPL_3, "rdtsc": _TSD, "rdtscp": _TSD},
)
_XSETBV_WITHOUT_OSXSAVE = Row(
    "faults.xsetbv-without-osxsave",
    row.XSETBV_WITHOUT_OSXSAVE,
    0,
    {_EXCEPTIONS: 1 << 6},
    "cpuid.xsave",
    toggles={_CR4: 1 << 18},
)
_XSAVES_OFF = Row("faults.xsaves-off", row.XSAVES, 0, {_EXCEPTIONS: 1 << 6}, "cpuid.xsaves")
STATE = (*vmx_state.ROWS, *_PRIVILEGED, _XSETBV_WITHOUT_OSXSAVE, _XSAVES_OFF)
"""What VM entries and VM exits have to do with the guest's state, and with events."""
KEEP = (0x277,)
"""IA32_PAT: a guest changes it, and a VM exit may leave it so."""
EXIT_CODE = 0x4402


def _capability(machine: Machine, control: int) -> int:
    has_true = machine.msrs.get(_BASIC, 0) >> 55 & 1
    msr = _TRUE.get(control) if has_true else None
    return machine.msrs.get(_CAPABILITY[control] if msr is None else msr, 0)


def _allowed(machine: Machine, control: int, bits: int) -> int:
    """The value of a control that has at least these bits, as far as they are possible (SDM 3D A.3)."""
    capability = _capability(machine, control)
    return (bits | capability & 0xFFFF_FFFF) & capability >> 32


def is_usable(machine: Machine) -> bool:
    """Whether VMXON is possible without changing what the firmware has set (SDM 3C 24.7)."""
    return machine.msrs.get(_FEATURE_CONTROL, 0) & 5 == 5 and _BASIC in machine.msrs  # locked, on


def possible(one: Row, machine: Machine) -> bool:
    """Whether the processor has the controls."""
    return all(
        _capability(machine, control) >> 32 & bits == bits
        for control, bits in one.settings.items()
        if control in _CAPABILITY
    )


def settings(one: Row, machine: Machine) -> dict[int, int]:
    """The fields of a row, with the bits that the processor demands."""
    of_host = {HOST_EFER: machine.efer} if one.settings.get(_EXIT, 0) & vmx_state.LOAD_HOST_EFER else {}
    bitmap = {vmx_state.MSR_BITMAP: machine.pages[5]} if vmx_state.MSR_BITMAP in one.settings else {}
    own = {**one.settings, **of_host, **bitmap}
    return {key: _allowed(machine, key, value) if key in _CAPABILITY else value for key, value in own.items()}


def _cr(machine: Machine) -> tuple[int, int]:
    """CR0 and CR4 in VMX operation (SDM 3D A.7, A.8)."""
    msrs = machine.msrs
    cr0 = (machine.cr0 | msrs.get(0x486, 0)) & msrs.get(0x487, 0xFFFF_FFFF)
    return cr0, (machine.cr4 | 1 << 13 | msrs.get(0x488, 0)) & msrs.get(0x489, 0xFFFF_FFFF)


def common(machine: Machine) -> dict[int, int]:
    """The VMCS of every guest: 64-bit code at CPL 0 in the address space of the probe, whose IDT is empty."""
    bitmap = machine.pages[2]
    cr0, cr4 = _cr(machine)
    unusable = {0x4814: 0x10000, 0x481C: 0x10000, 0x481E: 0x10000, 0x4820: 0x10000}
    return {
        _PIN: _allowed(machine, _PIN, 0),
        _PROC: _allowed(machine, _PROC, 0),
        _PROC2: 0,
        _EXIT: _allowed(machine, _EXIT, 1 << 9),  # the host is 64-bit code
        _ENTRY: _allowed(machine, _ENTRY, 1 << 9),  # so is the guest
        **dict.fromkeys((_EXCEPTIONS, 0x4006, 0x4008, 0x400A, 0x400E, 0x4010, 0x4014, 0x4016), 0),
        **dict.fromkeys((_CR0_MASK, _CR4_MASK, 0x4018, 0x401A), 0),
        _CR0_SHADOW: cr0,
        _CR4_SHADOW: cr4,
        0x2000: bitmap,
        0x2002: bitmap,
        vmx_state.MSR_BITMAP: bitmap,
        0x2800: 2**64 - 1,
        0x2802: 0,
        vmx_state.EFER: machine.efer,
        # the host
        **dict.fromkeys((0xC00, 0xC04, 0xC06), machine.ss),
        0xC02: machine.cs,
        0xC08: 0,
        0xC0A: 0,
        0xC0C: machine.tr,
        0x6C00: cr0,
        0x6C02: machine.cr3,
        0x6C04: cr4,
        0x6C06: machine.fs_base,
        0x6C08: machine.gs_base,
        0x6C0A: machine.tss,
        0x6C0C: machine.gdt[0],
        0x6C0E: machine.idt[0],
        0x4C00: machine.sysenter[0],
        0x6C10: machine.sysenter[1],
        0x6C12: machine.sysenter[2],
        # the guest
        **dict.fromkeys((0x800, 0x806, 0x808, 0x80A, 0x80C), 0),
        0x802: machine.cs,
        0x804: machine.ss,
        0x80E: machine.tr,
        **dict.fromkeys(range(0x4800, 0x480C, 2), 0xFFFF_FFFF),
        0x480C: 0,
        0x480E: 0x67,
        0x4810: machine.gdt[1],
        0x4812: 0,
        **unusable,
        0x4816: 0xA09B,
        0x4818: 0xC093,
        0x481A: 0xC093,
        0x4822: 0x8B,
        **dict.fromkeys((0x4824, 0x4826, 0x482A, 0x6822, 0x6824, 0x6826), 0),
        0x6800: cr0,
        0x6802: machine.cr3,
        0x6804: cr4,
        **dict.fromkeys(range(0x6806, 0x6814, 2), 0),
        0x6814: machine.tss,
        0x6816: machine.gdt[0],
        0x6818: 0,
        0x681A: 0x400,
        _RFLAGS: 2,
    }


def registers(machine: Machine) -> dict[str, int]:
    """The registers that CODE begins with, beside those that both vendors' code has."""
    cr0, cr4 = _cr(machine)
    return {"r13": cr0, "r14": cr4, "r9": machine.ss, "r8": machine.msrs.get(_BASIC, 0) & 0x7FFF_FFFF}


def memory(machine: Machine) -> tuple[tuple[int, bytes], ...]:
    """What CODE finds in the scratch area, beside settings and rows: where VMXON region and VMCS are."""
    return ((POINTERS, struct.pack("<2Q", machine.pages[1], machine.pages[0])),)


CODE = f"""
    mov cr0, r13
    mov cr4, r14
    mov [rdi], r8d
    mov [rdi + 0x1000], r8d
    lea rax, [rsi + {TARGET:#x}]
    mov dr0, rax
    {bitmap_code()}
    {idt_code()}
    lea r12, [rsi + {RESULTS:#x}]
    sgdt [rsi + {TABLES:#x}]
    sidt [rsi + {TABLES + 0x10:#x}]
    vmxon [rsi + {POINTERS:#x}]
    jbe failed
    row: vmclear [rsi + {POINTERS + 8:#x}]
    vmptrld [rsi + {POINTERS + 8:#x}]
    mov rbx, rsi
    mov ecx, r10d
    call apply
    mov eax, [r15]
    lea rdx, [rip + guests]
    add rdx, rax
    mov eax, 0x681e
    vmwrite rax, rdx
    mov [r12 + 24], rdx
    movzx ecx, word ptr [r15 + 4]
    movzx ebp, word ptr [r15 + 6]
    lea rbx, [r15 + 8]
    call apply
    push rbx
    push rbp
    push rsi
    push r10
    push r11
    push r12
    mov eax, 0x6c14
    vmwrite rax, rsp
    lea rdx, [rsp - 0x200]
    mov eax, 0x681c
    vmwrite rax, rdx
    lea rdx, [rip + exited]
    mov eax, 0x6c16
    vmwrite rax, rdx
    vmlaunch
    mov eax, 0x4400
    vmread rdx, rax
    bts rdx, 32
    jmp store
    exited: mov rdi, rax
    mov eax, 0x4402
    vmread rdx, rax
    store: pop r12
    pop r11
    pop r10
    pop rsi
    pop rbp
    pop r15
    mov [r12], rdx
    cmp ebp, {vmx_state.RAX:#x}
    je is_rax
    vmread rdi, rbp
    is_rax: mov [r12 + 8], rdi
    mov eax, 0x681e
    vmread rdx, rax
    mov [r12 + 16], rdx
    add r12, {RESULT}
    {UNBLOCK_NMIS}
    dec r11d
    jnz row
    vmxoff
    lgdt [rsi + {TABLES:#x}]
    lidt [rsi + {TABLES + 0x10:#x}]
    jmp over
    failed: mov qword ptr [r12], -1
    jmp over
    apply: jrcxz applied
    movzx eax, word ptr [rbx]
    mov rdx, [rbx + 2]
    vmwrite rax, rdx
    add rbx, 10
    dec ecx
    jmp apply
    applied: ret
    {HANDLER}
    HYPERCALL
    guests: GUESTS
    over: nop
"""
"""Runs R11 guests, whose rows are at R15, with R10 settings at RSI before each. RDI: the first page."""
HYPERCALL = "vmcall"
