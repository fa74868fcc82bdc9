"""What goes to the agent and what comes back (``targets/agent/PROTOCOL.md``), as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import msgspec

GPRS = (
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
    "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
)  # fmt: skip
"""The general-purpose registers in the order of their numbers in the instruction encoding."""

CALL_GPRS = ("rbx", "rbp", "r12", "r13", "r14", "r15")
"""The registers that a C function keeps for its caller, RSP apart."""
CALL_RFLAGS = 0x247600
"""The bits of RFLAGS that it keeps, and that the agent can see: IF, DF, IOPL, NT, AC, ID."""

CALL_REGISTERS = ("rflags", *CALL_GPRS, "ss")
"""All that is compared around a call: SS too, which is the same for all code of the OS."""

LEGACY_GPRS = GPRS[:8]
"""The registers that exist outside of long mode."""

CODE_OFFSET, CODE_SIZE = 0x0000, 0x2000
SCRATCH_OFFSET, SCRATCH_SIZE = 0x3000, 0x2000
STACK_END = 0x7000
"""Layout of the slot that every CPU has for probes."""


@dataclass(frozen=True)
class Operand:
    """A start value: a number, or an address on the CPU that runs the probe."""

    base: Literal["number", "scratch", "start", "stack"] = "number"
    offset: int = 0
    """The number itself (0 to 2**64-1), or the signed distance from the base in bytes."""

    def resolve(self, slot: int, at: int = 0) -> int:
        """The value on the CPU whose slot is at address ``slot``, for code at ``at`` in the code area."""
        base = {
            "number": 0,
            "scratch": slot + SCRATCH_OFFSET,
            "start": slot + CODE_OFFSET + at,
            "stack": slot + STACK_END,
        }[self.base]
        return (base + self.offset) & (2**64 - 1)


HandlerKind = Literal["return", "no-gate", "not-present"]
"""What a vector leads to, other than code of the probe: the agent notes the event and returns; a descriptor
without a valid type; a gate that is not present."""
Mode = Literal["long", "pae-paging", "32-bit-paging", "no-paging", "real", "virtual-8086"]
"""What the processor is in: long mode, protected mode with a kind of paging or without, or real mode."""
CodeBits = Literal[16, 32, 64]
"""Kind of code segment: 64-bit mode; 32- or 16-bit code, in compatibility mode if the mode is ``long`` (SDM
3A 2.2, APM2 1.3.1)."""


def address_mask(code_bits: CodeBits) -> int:
    """The bits of an address that code of this kind has: it wraps at 4 GiB outside of 64-bit code."""
    return 2**64 - 1 if code_bits == 64 else 2**32 - 1


@dataclass(frozen=True)
class Page:
    """A page whose entry in the page tables is another one while the probe runs."""

    address: Operand
    set: int = 0
    """Bits of the entry to set: 1 present, 2 write, 4 user, 8 PWT, 0x10 PCD, 0x80 PAT, 2**63 no-execute."""
    clear: int = 0
    alias: Operand | None = None
    """It maps the memory at this address. None: what it maps anyway, or fresh memory."""


@dataclass(frozen=True)
class Place:
    """The mode and the place that a probe runs in; on ``bare`` only, unless it is the default."""

    mode: Mode = "long"
    linear: int | None = None
    """Linear address of the code's first byte. None: in the code area."""
    base: int | None = None
    """Base of the code segment. None: 0, or that of the code area for 16-bit code."""
    pages: tuple[Page, ...] = ()


