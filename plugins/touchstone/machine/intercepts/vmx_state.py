"""What VMX does with a guest's state (SDM 3C, "VM Entries", "VM Exits"), one guest for each statement.

``loads``: a VM entry gives it to the guest, which reads it. ``stores``: the guest changes it, and a VM exit
writes it into the VMCS. ``injects``: a VM entry delivers an event.
"""

from __future__ import annotations

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

RAX = 0xFFFF
"""No field of the VMCS: the register, which a VM exit leaves as the guest has it."""
EXIT, ENTRY, EFER, HOST_EFER, _HOST_PAT = 0x400C, 0x4012, 0x2806, 0x2C02, 0x2C00
LOAD_HOST_EFER, MSR_BITMAP = 1 << 21, 0x2004
_64_BIT = 1 << 9
_ON_EXIT = {"debug": 1 << 2, "pat": 1 << 18 | 1 << 19, "efer": 1 << 20 | LOAD_HOST_EFER}
_ON_ENTRY = {"debug": 1 << 2, "pat": 1 << 14, "efer": 1 << 15}
_EXCEPTION, _CPUID, _VMCALL, _CR = 0, 10, 18, 28
_PROC, _EXCEPTIONS = 0x4002, 0x4004
_EVENT, _EVENT_ERROR, _EVENT_LENGTH = 0x4016, 0x4018, 0x401A
_INFO, _ERROR, _VECTORING, _LENGTH, _QUALIFICATION = 0x4404, 0x4406, 0x4408, 0x440C, 0x6400
_SS, _DS, _SS_RIGHTS, _ES_RIGHTS = 0x804, 0x806, 0x4818, 0x4814
_CR0, _CR3, _CR4, _DR7, _RSP, _RFLAGS = 0x6800, 0x6802, 0x6804, 0x681A, 0x681C, 0x6820
_GDTR, _IDTR, _GDTR_LIMIT, _IDTR_LIMIT = 0x6816, 0x6818, 0x4810, 0x4812
_DEBUGCTL, _PAT = 0x2802, 0x2804
_PENDING, _INTERRUPTIBILITY = 0x6822, 0x4824
_GATES = {_IDTR: GUEST_IDT, _IDTR_LIMIT: 16 * row.GATES - 1}
_RESET_TYPES = 0x0007_0406_0007_0406
_MSRS = {_PROC: 1 << 28, MSR_BITMAP: 0}
"""No access to an MSR exits."""
_SWITCHED = {
    "fs-base": (0x680E, 0xC0000100, _ADDRESS),
    "gs-base": (0x6810, 0xC0000101, _ADDRESS),
    "sysenter-cs": (0x482A, 0x174, 0x10),
    "sysenter-esp": (0x6824, 0x175, _ADDRESS),
    "sysenter-eip": (0x6826, 0x176, _ADDRESS),
}
"""Without a control: where it is in the VMCS, its MSR, and a value."""


def _with(*kinds: str) -> dict[int, int]:
    """The controls that load and store what there is of a kind."""
    entry = out = _64_BIT
    for kind in kinds:
        entry, out = entry | _ON_ENTRY[kind], out | _ON_EXIT[kind]
    return {**_MSRS, ENTRY: entry, EXIT: out, **({_HOST_PAT: _RESET_TYPES} if "pat" in kinds else {})}


_loads = partial(row.loads, exit_code=_VMCALL, read=RAX)
_stores = partial(row.stores, exit_code=_VMCALL)


def _interrupted(name: str, guest: str, event: int) -> Row:
    """The guest has no gates: delivery ends in a #GP, and its exit tells what was delivered."""
    return _stores(
        f"event.{name}",
        guest,
        _VECTORING,
        1 << 31 | event,
        {_EXCEPTIONS: 1 << 13},
        mask=0xFFFF_EFFF,
        exit_code=_EXCEPTION,
    )


def _injects(name: str, event: int, error: int | None = None, length: int = 0, rflags: int = 2) -> Row:
    """The guest's handler has in RAX the error code, or the address behind the event."""
    code = 0 if error is None else 1 << 11
    settings = {_EVENT: 1 << 31 | event | code, _EVENT_ERROR: error or 0, _EVENT_LENGTH: length, **_GATES}
    origin: Literal["", "start"] = "start" if error is None else ""
    return Row(
        f"injects.{name}",
        NO_EVENT,
        _VMCALL,
        {**settings, _RFLAGS: rflags},
        read=RAX,
        value=length if error is None else error,
        counted_from=origin,
    )


