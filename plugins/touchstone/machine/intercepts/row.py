"""One statement about virtualization hardware, and the guest that shows whether it is true of a processor."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

ALL = 2**64 - 1
Settings = Mapping[int, int]
"""Offset in the VMCB, or encoding of a field of the VMCS, to its value."""


@dataclass(frozen=True)
class Row:
    """A guest that exits as is due if the statement is true."""

    name: str
    """What it is about: the same word for both vendors."""
    guest: str
    """Instructions, separated by semicolons; behind them the guest ends with a hypercall."""
    exit: int
    """The exit code or basic exit reason that is due."""
    settings: Settings = field(default_factory=dict)
    """What is set in this guest, in the place or beside of what all guests have."""
    needs: str = ""
    """A requirement of CPUID, as suites have it, without which the processor lacks it."""
    may_hang: bool = False
    """A processor of which it is not true may never come back."""
    toggles: Settings = field(default_factory=dict)
    """Bits of what all guests have that are the other way round in this one."""
    read: int | None = None
    """What is read behind the exit; None: the exit alone tells."""
    mask: int = ALL
    """Which bits of it count."""
    value: int | Callable[[Settings], int] = 0
    """What it must be, or what tells that from the settings that the guest had."""
    counted_from: Literal["", "start", "rip"] = ""
    """The address that ``value`` begins at: of the guest's first instruction, or where it has exited."""
    of_user: bool = False
    """It runs where the code of the probe is mapped for CPL 3."""

    def due(self, settings: Settings) -> int:
        """What must be read, under the mask."""
        value = self.value if isinstance(self.value, int) else self.value(settings)
        return value & self.mask


def loads(
    name: str,
    guest: str,
    value: int | Callable[[Settings], int],
    settings: Settings | None = None,
    *,
    mask: int = ALL,
    toggles: Settings | None = None,
    exit_code: int,
    read: int,
) -> Row:
    """Entering the guest loads it: the guest leaves in RAX, which is ``read``, what it finds."""
    return Row(
        f"loads.{name}",
        guest,
        exit_code,
        settings or {},
        toggles=toggles or {},
        read=read,
        mask=mask,
        value=value,
    )


def stores(
    name: str,
    guest: str,
    read: int,
    value: int | Callable[[Settings], int],
    settings: Settings | None = None,
    *,
    mask: int = ALL,
    exit_code: int,
) -> Row:
    """The exit stores it: ``read`` has what the guest has made of it."""
    return Row(f"stores.{name}", guest, exit_code, settings or {}, read=read, mask=mask, value=value)


@dataclass(frozen=True)
class Seen:
    """What came of one guest."""

    exit: int
    read: int
    rip: int
    start: int

    def wrong(self, one: Row, settings: Settings) -> str | None:
        """What is not as it is due, in words; None: nothing."""
        if self.exit != one.exit:
            return f"exit {self.exit:#x} in the place of {one.exit:#x}"
        if one.read is None:
            return None
        origin = {"": 0, "start": self.start, "rip": self.rip}[one.counted_from]
        found, due = self.read - origin & one.mask, one.due(settings)
        return None if found == due else f"{found:#x} in the place of {due:#x}"


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


PAGES = 8
"""Pages that a guest needs: zeroed, at linear addresses that follow each other from FIRST_PAGE."""
FIRST_PAGE = 0x7000_0000_0000
GUEST_IDT = FIRST_PAGE + 0x4000
"""In the fifth of them: gates, for GATES vectors, that lead to HANDLER."""
GATES = 64
GATES_FROM_GP = GUEST_IDT - 13 * 16
"""An IDT whose gates before #GP are of the page before, which is zero there: no gates."""
TARGET = 0xE00
"""A place in the scratch area that DR0 points to: nothing else is there."""
INPUTS, RESULTS, POINTERS, TABLES = 0, 0x1000, 0x1E00, 0x1F00
"""Offsets in the scratch area: settings and rows; a RESULT for each row; of VMX, two pointers, and room for
the descriptor-table registers."""
RESULT = 32
"""Bytes: the exit, what was read, where the guest has exited, and where it has begun."""

BITMAP_BYTES = {0x10: 0x01, 0x5D: 0x09, 0x2E: 0x10, 0x82E: 0x20}
"""Of the page that is every bitmap: port 80h; reads of MSR 174h and writes of MSR 175h, as SVM has it (two
bits for each MSR) and as VMX has it (a half of the page for each direction)."""


def bitmap_code() -> str:
    """Fills the third of the pages at RDI with BITMAP_BYTES."""
    return "\n".join(
        f"mov byte ptr [rdi + {0x2000 + at:#x}], {value:#x}" for at, value in BITMAP_BYTES.items()
    )


HANDLER = "handler: pop rax"
"""Where the guest's gates lead: RAX is the error code, or where the event came."""


