"""Random probes: short sequences of instructions in states near the edges (the key ``random``).

What comes out is compared with the bare machine's answer to the same probe. Equal seeds make equal probes, in
all versions of Python.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
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
    GivenPage,
    LabelAddress,
    Requirement,
    Source,
    Value,
)
from touchstone.suite.positions import Document
from touchstone.suite.random_surroundings import ONLY_WIDE, SURROUNDINGS
from touchstone.suite.random_units import FLAGS, KINDS, MASK64, TF, Dice, Unit, value_at_an_edge

MOST = 256
"""Probes that one check may have."""
DB = 1
T = TypeVar("T")
PAGE = 0x1000
_WRITABLE = 2
"""Of a page's entry (SDM 3A 4.5, APM2 5.4)."""


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
    at: int = 0
    """Offset in the code area: a little before its second page, or 0."""

    @property
    def lines(self) -> tuple[str, ...]:
        """The body."""
        return tuple(f"unit_{number}: {line}" if first else line for number, first, line in self._lines())

    def _lines(self) -> Iterator[tuple[int, bool, str]]:
        for number, unit in enumerate(self.units):
            for index, line in enumerate(unit.lines):
                # With ESI and EDI: the first 64 KiB are nobody's, and keep what other probes have left there.
                narrow = self.bits == 16 and line.startswith("rep")
                yield number, index == 0, f".byte 0x67; {line}" if narrow else line

    @property
    def steps(self) -> bool:
        """Whether #DB may come and the probe goes on: it is noted then."""
        changed = ("popf", "iret")
        return bool(self.rflags & TF or self.debug) or any(
            one in line for line in self.lines for one in changed
        )

    @property
    def size(self) -> int:
        """How many things it has that can be left out."""
        place = self.at_page_end + bool(self.at) + {64: 0, 32: 1, 16: 2}[self.bits]
        flags = self.rflags.bit_count() + bool(self.cpl) + place
        return len(self.units) + len(self.registers) + len(self.cr) + len(self.debug) + flags

    @property
    def keep(self) -> tuple[int, ...]:
        """MSRs that it writes."""
        return tuple(dict.fromkeys(msr for unit in self.units for msr in unit.keep))

    @property
    def writes_code(self) -> bool:
        """Whether it writes into itself: the code area is read-only else."""
        return any(unit.writes_code for unit in self.units)


# --- making


