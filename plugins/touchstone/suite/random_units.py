"""Units of random probes: a few instructions that hypervisors intercept, or that depend on what they keep.

Of CPUID and of MSRs, only what a hypervisor has no reason to show otherwise. INT n is not among them: where
it faults, Bochs 2.7 leaves an earlier event in EXITINTINFO.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from touchstone.machine.probe import CodeBits

T = TypeVar("T")
TF = 1 << 8
MASK64 = 2**64 - 1


class Dice:
    """Choices that depend on a seed alone. ``getrandbits`` is the same in all versions of Python."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def below(self, count: int) -> int:
        """A number from 0 to ``count - 1``."""
        return self._random.getrandbits(32) % count

    def one(self, values: Sequence[T]) -> T:
        """One of several."""
        return values[self.below(len(values))]

    def chance(self, percent: int) -> bool:
        """True in so many of a hundred cases."""
        return self.below(100) < percent

    def bits(self, count: int) -> int:
        """A number of so many random bits."""
        return self._random.getrandbits(count)


@dataclass(frozen=True)
class Unit:
    """Instructions that belong together; a probe is made smaller by leaving units out."""

    lines: tuple[str, ...]
    keep: tuple[int, ...] = ()
    """MSRs that they write."""
    writes_code: bool = False
    """They write into the probe itself."""


_VALUES = (
    0, 1, 2, 3, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF,
    1 << 32, (1 << 47) - 1,
    1 << 47, (1 << 63) - 1, 1 << 63, MASK64 - (1 << 47), MASK64 - (1 << 47) + 1, MASK64,
)  # fmt: skip
"""Numbers at which a width or the canonical range ends."""
FLAGS = (0x1, 0x4, 0x10, 0x40, 0x80, 0x400, 0x800, 0x4000, 0x40000, 0x200000)
"""CF, PF, AF, ZF, SF, DF, OF, NT, AC, ID."""
_LEAVES = (0, 1, 2, 4, 7, 0xD, 0x80000000, 0x80000001, 0x80000002, 0x80000004, 0x80000008)
_AND_BEHIND = {
    1: "and ecx, 0x7fffff9f",  # VMX, SMX, hypervisor
    7: "and ebx, 0xfffffffb",  # SGX
    0x80000001: "and ecx, 0xffffeffb",  # SVM, SKINIT
}
"""What takes the bits that a hypervisor may show otherwise out of the answer of a CPUID leaf."""
_READ_MSRS = (
    0x1B, 0xFE, 0x174, 0x175, 0x176, 0x1D9, 0x277, 0x2FF, 0xC0000080, 0xC0000081, 0xC0000082, 0xC0000083,
    0xC0000084,
    0xC0000100, 0xC0000101, 0xC0000102, 0x3F00, 0xC0009999, 0xDEADBEEF,
)  # fmt: skip
_WRITTEN_MSRS = (
    0x174, 0x175, 0x176, 0x277, 0xC0000081, 0xC0000082, 0xC0000083, 0xC0000084, 0xC0000100, 0xC0000102,
)  # fmt: skip
_PREFIXES = ("", "", "", ".byte 0x66; ", ".byte 0xf3; ", ".byte 0xf2; ", ".byte 0x2e; ", ".byte 0x64; ")
# Not NE (0x20): on VMX, an access that changes it is executed again after its exit; in single-stepped code
# Bochs 2.7 raises a #DB too many then: its exits save pending debug exceptions (SDM 3C 28.3.4).
_CR0_BITS = (0x2, 0x4, 0x8, 0x10000, 0x40000)
_CR4_BITS = (0x4, 0x8, 0x80, 0x100, 0x200, 0x400, 0x40000)
_UNDEFINED = ("ud2", "vmcall", "vmmcall", "vmload", "vmsave", "clgi", "stgi", "vmxoff", "getsec", "vmresume")


def value_at_an_edge(dice: Dice) -> int:
    """A number of 64 bits, often one at which a width or the canonical range ends."""
    kind = dice.below(4)
    if kind == 0:
        return dice.one(_VALUES)
    if kind == 1:
        return 1 << dice.below(64)
    return dice.bits(64) if kind == 2 else dice.bits(32)


def _cpuid(dice: Dice, bits: CodeBits) -> Unit:
    leaf = dice.one(_LEAVES)
    prefix = dice.one(_PREFIXES)
    if bits == 64 and dice.chance(10):
        prefix = ".byte 0x48; "  # REX.W
    lines = [f"mov eax, {leaf:#x}", f"mov ecx, {dice.below(3)}", f"{prefix}cpuid"]
    if leaf in _AND_BEHIND:
        lines.append(_AND_BEHIND[leaf])
    return Unit(tuple(lines))


def _rdmsr(dice: Dice, bits: CodeBits) -> Unit:
    del bits
    return Unit((f"mov ecx, {dice.one(_READ_MSRS):#x}", f"{dice.one(_PREFIXES)}rdmsr"))


def _wrmsr(dice: Dice, bits: CodeBits) -> Unit:
    del bits
    msr, value = dice.one(_WRITTEN_MSRS), value_at_an_edge(dice)
    if msr == 0x277 and dice.chance(70):
        value = sum(dice.one((0, 1, 4, 5, 6, 7)) << 8 * index for index in range(8))
    lines = (
        f"mov ecx, {msr:#x}",
        f"mov eax, {value & 0xFFFFFFFF:#x}",
        f"mov edx, {value >> 32:#x}",
        "wrmsr",
        "rdmsr",
    )
    return Unit(lines, (msr,))


