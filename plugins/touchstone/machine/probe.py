"""What goes to the agent and what comes back (``targets/agent/PROTOCOL.md``), as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

GPRS = (
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
    "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
)  # fmt: skip
"""The general-purpose registers in the order of their numbers in the instruction encoding."""

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


@dataclass(frozen=True)
class ProbeRequest:
    """One probe as the agent runs it."""

    code: bytes
    cpl: Literal[0, 3] = 0
    code_bits: Literal[32, 64] = 64
    """Kind of code segment: 64-bit mode, or 32-bit code in compatibility mode (SDM 3A 2.2, APM2 1.3.1)."""
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


@dataclass(frozen=True)
class ProbeResult:
    """How a probe ended on one CPU."""

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
    msrs: Mapping[int, int] = field(default_factory=dict)
    """The MSRs of ``keep`` and ``msrs`` at the end of the probe."""
    nmis: int = 0
    events: tuple[ProbeEvent, ...] = ()
    """Those of the vectors that are handled with ``return``, in the order of their arrival."""
    noted: int = 0
    """How many there were: more than ``events`` has, if there was no room for all."""

    @property
    def scratch(self) -> int:
        """Address of the scratch area."""
        return self.slot + SCRATCH_OFFSET
