"""Random probes: short sequences of instructions in states near the edges (the key ``random``).

What comes out is compared with the bare machine's answer to the same probe. The instructions are those that
hypervisors intercept, or whose result depends on what they keep; of CPUID and of MSRs, only what
a hypervisor has no reason to show otherwise. INT n is not among them: where it faults, Bochs 2.7 leaves an
earlier event in EXITINTINFO. Equal seeds make equal probes, in all versions of Python.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from yaml.nodes import Node

from touchstone.machine.probe import CodeBits, Operand
from touchstone.suite.model import (
    Body,
    Case,
    Expectation,
    ExpectedEvents,
    FieldExpectation,
    Given,
    LabelAddress,
    Requirement,
    Source,
    Value,
)
from touchstone.suite.positions import Document

MOST = 256
"""Probes that one check may have."""
DB = 1
_TF = 1 << 8
_MASK64 = 2**64 - 1
T = TypeVar("T")


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


@dataclass(frozen=True)
class RandomProbe:
    """One probe, as values that can be taken away one by one."""

    units: tuple[Unit, ...]
    cpl: Literal[0, 3] = 0
    bits: CodeBits = 64
    rflags: int = 2
    registers: tuple[tuple[str, Value], ...] = ()
    cr: tuple[tuple[str, str, int, int], ...] = ()
    """(register, name of a bit, its mask, 1 to set it or 0 to clear it)"""
    debug: tuple[tuple[str, Value], ...] = ()
    at_page_end: bool = False

    @property
    def lines(self) -> tuple[str, ...]:
        """The body."""
        return tuple(f"unit_{number}: {line}" if first else line for number, first, line in self._lines())

    def _lines(self) -> Iterator[tuple[int, bool, str]]:
        for number, unit in enumerate(self.units):
            for index, line in enumerate(unit.lines):
                yield number, index == 0, line

    @property
    def steps(self) -> bool:
        """Whether #DB may come and the probe goes on: it is noted then."""
        return bool(self.rflags & _TF or self.debug) or any("popf" in line for line in self.lines)

    @property
    def size(self) -> int:
        """How many things it has that can be left out."""
        flags = self.rflags.bit_count() + (self.bits == 32) + bool(self.cpl) + self.at_page_end
        return len(self.units) + len(self.registers) + len(self.cr) + len(self.debug) + flags

    @property
    def keep(self) -> tuple[int, ...]:
        """MSRs that it writes."""
        return tuple(dict.fromkeys(msr for unit in self.units for msr in unit.keep))


# --- making


_VALUES = (
    0, 1, 2, 3, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF,
    1 << 32, (1 << 47) - 1,
    1 << 47, (1 << 63) - 1, 1 << 63, _MASK64 - (1 << 47), _MASK64 - (1 << 47) + 1, _MASK64,
)  # fmt: skip
"""Numbers at which a width or the canonical range ends."""
_FLAGS = (0x1, 0x4, 0x10, 0x40, 0x80, 0x400, 0x800, 0x4000, 0x40000, 0x200000)
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


def _value(dice: Dice) -> int:
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
    msr, value = dice.one(_WRITTEN_MSRS), _value(dice)
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
    value = sum(dice.one(_FLAGS) for _ in range(2)) & 0x2442D5 | 2 | (_TF if dice.chance(25) else 0)
    pop = "pop rbx" if bits == 64 else "pop ebx"
    return Unit((f"push {value:#x}", f"popf{wide}", f"pushf{wide}", pop))


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