_OSXSAVE = ("cr4", "osxsave", 1 << 18, 1)
_GIVEN_BITS = (
    _OSXSAVE, _OSXSAVE, ("cr4", "tsd", 1 << 2, 1),
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
    units = [_pick(dice, KINDS)(dice, bits) for _ in range(1 + dice.below(5))]
    rflags = 2
    for _ in range(dice.below(4)):
        rflags |= dice.one(FLAGS)
    if dice.chance(20):
        rflags |= TF
    if dice.chance(10):
        rflags |= dice.below(4) << 12  # IOPL
    names, width = (_RANDOM_64, MASK64) if bits == 64 else (_RANDOM_32, 0xFFFFFFFF)
    registers: list[tuple[str, Value]] = [
        (name, Operand(offset=value_at_an_edge(dice) & width)) for name in names
    ]
    registers.append(("rdi", Operand("scratch")))
    cr = tuple(dict.fromkeys(dice.one(_GIVEN_BITS) for _ in range(dice.below(3))))
    debug: tuple[tuple[str, Value], ...] = ()
    if dice.chance(12):
        target = dice.below(len(units))
        debug = (("dr0", LabelAddress(f"unit_{target}")), ("dr7", Operand(offset=0x402)))
    elif dice.chance(6) and not rflags & TF:  # QEMU 7.2 hangs at a data breakpoint in single-stepped code
        debug = (("dr1", Operand("scratch", 8)), ("dr7", Operand(offset=0x00D00408)))
    at_page_end = dice.chance(10)
    probe = RandomProbe(tuple(units), cpl, bits, rflags, tuple(registers), cr, debug, at_page_end)
    return _with_surroundings(dice, probe)


def _pick(dice: Dice, kinds: Sequence[tuple[int, T]]) -> T:
    roll = dice.below(sum(weight for weight, _ in kinds))
    for weight, made in kinds:  # noqa: B007 - the last one is returned
        roll -= weight
        if roll < 0:
            break
    return made


def _with_surroundings(dice: Dice, probe: RandomProbe) -> RandomProbe:
    """The same probe, often with exits beside what they can disturb, in 16-bit code, or across two pages."""
    if probe.bits == 32 and dice.chance(35):
        probe = replace(probe, bits=16)
    kinds = [one for one in SURROUNDINGS if probe.bits != 16 or one[1] not in ONLY_WIDE]
    if any(name == "dr1" for name, _ in probe.debug):  # as above: nothing here may set TF
        kinds = [one for one in kinds if one[1] not in ONLY_WIDE]
    units = list(probe.units)
    for _ in range(dice.one((0, 1, 1, 2))):
        units.insert(dice.below(len(units) + 1), _pick(dice, kinds)(dice, probe.bits))
    lines = [line for unit in units for line in unit.lines]
    moves = any(line.startswith("mov dr") and "dr6" not in line for line in lines)
    if moves or probe.bits == 16:  # QEMU 7.2 may die of these breakpoints
        probe = replace(probe, debug=())
    # QEMU 7.2 takes an unaligned store beside a data breakpoint for a hit, and reports that with each #DB of
    # TF until the next VMRUN or #VMEXIT.
    if any(name == "dr1" for name, _ in probe.debug) and any("popf" in line for line in lines):
        probe = replace(probe, debug=())
    if any("xsetbv" in line for line in lines) and dice.chance(70):
        probe = replace(probe, cr=tuple(dict.fromkeys((*probe.cr, _OSXSAVE))))
    at = PAGE - 1 - dice.below(48) if not probe.at_page_end and dice.chance(15) else 0
    return replace(probe, units=tuple(units), at=at)


# --- as a case, and as text


_EXITS_FIRST = (("xsetbv", "xsetbv"), ("mov dr", "dr7-write"), (", dr", "dr0-read"))
"""What some emulated processors let exit at CPL 3, and what the self-test calls it."""


def rests_on(probe: RandomProbe) -> Sequence[str]:
    """The facts of the machine without which a subject is not to blame for what comes of a probe."""
    text = " ".join(probe.lines)
    return [f"machine.faults.privilege.{name}" for word, name in _EXITS_FIRST if probe.cpl and word in text]


_CLAIMED = {
    "subject.control-closed": frozenset({"vmcall", "vmmcall"}),
    "subject.nested == hidden": frozenset(
        {"vmrun", "vmload", "vmsave", "clgi", "stgi", "invlpga", "vmxoff", "vmresume"}
    ),
}
"""Claims of a subject under which these instructions raise #UD, as on the bare machine."""


def claims_behind(probe: RandomProbe) -> Sequence[str]:
    """What a subject has to claim if a probe's end is to be that of the bare machine."""
    words = set(re.findall(r"\w+", " ".join(probe.lines)))
    return [claim for claim, instructions in _CLAIMED.items() if words & instructions]


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
        at=probe.at,
        pages=(GivenPage(Operand("start"), _WRITABLE, 0),) if probe.writes_code else (),
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
    needs = ("os == bare", *rests_on(probe), *claims_behind(probe))
    required = tuple(Requirement(text, source) for text in needs)
    return Case(label, probe.cpl, "first", body, start, end, required)


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
    if probe.at:
        given.append(f"at: {probe.at:#x}")
    if probe.writes_code:
        given.append("pages: {start: writable}")
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
    if probe.at:
        yield replace(probe, at=0)
    if probe.bits == 16:
        yield replace(probe, bits=32)
    if probe.bits == 32 and not any(_is_narrow(line) for line in probe.lines):
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


def _is_narrow(line: str) -> bool:
    """Whether a line is no 64-bit code."""
    return any(word in line for word in ("eax, cr", "eax, dr", "push e", "push cs", "push ss", "call"))


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