def _xcr(dice: Dice, bits: CodeBits) -> Unit:
    del bits
    if dice.chance(40):
        # Not ECX = 1: which state is in use depends on the probes before (SDM 1 13.6, XINUSE).
        return Unit((f"mov ecx, {dice.one((0, 0, 0, 2, 2))}", "xgetbv"))
    return Unit(
        (
            f"mov ecx, {dice.one((0, 0, 0, 0, 1))}",
            f"mov eax, {dice.one((0, 1, 2, 3, 3, 7, 7, 5, 0xFF, 0x80000003)):#x}",
            f"mov edx, {dice.one((0, 0, 0, 0, 1, 0x80000000)):#x}",
            "xsetbv",
        )
    )


def _control(dice: Dice, bits: CodeBits) -> Unit:
    a = "rax" if bits == 64 else "eax"
    kind = dice.below(9)
    if kind == 0:
        return Unit((f"mov {a}, cr0", f"xor eax, {dice.one(_CR0_BITS):#x}", f"mov cr0, {a}", f"mov {a}, cr0"))
    if kind == 1:
        return Unit((f"mov {a}, cr4", f"xor eax, {dice.one(_CR4_BITS):#x}", f"mov cr4, {a}", f"mov {a}, cr4"))
    if kind == 2:
        return Unit((f"mov {a}, cr3", f"mov cr3, {a}"))
    if kind == 3 and bits == 64:
        return Unit((f"mov eax, {dice.below(18)}", "mov cr8, rax", "mov rbx, cr8"))
    if kind == 4:
        return Unit(("clts", f"mov {a}, cr0"))
    if kind == 5:
        return Unit((f"mov eax, {dice.one((0x31, 0x33, 0x3B, 0x39, 0x30)):#x}", "lmsw ax", "smsw ax"))
    if kind == 6:
        return Unit((f"mov {a}, cr2", f"mov cr2, {a}"))
    return Unit((f"mov {a}, cr{dice.one((0, 2, 4))}",))


def _debug(dice: Dice, bits: CodeBits) -> Unit:
    a = "rax" if bits == 64 else "eax"
    kind = dice.below(4)
    if kind == 0:
        return Unit((f"mov {a}, dr{dice.one((6, 7))}",))
    if kind == 1:
        return Unit((f"mov dr{dice.below(4)}, {a}", f"mov {a}, dr0"))
    if kind == 2:
        return Unit(
            (
                f"mov eax, {dice.one((0, 0x400, 0x700, 0xFFFF0000, 0x500)):#x}",
                f"mov dr7, {a}",
                f"mov {a}, dr7",
            )
        )
    return Unit((f"mov eax, {dice.bits(16):#x}", f"mov dr6, {a}", f"mov {a}, dr6"))


def _flags(dice: Dice, bits: CodeBits) -> Unit:
    wide = "q" if bits == 64 else "d"
    value = sum(dice.one(FLAGS) for _ in range(2)) & 0x2442D5 | 2 | (TF if dice.chance(25) else 0)
    b = "rbx" if bits == 64 else "ebx"
    return Unit((f"mov ebx, {value:#x}", f"push {b}", f"popf{wide}", f"pushf{wide}", f"pop {b}"))


def _undefined(dice: Dice, bits: CodeBits) -> Unit:
    del bits
    return Unit((dice.one(_UNDEFINED),))


def _plain(dice: Dice, bits: CodeBits) -> Unit:
    p = "rdi" if bits == 64 else "edi"
    return dice.one(
        (
            Unit(("mov edx, ss", "mov ss, edx")),
            Unit(("xor ebx, ebx", "div ebx")),
            Unit((f"lock xadd [{p} + 8], eax",)),
            Unit(("mov ecx, 8", "xor eax, eax", "cld", "rep stosb")),
            Unit((f"mov ebx, [{p} + 0x2000]",)),
            Unit((f"invlpg [{p}]",)),
            Unit(("wbinvd",)),
            Unit(("rdtsc", "xor eax, eax", "xor edx, edx")),
            Unit(("rdtscp", "xor eax, eax", "xor edx, edx")),
            Unit((f"sidt [{p} + 16]",)),
            Unit((f"sgdt [{p} + 32]",)),
            Unit(("str eax", "sldt ebx")),
            Unit(("mov ecx, 0x18", "lar eax, ecx", "lsl ebx, ecx")),
            Unit(("movd xmm0, eax", "pxor xmm0, xmm0", "movd ebx, xmm0")),
            Unit(("fninit", "fld1", f"fstp dword ptr [{p}]")),
            Unit(("out 0x80, al",)),
            Unit(("nop", "inc eax", "dec ebx")),
            Unit((f"prefetchnta [{p}]", "lfence")),
        )
    )


KINDS: tuple[tuple[int, Callable[[Dice, CodeBits], Unit]], ...] = (
    (24, _cpuid), (14, _rdmsr), (14, _wrmsr), (8, _xcr), (14, _control), (8, _debug), (6, _flags),
    (4, _undefined),
    (18, _plain),
)  # fmt: skip