_KINDS: tuple[tuple[int, Callable[[Dice, CodeBits], Unit]], ...] = (
    (24, _cpuid), (14, _rdmsr), (14, _wrmsr), (8, _xcr), (14, _control), (8, _debug), (6, _flags),
    (4, _undefined),
    (18, _plain),
)  # fmt: skip
_GIVEN_BITS = (
    ("cr4", "osxsave", 1 << 18, 1), ("cr4", "osxsave", 1 << 18, 1), ("cr4", "tsd", 1 << 2, 1),
    ("cr4", "de", 1 << 3, 1),
    ("cr4", "pce", 1 << 8, 1), ("cr0", "ts", 1 << 3, 1), ("cr0", "am", 1 << 18, 1), ("cr0", "wp", 1 << 16, 0),
    ("cr0", "em", 1 << 2, 1), ("efer", "sce", 1, 0),
)  # fmt: skip
_RANDOM_64 = ("rax", "rbx", "rcx", "rdx", "rbp", "rsi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15")
_RANDOM_32 = ("rax", "rbx", "rcx", "rdx", "rbp", "rsi")


def random_probe(seed: int, number: int) -> RandomProbe:
    """The probe of a seed with this number."""
    dice = Dice(seed << 32 | number)
    bits: CodeBits = 32 if dice.chance(20) else 64
    cpl: Literal[0, 3] = 3 if dice.chance(25) else 0
    total = sum(weight for weight, _ in _KINDS)
    units = []
    for _ in range(1 + dice.below(5)):
        roll = dice.below(total)
        for weight, make in _KINDS:
            roll -= weight
            if roll < 0:
                units.append(make(dice, bits))
                break
    rflags = 2
    for _ in range(dice.below(4)):
        rflags |= dice.one(_FLAGS)
    if dice.chance(20):
        rflags |= _TF
    if dice.chance(10):
        rflags |= dice.below(4) << 12  # IOPL
    names, width = (_RANDOM_64, _MASK64) if bits == 64 else (_RANDOM_32, 0xFFFFFFFF)
    registers: list[tuple[str, Value]] = [(name, Operand(offset=_value(dice) & width)) for name in names]
    registers.append(("rdi", Operand("scratch")))
    cr = tuple(dict.fromkeys(dice.one(_GIVEN_BITS) for _ in range(dice.below(3))))
    debug: tuple[tuple[str, Value], ...] = ()
    if dice.chance(12):
        target = dice.below(len(units))
        debug = (("dr0", LabelAddress(f"unit_{target}")), ("dr7", Operand(offset=0x402)))
    elif dice.chance(6) and not rflags & _TF:  # QEMU 7.2 hangs at a data breakpoint in single-stepped code
        debug = (("dr1", Operand("scratch", 8)), ("dr7", Operand(offset=0x00D00408)))
    return RandomProbe(
        tuple(units), cpl, bits, rflags, tuple(registers), cr, debug, at_page_end=dice.chance(10)
    )


# --- as a case, and as text


def as_case(probe: RandomProbe, label: str, source: Source) -> Case:
    """The case that runs a probe and compares it with the bare machine's answer."""
    bits: dict[str, tuple[int, int]] = {}
    for register, _, mask, on in probe.cr:
        ones, zeros = bits.get(register, (0, 0))
        bits[register] = (ones | mask, zeros) if on else (ones, zeros | mask)
    start = Given(
        registers=dict(probe.registers),
        rflags=probe.rflags,
        bits=bits,
        debug=dict(probe.debug),
        at_page_end=probe.at_page_end,
        keep=probe.keep,
        handlers={DB: "return"} if probe.steps else {},
    )
    # RF in what a fault pushes differs between emulated faults and injected ones.
    resume = FieldExpectation("rflags.rf", "rflags", 16, 1, "any", source=source)
    end = Expectation(
        native=True,
        native_end=True,
        fields=(resume,),
        events=ExpectedEvents(native=True, source=source) if probe.steps else None,
        source=source,
    )
    lines = probe.lines
    body = Body(lines, (source,) * len(lines), probe.bits)
    needs = (Requirement("os == bare", source),)
    return Case(label, probe.cpl, "first", body, start, end, needs)