@dataclass(frozen=True)
class ProbeRequest:
    """One probe as the agent runs it."""

    code: bytes
    cpl: Literal[0, 3] = 0
    code_bits: CodeBits = 64
    place: Place = Place()
    cpus: tuple[int, ...] = (0,)
    together: bool = False
    """All CPUs start at the same time, instead of one after the other."""
    at: int = 0
    """Offset of the code in the code area."""
    seed: int | None = None
    """Random start values: splitmix64 of this seed in the order of GPRS without rsp. None: zeros."""
    registers: Mapping[str, Operand] = field(default_factory=dict)
    rflags: int = 2
    bits: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """``cr0``, ``cr4``, ``efer``: masks of the bits to set and to clear before the probe."""
    debug: Mapping[str, Operand] = field(default_factory=dict)
    """``dr0`` to ``dr3``, ``dr6``, ``dr7``."""
    memory: tuple[tuple[int, bytes], ...] = ()
    """(offset in the scratch area, bytes) to put there."""
    read: tuple[int, int] | None = None
    """(offset, length) of the scratch area to send back."""
    keep: tuple[int, ...] = ()
    """MSRs to save before and to restore after the probe."""
    msrs: Mapping[int, Operand | tuple[int, int]] = field(default_factory=dict)
    """MSR to its value before the probe, or to masks of the bits to set and to clear in it; saved and
    restored like those of ``keep``."""
    handlers: Mapping[int, int | HandlerKind] = field(default_factory=dict)
    """Vector to the offset of its handler in the code, which is 64-bit code at CPL 0, or to another kind."""
    tables: bool = False
    """Report IDTR, GDTR, LDTR and TR."""
    leave: bool = False
    """The CPUs keep the state in which the probe ends, until ``undo``."""
    undo: bool = False
    """Before the probe, undo what probes with ``leave`` have left on the same CPUs."""
    timeout: float = 5.0
    """Seconds after which the probe counts as hung."""


@dataclass(frozen=True)
class ProbeEvent:
    """An event that the agent noted and returned from."""

    vector: int
    rip: int
    """Where it arrived (absolute): the address to which the handler returned."""
    dr6: int | None = None
    """After #DB."""


class ProbeResult(msgspec.Struct, frozen=True):
    """How a probe ended on one CPU.

    A run makes ten thousand of them: a frozen dataclass takes eight times as long to make.
    """

    cpu: int
    vector: int | None
    """Vector of the exception that ended it; None: it ran to its end."""
    error_code: int | None
    registers: Mapping[str, int]
    """All of GPRS, absolute."""
    given: Mapping[str, int]
    """All of GPRS as they were when the probe started (rsp too)."""
    rip: int
    """Absolute; for a probe that ran to its end: start + size of its code."""
    rflags: int
    start: int
    """Address of the probe's first byte on this CPU."""
    slot: int
    """Address of this CPU's slot, as seen from the probe's privilege level."""
    cr2: int | None = None
    dr6: int | None = None
    dr7: int | None = None
    """As an exception's handler sees it: #DB has cleared GD (SDM 3B 17.2.4)."""
    memory: bytes = b""
    """The bytes asked for with ``read``."""
    msrs: Mapping[int, int] = msgspec.field(default_factory=dict)
    """The MSRs of ``keep`` and ``msrs`` at the end of the probe."""
    nmis: int = 0
    events: tuple[ProbeEvent, ...] = ()
    """Those of the vectors that are handled with ``return``, in the order of their arrival."""
    noted: int = 0
    """How many there were: more than ``events`` has, if there was no room for all."""
    more: Mapping[str, tuple[int, int]] = msgspec.field(default_factory=dict)
    """Other registers to their values at the start and at the end.

    With ``tables``: ``idtr.base``, ``idtr.limit``, ``gdtr.base``, ``gdtr.limit``, ``ldtr``, ``tr``. Where a
    probe has left its state: ``returned.`` with CALL_REGISTERS, with which a subject's code was called and
    came back.
    """
    code_bits: CodeBits = 64
    """Those of the request: outside of 64-bit code, addresses wrap at 4 GiB."""

    def address(self, offset: int) -> int:
        """Address of the code's byte at ``offset``, as RIP has it."""
        return (self.start + offset) & address_mask(self.code_bits)

    @property
    def scratch(self) -> int:
        """Address of the scratch area."""
        return self.slot + SCRATCH_OFFSET