ROWS = (
    _loads("cr0", "mov rax, cr0", lambda have: have[_CR0], toggles={_CR0: 1 << 18}),
    _loads("cr3", "mov rax, cr3", lambda have: have[_CR3], toggles={_CR3: 1 << 3}),
    _loads("cr4", "mov rax, cr4", lambda have: have[_CR4], toggles={_CR4: 1 << 3}),
    _loads("efer", read_msr(0xC0000080), lambda have: have[EFER], _with("efer"), toggles={EFER: 1}, mask=1),
    _loads("dr7", "mov rax, dr7", 0x3_0400, {_DR7: 0x3_0400, **_with("debug")}),
    Row(
        "loads.breakpoints",
        row.HIT_BREAKPOINT,
        _EXCEPTION,
        {_DR7: 0xF_0401, _EXCEPTIONS: 1 << 1, **_with("debug")},
    ),
    _loads("debugctl", read_msr(0x1D9), 1, {_DEBUGCTL: 1, **_with("debug")}),
    _loads("rflags", "pushfq; pop rax", _RFLAGS_BITS, {_RFLAGS: 2 | _RFLAGS_BITS}, mask=_RFLAGS_BITS),
    _loads("selectors", "mov eax, ds", 0x28, {_DS: 0x28}),
    _loads("gdtr-base", row.BASE.format("sgdt"), _ADDRESS, {_GDTR: _ADDRESS}),
    _loads("gdtr-limit", row.LIMIT.format("sgdt"), 0x123, {_GDTR_LIMIT: 0x123}),
    _loads("idtr-base", row.BASE.format("sidt"), _ADDRESS, {_IDTR: _ADDRESS}),
    _loads("idtr-limit", row.LIMIT.format("sidt"), 0x123, {_IDTR_LIMIT: 0x123}),
    _loads("pat", read_msr(0x277), _TYPES, {_PAT: _TYPES, **_with("pat")}),
    _loads("tsc-offset", "rdtsc; mov eax, edx", 1 << 30, {_PROC: 1 << 3, 0x2010: 1 << 62}, mask=1 << 30),
    Row(
        "loads.interrupt-shadow",
        "",
        _VMCALL,
        {_INTERRUPTIBILITY: 1, _RFLAGS: 0x202},
        read=_INTERRUPTIBILITY,
        value=1,
    ),
    Row("loads.pending-debug", "nop; nop", _EXCEPTION, {_EXCEPTIONS: 1 << 1, _PENDING: 1 << 14}),
    *(
        _loads(name, read_msr(msr), value, {at: value, **_MSRS})
        for name, (at, msr, value) in _SWITCHED.items()
    ),
    _stores("cr0", row.TOGGLE_CR0_AM, _CR0, lambda have: have[_CR0] ^ 1 << 18),
    _stores("cr3", row.TOGGLE_CR3_PWT, _CR3, lambda have: have[_CR3] ^ 1 << 3),
    _stores("cr4", row.TOGGLE_CR4_DE, _CR4, lambda have: have[_CR4] ^ 1 << 3),
    _stores("efer", row.TOGGLE_EFER_SCE, EFER, lambda have: have[EFER] ^ 1, _with("efer"), mask=1),
    _stores("dr7", "mov eax, 0x30400; mov dr7, rax", _DR7, 0x3_0400, _with("debug")),
    _stores("debugctl", write_msr(0x1D9, 1), _DEBUGCTL, 1, _with("debug")),
    _stores("rflags", row.CHANGE_RFLAGS, _RFLAGS, _RFLAGS_BITS, mask=_RFLAGS_BITS),
    Row("stores.rip", "lea rax, [rip]", _VMCALL, read=RAX, counted_from="rip"),
    _stores("rsp", f"mov rsp, {_ADDRESS:#x}", _RSP, _ADDRESS),
    _stores("selectors", "mov eax, ss; mov ds, eax", _DS, lambda have: have[_SS]),
    _stores("segments", "mov eax, ss; mov es, eax", _ES_RIGHTS, lambda have: have[_SS_RIGHTS]),
    _stores("gdtr-base", row.CHANGE_TABLE.format("gdt"), _GDTR, _ADDRESS),
    _stores("gdtr-limit", row.CHANGE_TABLE.format("gdt"), _GDTR_LIMIT, 0x123),
    _stores("idtr-base", row.CHANGE_TABLE.format("idt"), _IDTR, _ADDRESS),
    _stores("idtr-limit", row.CHANGE_TABLE.format("idt"), _IDTR_LIMIT, 0x123),
    _stores("pat", write_msr(0x277, _TYPES), _PAT, _TYPES, {_PAT: _RESET_TYPES, **_with("pat")}),
    *(_stores(name, write_msr(msr, value), at, value, _MSRS) for name, (at, msr, value) in _SWITCHED.items()),
    _stores("interrupt-shadow", "sti", _INTERRUPTIBILITY, 1),
    _stores("interrupt-shadow-of-mov-ss", "mov eax, ss; mov ss, eax", _INTERRUPTIBILITY, 2),
    _stores("interrupt-shadow-over", "sti; nop", _INTERRUPTIBILITY, 0),
    _stores("pending-debug", "mov ss, r9d", _PENDING, 1 << 14, {_RFLAGS: 0x102}, mask=1 << 14),
    # Not of the instruction that exits: it has not been executed (SDM 3C, "Saving Non-Register State").
    _stores("no-pending-step", "cpuid", _PENDING, 0, {_RFLAGS: 0x102}, mask=1 << 14, exit_code=_CPUID),
    _stores("instruction-length", "cpuid", _LENGTH, 2, exit_code=_CPUID),
    _stores(
        "error-code",
        row.SOFTWARE_INTERRUPT,
        _ERROR,
        row.INTERRUPT << 3 | 2,
        {_EXCEPTIONS: 1 << 13},
        exit_code=_EXCEPTION,
    ),
    _stores(
        "interruption",
        "ud2",
        _INFO,
        0x8000_0306,
        {_EXCEPTIONS: 1 << 6},
        mask=0xFFFF_EFFF,
        exit_code=_EXCEPTION,
    ),
    _stores(
        "qualification", "mov rax, cr3; mov cr3, rax", _QUALIFICATION, 3, {_PROC: 1 << 15}, exit_code=_CR
    ),
    _stores(
        "fault-address",
        EXCEPTIONS["exception-pf"][1],
        _QUALIFICATION,
        0x6000_0000_0000,
        {_EXCEPTIONS: 1 << 14},
        exit_code=_EXCEPTION,
    ),
    Row("faults.cr4-reserved", row.SET_CR4_15, _EXCEPTION, {_EXCEPTIONS: 1 << 13}, may_hang=True),
    Row(
        "faults.paging-without-protection",
        row.PAGING_WITHOUT_PROTECTION,
        _EXCEPTION,
        {_EXCEPTIONS: 1 << 13},
        may_hang=True,
    ),
    _interrupted("software-interrupt", row.SOFTWARE_INTERRUPT, 4 << 8 | row.INTERRUPT),
    _interrupted("exception", "ud2", 3 << 8 | 6),
    _interrupted("breakpoint", "int3", 6 << 8 | 3),
    _interrupted("nmi", row.NMI_ITSELF, 2 << 8 | 2),
    _injects("exception", 3 << 8 | 6),
    _injects("error-code", 3 << 8 | 13, 0x1234),
    _injects("interrupt", row.INTERRUPT - 0x20, rflags=0x202),
    _injects("nmi", 2 << 8 | 2),
    # Of #DE, without a gate: the #GP of its delivery makes #DF of it, which exits.
    Row(
        "injects.double-fault",
        "nop",
        0,
        {
            _EXCEPTIONS: 1 << 8,
            _EVENT: 1 << 31 | 3 << 8,
            _EVENT_LENGTH: 0,
            _IDTR: row.GATES_FROM_GP,
            _IDTR_LIMIT: 16 * row.GATES - 1,
        },
        read=_INFO,
        mask=0xFF,
        value=8,
    ),
    _injects("software-interrupt", 4 << 8 | (row.INTERRUPT - 0x20), length=2),
)