def as_yaml(probe: RandomProbe, identity: str, title: str) -> str:
    """The probe as a check that can be pasted into a suite."""
    given = [f"{name}: {_operand(value)}" for name, value in probe.registers]
    if probe.rflags != 2:
        given.append(f"rflags: {probe.rflags:#x}")
    for register in dict.fromkeys(one[0] for one in probe.cr):
        named = ", ".join(f"{name}: {on}" for other, name, _, on in probe.cr if other == register)
        given.append(f"{register}: {{{named}}}")
    given += [f"{name}: {_operand(value)}" for name, value in probe.debug]
    if probe.at_page_end:
        given.append("at: page-end")
    if probe.keep:
        given.append(f"keep: [{', '.join(map(hex, probe.keep))}]")
    lines = [f"- id: {identity}", f"  title: {title}", "  requires: os == bare"]
    lines.append(f"  each: {{cpl: [{probe.cpl}], bits: [{probe.bits}]}}")
    if given:
        lines += ["  given:", *(f"    {one}" for one in given)]
    if probe.steps:
        lines.append('  handle: {"#DB": return}')
    lines += ["  run: |", *(f"    {line}" for line in probe.lines)]
    events = ", events: native" if probe.steps else ""
    lines.append(f"  expect: {{native: true, exception: native, rflags.rf: any{events}}}")
    return "\n".join(lines) + "\n"


def _operand(value: Value) -> str:
    if isinstance(value, LabelAddress):
        return str(value)
    if value.base == "number":
        return f"{value.offset:#x}"
    return f"{value.base}{value.offset:+#x}" if value.offset else value.base


def smaller(probe: RandomProbe) -> Iterator[RandomProbe]:
    """Probes that have less: a unit, a register's value, a bit, a flag; or half of the registers' values."""
    half = len(probe.registers) // 2
    if half > 1:
        yield replace(probe, registers=probe.registers[:half])
        yield replace(probe, registers=probe.registers[half:])
    for number in range(len(probe.units)):
        if len(probe.units) > 1 and not any(isinstance(value, LabelAddress) for _, value in probe.debug):
            yield replace(probe, units=probe.units[:number] + probe.units[number + 1 :])
    if probe.debug:
        yield replace(probe, debug=())
    if probe.at_page_end:
        yield replace(probe, at_page_end=False)
    if probe.bits == 32 and not any("eax, cr" in line or "eax, dr" in line for line in probe.lines):
        yield replace(probe, bits=64)
    if probe.cpl:
        yield replace(probe, cpl=0)
    for number in range(len(probe.cr)):
        yield replace(probe, cr=probe.cr[:number] + probe.cr[number + 1 :])
    for bit in range(22):
        if bit != 1 and probe.rflags >> bit & 1:
            yield replace(probe, rflags=probe.rflags & ~(1 << bit))
    for number in range(len(probe.registers)):
        yield replace(probe, registers=probe.registers[:number] + probe.registers[number + 1 :])


# --- the key


@dataclass(frozen=True)
class RandomProbes:
    """What the key ``random`` says."""

    seed: int
    probes: int
    source: Source

    def cases(self) -> tuple[Case, ...]:
        """Its cases, labelled ``probe=0``, ``probe=1``, ..."""
        return tuple(
            as_case(random_probe(self.seed, number), f"probe={number}", self.source)
            for number in range(self.probes)
        )


def random_probes(doc: Document, node: Node) -> RandomProbes | None:
    """Read ``random: {seed: 1, probes: 200}``; None after a problem."""
    keys = doc.take(node, "random", ("seed", "probes"))
    if set(keys) != {"seed", "probes"}:
        doc.wrong(node, "random has a seed and a number of probes: {seed: 1, probes: 200}")
        return None
    seed = doc.number(keys["seed"][1], "seed", 0, 2**32 - 1)
    probes = doc.number(keys["probes"][1], "probes", 1, MOST)
    if seed is None or probes is None:
        return None
    return RandomProbes(seed, probes, doc.at(node))
