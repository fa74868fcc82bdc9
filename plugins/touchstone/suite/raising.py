"""The words of a body that raise events: ``raise nmi``, ``raise 0x50``, ``timer 0x50, 1000``.

Each becomes stores to the registers of the local APIC (SDM 3A 11, APM2 16), which need no register and change
no flag, and PAUSEs for the time that the event takes to arrive. Before the probe, the agent has written
this CPU's id into the upper half of the command register.
"""

from __future__ import annotations

from collections.abc import Sequence

from touchstone.machine.probe import CodeBits
from touchstone.suite.numeral import number

LOCAL_APIC = 0xF0E00000
"""Where the agent maps the local APIC for code of every privilege level (``targets/agent/slot.h``)."""
REGISTERS = {
    "APIC_ID": 0x20,
    "APIC_TPR": 0x80,
    "APIC_EOI": 0xB0,
    "APIC_ISR": 0x100,
    "APIC_IRR": 0x200,
    "APIC_ICR": 0x300,
    "APIC_ICR_HIGH": 0x310,
    "APIC_TIMER": 0x320,
    "APIC_TIMER_COUNT": 0x380,
    "APIC_TIMER_NOW": 0x390,
    "APIC_TIMER_DIVIDE": 0x3E0,
}
"""Offsets of registers, as constants of bodies."""
ICR_NMI = 0x4400
ICR_SELF = 0x44000
WORDS = ("raise", "timer")
FIRST, LAST = 0x30, 0xEF
"""Vectors that can be raised: the agent keeps those below and above from interrupting a probe."""

_BITS = "touchstone$bits"
_PAUSES = 8


def macros() -> list[str]:
    """Lines of the assembler that define the words."""
    store = [
        ".macro touchstone$store register, value",
        f".if {_BITS} == 64",
        ".byte 0x67",  # 32-bit addresses in 64-bit code too: no sign extension
        ".endif",
        ".byte 0xc7, 0x04, 0x25",  # mov dword ptr [disp32], imm32
        f".long {LOCAL_APIC:#x} + \\register, \\value",
        ".endm",
    ]
    wait = [f".rept {_PAUSES}", "pause", ".endr", ".endm"]
    return [
        *store,
        ".macro raise event",
        ".ifc \\event,nmi",
        f"touchstone$store APIC_ICR, {ICR_NMI:#x}",
        ".else",
        f"touchstone$store APIC_ICR, {ICR_SELF:#x}+\\event",
        ".endif",
        *wait,
        ".macro timer vector, count",
        "touchstone$store APIC_TIMER_DIVIDE, 0xb",
        "touchstone$store APIC_TIMER, \\vector",
        "touchstone$store APIC_TIMER_COUNT, \\count",
        *wait,
    ]


def code_size(bits: CodeBits) -> str:
    """The line in front of a body that tells the words which code it is."""
    return f"{_BITS} = {bits}"


def is_raising(tokens: Sequence[str]) -> bool:
    """Whether a statement of a body is one of the words."""
    return bool(tokens) and tokens[0].lower() in WORDS


def refused(tokens: Sequence[str]) -> str | None:
    """What is wrong with one of the words; None if nothing is."""
    word = tokens[0].lower()
    arguments = "".join(tokens[1:]).replace(" ", "").replace("\t", "").split(",")
    if word == "raise" and arguments == ["nmi"]:
        return None
    vector = number(arguments[0])
    if len(arguments) != (1 if word == "raise" else 2) or vector is None:
        return "write `raise nmi` or `raise 0x50`" if word == "raise" else "write `timer 0x50, 1000`"
    if not FIRST <= vector <= LAST:
        return f"the vector of {word} must be from {FIRST:#x} to {LAST:#x}, not {arguments[0]}"
    if word == "timer":
        count = number(arguments[1])
        if count is None or not 0 < count < 2**31:
            return f"timer counts down from a number from 1 to 2^31-1, not from {arguments[1]}"
    return None
