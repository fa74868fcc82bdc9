"""What SVM does with a guest's state (APM2 15.5, 15.6, 15.7.2, 15.20, 15.25), one guest for each statement.

``loads``: VMRUN gives it to the guest, which reads it. ``stores``: the guest changes it, and #VMEXIT writes
it into the VMCB. ``injects``: VMRUN delivers an event. ``vmload``, ``vmsave``: the same of what these
instructions load before VMRUN and store behind #VMEXIT. ``keeps``: neither VMRUN nor #VMEXIT changes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Literal

from touchstone.machine.intercepts import row
from touchstone.machine.intercepts.row import A_RFLAGS as _RFLAGS_BITS
from touchstone.machine.intercepts.row import A_TYPES as _TYPES
from touchstone.machine.intercepts.row import AN_ADDRESS as _ADDRESS
from touchstone.machine.intercepts.row import (
    EXCEPTIONS,
    GUEST_IDT,
    NO_EVENT,
    Row,
    read_msr,
    write_msr,
)

_VMMCALL, _DB, _PF, _GP, _CPUID = 0x81, 0x41, 0x4E, 0x4D, 0x72
_WORD0, _WORD2, _WORD4 = 0x00, 0x08, 0x10
_BASE = {_WORD2: 1 << 8 | 1 << 13 | 1 << 63, _WORD4: 3}
"""What all guests intercept, as the pairs of words are there."""
_SHADOW, _V_INTR, _EVENT_INFO, _INFO1, _INFO2, _NEXT_RIP = 0x68, 0x60, 0x88, 0x78, 0x80, 0xC8
NESTED_CONTROL, _EVENT = 0x90, 0xA8
CS_BASE, CPL, VMMCALL_IN_IDT = 0x418, 0x4C8, 0x800
"""CPL is in the fourth byte. Behind its gates, the page of the guest's IDT has a VMMCALL."""
HOST_PAT = 0x800
"""Behind the state save area: what PAT is behind the exit."""
_ES, _SS, _DS, _GDTR_LIMIT, _GDTR, _IDTR_LIMIT, _IDTR = 0x400, 0x420, 0x430, 0x460, 0x468, 0x480, 0x488
_EFER, _CR4, _CR3, _CR0, _DR7, _DR6, _RFLAGS, _RIP = 0x4D0, 0x548, 0x550, 0x558, 0x560, 0x568, 0x570, 0x578
_RSP, _RAX, _CR2, _PAT = 0x5D8, 0x5F8, 0x640, 0x668
_GATES = {_IDTR: GUEST_IDT, _IDTR_LIMIT: (16 * row.GATES - 1) << 32}
_V_IRQ = 1 << 8 | 0xF << 16 | 1 << 20 | 1 << 24 | row.INTERRUPT << 32
_loads = partial(row.loads, exit_code=_VMMCALL, read=_RAX)
_stores = partial(row.stores, exit_code=_VMMCALL)


def _injects(name: str, event: int, error: int | None = None) -> Row:
    """The guest's handler has in RAX the error code, or the address of the first instruction."""
    code = 0 if error is None else 1 << 11 | error << 32
    settings = {_EVENT: 1 << 31 | event | code, **_GATES}
    origin: Literal["", "start"] = "start" if error is None else ""
    return Row(
        f"injects.{name}",
        NO_EVENT,
        _VMMCALL,
        settings,
        read=_RAX,
        value=error or 0,
        counted_from=origin,
    )


_SWITCHED = {
    "fs-base": (0x448, 0xC0000100, _ADDRESS),
    "gs-base": (0x458, 0xC0000101, _ADDRESS),
    "star": (0x600, 0xC0000081, 0x0023_0010_0000_0000),
    "lstar": (0x608, 0xC0000082, _ADDRESS),
    "cstar": (0x610, 0xC0000083, _ADDRESS),
    "sfmask": (0x618, 0xC0000084, 0x4_7700),
    "kernel-gs-base": (0x620, 0xC0000102, _ADDRESS),
    "sysenter-cs": (0x628, 0x174, 0x10),
    "sysenter-esp": (0x630, 0x175, 0x1234_5000),
    "sysenter-eip": (0x638, 0x176, 0x1234_6000),
}
"""By VMLOAD and VMSAVE: where it is in the VMCB, its MSR, and a value."""


def _interrupted(name: str, guest: str, event: int, settings: Mapping[int, int] | None = None) -> Row:
    """The guest has no gates: delivery ends in a #GP, and its exit tells what was delivered."""
    return _stores(
        f"event.{name}", guest, _EVENT_INFO, 1 << 31 | event, settings, mask=0xFFFF_FFFF, exit_code=_GP
    )


