"""One intercept or control, and how a guest shows whether the processor heeds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Row:
    """A guest that exits if one control is heeded."""

    name: str
    """What is intercepted: the same word for both vendors."""
    guest: str
    """Instructions, separated by semicolons; behind them the guest ends with a hypercall."""
    exit: int
    """The exit code or basic exit reason that is due."""
    settings: Mapping[int, int] = field(default_factory=dict)
    """Offset in the VMCB, or encoding of a field of the VMCS, to its value in this guest."""
    needs: str = ""
    """A requirement of CPUID, as suites have it, without which the processor lacks the instruction."""
    may_hang: bool = False
    """A processor that ignores the control may never come back."""


@dataclass(frozen=True)
class Machine:
    """The state of the processor that a guest begins with, and where its pages physically are."""

    cr0: int
    cr3: int
    cr4: int
    efer: int
    cs: int
    ss: int
    tr: int
    gdt: tuple[int, int]
    """Base and limit."""
    idt: tuple[int, int]
    tss: int
    """Base of the task-state segment."""
    fs_base: int
    gs_base: int
    sysenter: tuple[int, int, int]
    """IA32_SYSENTER_CS, IA32_SYSENTER_ESP, IA32_SYSENTER_EIP."""
    pages: tuple[int, ...]
    """Physical addresses of PAGES pages."""
    msrs: Mapping[int, int] = field(default_factory=dict)
    """MSR number to value: what tells which controls there are."""


PAGES = 4
"""Pages that a guest needs: zeroed, at linear addresses that follow each other from FIRST_PAGE."""
FIRST_PAGE = 0x7000_0000_0000
INPUTS, RESULTS, POINTERS, TABLES = 0, 0x1000, 0x1E00, 0x1F00
"""Offsets in the scratch area: settings and rows; eight bytes for each row; of VMX, two pointers, and room
for the descriptor-table registers."""

BITMAP_BYTES = {0x10: 0x01, 0x5D: 0x09, 0x2E: 0x10, 0x82E: 0x20}
"""Of the page that is every bitmap: port 80h; reads of MSR 174h and writes of MSR 175h, as SVM has it (two
bits for each MSR) and as VMX has it (a half of the page for each direction)."""


def bitmap_code() -> str:
    """Fills the third of the pages at RDI with BITMAP_BYTES."""
    return "\n".join(
        f"mov byte ptr [rdi + {0x2000 + at:#x}], {value:#x}" for at, value in BITMAP_BYTES.items()
    )


INTERRUPT = 0x40
"""The vector of an interrupt that a guest sends itself."""
WAIT = "mov ecx, 2000; 1: dec ecx; jnz 1b"
SEND = "mov eax, {:#x}; mov edx, 0xf0e00300; mov [rdx], eax; " + WAIT
"""To the CPU itself, and wait; the agent has set the upper half of the local APIC's command register."""

# Guests that both vendors have.
INTERRUPT_ITSELF = SEND.format(INTERRUPT)
NMI_ITSELF = SEND.format(0x400)
LGDT = "sub rsp, 16; sgdt [rsp]; lgdt [rsp]"
LIDT = "sub rsp, 16; sidt [rsp]; lidt [rsp]"
INVPCID = "xor eax, eax; push rax; push rax; invpcid rax, [rsp]"
XSETBV = "xor ecx, ecx; xgetbv; xsetbv"
TOGGLE_CR0_AM = "mov rax, cr0; btc rax, 18; mov cr0, rax"
READ_MSR = "mov ecx, 0x174; rdmsr"
WRITE_MSR = "mov ecx, 0x175; rdmsr; wrmsr"
# RDMSR and WRMSR take ECX; what is in the upper half of RCX is nothing to them (SDM 2B, APM3).
READ_MSR_WIDE = "mov rcx, 0x100000174; rdmsr"
WRITE_MSR_WIDE = "mov rcx, 0x100000175; rdmsr; wrmsr"
EXCEPTIONS = {
    "exception-de": (0, "xor ecx, ecx; div ecx"),
    "exception-db": (1, "pushfq; bts qword ptr [rsp], 8; popfq; nop"),
    "exception-bp": (3, "int3"),
    "exception-ud": (6, "ud2"),
    "exception-nm": (7, "mov rax, cr0; bts rax, 3; mov cr0, rax; fnop"),
    "exception-gp": (13, "mov rax, 0x8000000000000000; mov rax, [rax]"),
    "exception-pf": (14, "mov rax, 0x600000000000; mov rax, [rax]"),
}
"""Name to vector, and what raises it."""
