"""What a suite says, as values. Made by ``touchstone.suite.load``, read by everything else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from touchstone.machine.probe import Operand

Level = Literal["must", "should", "may"]
Phase = Literal["native", "loaded", "unloaded"]
PHASES: tuple[Phase, ...] = ("native", "loaded", "unloaded")
AREAS = ("broadcast", "exits", "teardown", "nested")


@dataclass(frozen=True)
class Source:
    """A place in a file, for messages: ``file:line:column``. Line and column count from 1."""

    path: Path
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}"


@dataclass(frozen=True)
class Citation:
    """The sentence that a check proves, by stable title; section numbers move between revisions."""

    doc: str
    """``intel-sdm``, ``amd-apm``, or another document's short name."""
    title: str
    """Title of the section or instruction page."""
    says: str
    """The sentence, quoted or closely paraphrased."""
    section: str | None = None


@dataclass(frozen=True)
class Requirement:
    """``cpus >= 2``, ``vendor == intel``, ``subject.nested == hidden``, ``cpuid.xsave`` joined by ``and``/``or``/``not``.

    ``touchstone.suite.requires`` parses and evaluates the text.
    """

    text: str
    source: Source


@dataclass(frozen=True)
class Body:
    """What a probe runs: lines of assembly (GNU as, Intel syntax) and where each of them stands."""

    lines: tuple[str, ...]
    sources: tuple[Source, ...]
    """One per line."""


@dataclass(frozen=True)
class Given:
    """State in which the probe starts."""

    random: bool = False
    """All GPRs that are not named start with random values (reproducible: seeded by the check's id)."""
    registers: Mapping[str, Operand] = field(default_factory=dict)
    rflags: int = 2
    bits: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """``cr0``, ``cr4``, ``efer``: (set, clear)."""
    debug: Mapping[str, Operand] = field(default_factory=dict)
    memory: tuple[tuple[int, bytes], ...] = ()
    at: int = 0
    keep: tuple[int, ...] = ()


@dataclass(frozen=True)
class FieldExpectation:
    """What one register, bit-field or byte range must be at the end.

    ``what`` is a name (``rax``, ``eax``, ``rflags.cf``, ``rax[31:0]``, ``dr6.bs``, ``cr2``, ``memory[0x10:8]``),
    ``register``/``low``/``width`` its place: bits ``low`` to ``low + width - 1`` of the register; for memory,
    ``low`` and ``width`` are bytes of the scratch area.
    """

    what: str
    register: str
    low: int
    width: int
    kind: Literal["value", "unchanged", "native", "in", "same-on-every-cpu", "not"]
    value: Operand | None = None
    values: tuple[Operand, ...] = ()
    """For ``in`` (one of them) and ``not`` (none of them)."""
    source: Source | None = None


@dataclass(frozen=True)
class Expectation:
    """Everything that must hold when the probe has ended."""

    native: bool = False
    """``expect: native``: end, exception, RIP, RFLAGS, GPRs, CR2 and memory are what the same probe gave in the native phase."""
    exception: str | None = None
    """``none``, ``#UD``, ``#GP(0)``: mnemonic, with error code if it matters; None: not stated, which means none unless ``native``."""
    vector: int | None = None
    """Vector of ``exception``."""
    error_code: int | None = None
    rip: Operand | None = None
    """Address at the end, base ``start``: offset from the first byte. ``end`` in the suite is start + code size."""
    rip_at_end: bool = False
    gprs_unchanged: bool = False
    """All GPRs that no other field names are as given."""
    fields: tuple[FieldExpectation, ...] = ()
    exits: Mapping[str, tuple[int, int | None]] = field(default_factory=dict)
    """Exit counter to (at least, at most) during the probe on its CPU; at most None: no limit."""
    source: Source | None = None


@dataclass(frozen=True)
class Case:
    """One run of a check's probe: one combination of what ``each`` lists."""

    label: str
    """``cpl=3, on=every-cpu``; empty when there is only one."""
    cpl: Literal[0, 3]
    on: Literal["first", "last", "every-cpu", "together"]
    body: Body
    given: Given
    expect: Expectation
    requires: tuple[Requirement, ...] = ()
    """Of this case alone (a body for one vendor only requires that vendor)."""


@dataclass(frozen=True)
class Check:
    """One entry of a suite; one pytest item per target."""

    id: str
    title: str
    area: str
    level: Level
    cite: tuple[Citation, ...]
    phase: Phase
    requires: tuple[Requirement, ...]
    cases: tuple[Case, ...]
    timeout: float
    """Seconds per probe, before the target's own factor."""
    claims: bool
    """False for a check that demands transparency only and so also holds on the bare machine."""
    tags: tuple[str, ...]
    proves: tuple[str, ...]
    """Ids in ``conformance/requirements.yaml``."""
    text: str
    """The entry's own lines, as they stand in the file."""
    source: Source
    end_line: int


@dataclass(frozen=True)
class Suite:
    """One YAML file."""

    title: str
    area: str
    path: Path
    checks: tuple[Check, ...]