def idt_code() -> str:
    """Fills the page of the guest's IDT, from the pages at RDI on, with gates that lead to HANDLER."""
    return f"""
    lea rdx, [rip + handler]
    lea rbx, [rdi + {GUEST_IDT - FIRST_PAGE:#x}]
    mov ecx, {GATES}
    gate: mov [rbx], dx
    mov [rbx + 2], cs
    mov word ptr [rbx + 4], 0x8e00
    mov rax, rdx
    shr rax, 16
    mov [rbx + 6], ax
    shr rax, 16
    mov [rbx + 8], eax
    add rbx, 16
    dec ecx
    jnz gate
    """


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
XSAVES = "mov eax, 1; xor edx, edx; sub rsp, 0x400; and rsp, -64; xsaves [rsp]"
TOGGLE_CR0_AM = "mov rax, cr0; btc rax, 18; mov cr0, rax"
READ_MSR = "mov ecx, 0x174; rdmsr"
WRITE_MSR = "mov ecx, 0x175; rdmsr; wrmsr"
# RDMSR and WRMSR take ECX; what is in the upper half of RCX is nothing to them (SDM 2B, APM3).
READ_MSR_WIDE = "mov rcx, 0x100000174; rdmsr"
WRITE_MSR_WIDE = "mov rcx, 0x100000175; rdmsr; wrmsr"
AN_ADDRESS, A_TYPES = 0x1234_5678_9000, 0x0007_0406_0007_0104
"""For a register that takes addresses, and for PAT."""
A_RFLAGS = 1 << 21 | 1 << 11 | 0xD5
"""ID, OF and the other status flags."""
BASE, LIMIT = "{} [rsp - 16]; mov rax, [rsp - 14]", "{} [rsp - 16]; movzx eax, word ptr [rsp - 16]"
"""Of SGDT or SIDT, in RAX."""
CHANGE_TABLE = (
    f"mov rax, {AN_ADDRESS:#x}; mov [rsp - 14], rax; mov word ptr [rsp - 16], 0x123; l{{}} [rsp - 16]"
)
CHANGE_RFLAGS = f"push {2 | A_RFLAGS:#x}; popfq"
TOGGLE_CR3_PWT = "mov rax, cr3; btc rax, 3; mov cr3, rax"
TOGGLE_CR4_DE = "mov rax, cr4; btc rax, 3; mov cr4, rax"
TOGGLE_EFER_SCE = "mov ecx, 0xc0000080; rdmsr; btc eax, 0; wrmsr"
PAGING_WITHOUT_PROTECTION = "mov rax, cr0; btr rax, 0; mov cr0, rax"
SET_CR4_15 = "mov rax, cr4; bts rax, 15; mov cr4, rax"
HIT_BREAKPOINT = "mov rax, dr0; mov [rax], rax; nop"
SOFTWARE_INTERRUPT = f"int {INTERRUPT:#x}"
NO_EVENT = "xor eax, eax"
"""What HANDLER's RAX is told from."""


def read_msr(number: int) -> str:
    """All of an MSR, in RAX."""
    return f"mov ecx, {number:#x}; rdmsr; shl rdx, 32; or rax, rdx"


def write_msr(number: int, value: int) -> str:
    """A value for an MSR."""
    return f"mov ecx, {number:#x}; mov eax, {value & 0xFFFF_FFFF:#x}; mov edx, {value >> 32:#x}; wrmsr"


PRIVILEGED = {
    "cr0-write": "smsw rax; btc rax, 18; mov cr0, rax",
    "cr3-read": "mov rax, cr3",
    "cr3-write": "mov cr3, rax",
    "cr8-read": "mov rax, cr8",
    "cr8-write": "mov cr8, rax",
    "dr0-read": "mov rax, dr0",
    "dr7-write": "mov dr7, rax",
    "hlt": "hlt",
    "invd": "invd",
    "invlpg": "invlpg [rsp]",
    "invpcid": "invpcid rax, [rsp]",
    "io-in": "in al, 0x80",
    "io-out": "out 0x80, al",
    "lgdt": "lgdt [rsp]",
    "lidt": "lidt [rsp]",
    "lldt": "lldt ax",
    "ltr": "ltr ax",
    "msr-read": READ_MSR,
    "msr-write": "mov ecx, 0x175; wrmsr",
    "rdpmc": "xor ecx, ecx; rdpmc",
    "rdtsc": "rdtsc",
    "rdtscp": "rdtscp",
    "wbinvd": "wbinvd",
    "xsaves": "mov eax, 1; xor edx, edx; and rsp, -64; xsaves [rsp]",
    "xsetbv": XSETBV,
}
"""Control to the instruction that exits by it, and that raises #GP(0) at CPL 3: RDTSC, RDTSCP with CR4.TSD
set, RDPMC with CR4.PCE clear, IN and OUT with a TSS that permits no port."""
UNDEFINED_FOR_USERS = {"monitor": "monitor", "mwait": "mwait"}
"""The same for instructions that raise #UD at CPL 3."""
PRIVILEGE = "faults.privilege."
"""What the names of such guests begin with."""
XSETBV_WITHOUT_OSXSAVE = "mov ecx, -1; xsetbv"


def privileged(
    rows: Iterable[Row], general_protection: Row, undefined: Row, toggles: Mapping[str, Settings]
) -> Iterator[Row]:
    """At CPL 3 the fault comes before the exit: one of the two is due, whatever the control.

    SDM 3C, "Relative Priority of Faults and VM Exits"; APM2 15.9.
    ``toggles``: what to change for CPL 3, as ``""``, and beside that for some controls.
    """
    for control in rows:
        due = undefined if control.name in UNDEFINED_FOR_USERS else general_protection
        if guest := {**PRIVILEGED, **UNDEFINED_FOR_USERS}.get(control.name):
            settings = dict(due.settings)
            for key, value in control.settings.items():
                settings[key] = settings.get(key, 0) | value
            yield replace(
                due,
                name=PRIVILEGE + control.name,
                guest=guest,
                settings=settings,
                toggles={**toggles[""], **toggles.get(control.name, {})},
                needs=control.needs,
                of_user=True,
                may_hang=control.may_hang,
            )


UNBLOCK_NMIS = """
    mov rdx, rsp
    mov eax, ss
    push rax
    push rdx
    pushfq
    mov eax, cs
    push rax
    lea rax, [rip + unblocked]
    push rax
    iretq
    unblocked: nop
"""
"""An IRET, as behind an NMI."""
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