ROWS = (
    _loads("cr0", "mov rax, cr0", lambda have: have[_CR0], toggles={_CR0: 1 << 18}),
    _loads("cr2", "mov rax, cr2", _ADDRESS, {_CR2: _ADDRESS}),
    _loads("cr3", "mov rax, cr3", lambda have: have[_CR3], toggles={_CR3: 1 << 3}),
    _loads("cr4", "mov rax, cr4", lambda have: have[_CR4], toggles={_CR4: 1 << 3}),
    _loads("efer", read_msr(0xC0000080), lambda have: have[_EFER], toggles={_EFER: 1}, mask=1),
    _loads("dr6", "mov rax, dr6", 1 << 14, {_DR6: 0xFFFF_4FF0}, mask=1 << 14),
    _loads("dr6-fixed", "mov rax, dr6", 0xFFFF_4FF0, {_DR6: 1 << 14}),  # 16 to 31 and 4 to 11 are always 1
    _loads("dr7", "mov rax, dr7", 0x3_0400, {_DR7: 0x3_0400}),
    Row("loads.breakpoints", row.HIT_BREAKPOINT, _DB, {_DR7: 0xF_0401, _WORD2: _BASE[_WORD2] | 1 << 1}),
    _loads("rflags", "pushfq; pop rax", _RFLAGS_BITS, {_RFLAGS: 2 | _RFLAGS_BITS}, mask=_RFLAGS_BITS),
    _loads("selectors", "mov eax, ds", 0x28, {_DS: 0x28 | 0xC93 << 16 | 0xFFFF_FFFF << 32}),
    _loads("gdtr-base", row.BASE.format("sgdt"), _ADDRESS, {_GDTR: _ADDRESS}),
    _loads("gdtr-limit", row.LIMIT.format("sgdt"), 0x123, {_GDTR_LIMIT: 0x123 << 32}),
    _loads("idtr-base", row.BASE.format("sidt"), _ADDRESS, {_IDTR: _ADDRESS}),
    _loads("idtr-limit", row.LIMIT.format("sidt"), 0x123, {_IDTR_LIMIT: 0x123 << 32}),
    _loads("pat", read_msr(0x277), _TYPES, {NESTED_CONTROL: 1, _PAT: _TYPES}),
    _loads("tsc-offset", "rdtsc; mov eax, edx", 1 << 30, {0x50: 1 << 62}, mask=1 << 30),
    Row("loads.interrupt-shadow", "", _VMMCALL, {_SHADOW: 1}, read=_SHADOW, mask=1, value=1),
    _stores("cr0", row.TOGGLE_CR0_AM, _CR0, lambda have: have[_CR0] ^ 1 << 18),
    _stores("cr2", f"mov rax, {_ADDRESS:#x}; mov cr2, rax", _CR2, _ADDRESS),
    _stores("cr3", row.TOGGLE_CR3_PWT, _CR3, lambda have: have[_CR3] ^ 1 << 3),
    _stores("cr4", row.TOGGLE_CR4_DE, _CR4, lambda have: have[_CR4] ^ 1 << 3),
    _stores("efer", row.TOGGLE_EFER_SCE, _EFER, lambda have: have[_EFER] ^ 1, mask=1),
    _stores("dr6", "mov eax, 0xffff4ff0; mov dr6, rax", _DR6, 1 << 14, mask=1 << 14),
    _stores("dr7", "mov eax, 0x30400; mov dr7, rax", _DR7, 0x3_0400),
    _stores("rflags", row.CHANGE_RFLAGS, _RFLAGS, _RFLAGS_BITS, mask=_RFLAGS_BITS),
    Row("stores.rip", "lea rax, [rip]", _VMMCALL, read=_RAX, counted_from="rip"),
    _stores("rsp", f"mov rsp, {_ADDRESS:#x}", _RSP, _ADDRESS),
    _stores("selectors", "mov eax, ss; mov ds, eax", _DS, lambda have: have[_SS], {_DS: 0}, mask=0xFFFF),
    _stores("segments", "mov eax, ss; mov es, eax", _ES, lambda have: have[_SS], {_ES: 0}, mask=~(0xF << 28)),
    _stores("gdtr-base", row.CHANGE_TABLE.format("gdt"), _GDTR, _ADDRESS),
    _stores("gdtr-limit", row.CHANGE_TABLE.format("gdt"), _GDTR_LIMIT, 0x123 << 32, mask=0xFFFF << 32),
    _stores("idtr-base", row.CHANGE_TABLE.format("idt"), _IDTR, _ADDRESS),
    _stores("idtr-limit", row.CHANGE_TABLE.format("idt"), _IDTR_LIMIT, 0x123 << 32, mask=0xFFFF << 32),
    _stores("pat", write_msr(0x277, _TYPES), _PAT, _TYPES, {NESTED_CONTROL: 1, _PAT: 0x0007_0406_0007_0406}),
    Row("keeps.pat", write_msr(0x277, _TYPES), _VMMCALL, read=HOST_PAT, value=_TYPES),
    _stores("interrupt-shadow", "sti", _SHADOW, 1, mask=1),
    _stores("interrupt-shadow-of-mov-ss", "mov eax, ss; mov ss, eax", _SHADOW, 1, mask=1),
    _stores("interrupt-shadow-over", "sti; nop", _SHADOW, 0, mask=1),
    Row(
        "stores.next-rip",
        "cpuid",
        _CPUID,
        {_WORD2: _BASE[_WORD2] | 1 << 50},
        "cpuid.0x8000000a.edx[3]",
        read=_NEXT_RIP,
        value=2,
        counted_from="rip",
    ),
    _stores("error-code", row.SOFTWARE_INTERRUPT, _INFO1, row.INTERRUPT << 3 | 2, exit_code=_GP),
    _stores(
        "fault-address",
        EXCEPTIONS["exception-pf"][1],
        _INFO2,
        0x6000_0000_0000,
        {_WORD2: _BASE[_WORD2] | 1 << 14},
        exit_code=_PF,
    ),
    Row(
        "stores.virtual-8086",
        "",
        _VMMCALL,
        {
            **dict.fromkeys((_ES, 0x410, _SS, _DS), 0xF3 << 16 | 0xFFFF << 32),
            CS_BASE: 0,  # the page of the guest's IDT
            CPL: 3 << 24,
            _EFER: 1 << 12,
            _CR4: 0,
            _CR0: 0x11,
            _RFLAGS: 1 << 17 | 2,
            _RIP: VMMCALL_IN_IDT,
            _RSP: 0xF00,
        },
        may_hang=True,
        read=_RFLAGS,
        mask=1 << 17,
        value=1 << 17,
    ),
    Row("faults.cr4-reserved", row.SET_CR4_15, _GP, may_hang=True),
    Row("faults.paging-without-protection", row.PAGING_WITHOUT_PROTECTION, _GP, may_hang=True),
    _interrupted("software-interrupt", row.SOFTWARE_INTERRUPT, 4 << 8 | row.INTERRUPT),
    _interrupted("exception", "ud2", 3 << 8 | 6),
    _interrupted("breakpoint", "int3", 3 << 8 | 3),
    _interrupted("virtual-interrupt", "nop; nop", row.INTERRUPT, {_V_INTR: _V_IRQ, _RFLAGS: 0x202}),
    _interrupted("nmi", row.NMI_ITSELF, 2 << 8 | 2),
    _injects("exception", 3 << 8 | 6),
    _injects("error-code", 3 << 8 | 13, 0x1234),
    _injects("interrupt", row.INTERRUPT - 0x20),
    _injects("nmi", 2 << 8 | 2),
    # Of #DE, without a gate: the #GP of its delivery makes #DF of it, which exits.
    Row(
        "injects.double-fault",
        "nop",
        0x48,
        {
            0x08: 1 << 8 | 1 << 63,
            _EVENT: 1 << 31 | 3 << 8,
            _IDTR: row.GATES_FROM_GP,
            _IDTR_LIMIT: (16 * row.GATES - 1) << 32,
        },
    ),
    Row(
        "injects.virtual-interrupt",
        NO_EVENT,
        _VMMCALL,
        {_V_INTR: _V_IRQ - (0x20 << 32), _RFLAGS: 0x202, **_GATES},
        read=_RAX,
        counted_from="start",
    ),
    *(
        Row(f"vmload.{name}", read_msr(msr), _VMMCALL, {at: value}, read=_RAX, value=value)
        for name, (at, msr, value) in _SWITCHED.items()
    ),
    *(
        Row(
            f"vmsave.{name}",
            write_msr(msr, value),
            _VMMCALL,
            read=at,
            value=value,
        )
        for name, (at, msr, value) in _SWITCHED.items()
    ),
)
