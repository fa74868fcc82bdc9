"""A suite as values. ``touchstone.suite.load`` makes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from touchstone.machine.probe import CodeBits, HandlerKind, Mode, Operand
from touchstone.words import Level, Phase

CODE_BITS: tuple[CodeBits, ...] = (64, 32, 16)
Transition = Literal["load", "unload"]
"""What changes a target's phase."""


@dataclass(frozen=True)
class Source:
    """A position in a file, for messages: ``file:line:column``. Line and column count from 1."""

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
    """``cpus >= 2``, ``subject.nested == hidden``, ``cpuid.xsave``, joined by ``and``, ``or`` and ``not``.

    ``touchstone.suite.requires`` parses and evaluates the text.
    """

    text: str
    source: Source


@dataclass(frozen=True)
class Body:
    """What a probe runs: lines of assembly (GNU as, Intel syntax) and their positions."""

    lines: tuple[str, ...]
    sources: tuple[Source, ...]
    """One per line."""
    code_bits: CodeBits = 64
    """64: 64-bit mode. 32 and 16: code segments of compatibility mode, or of another mode of the case."""

    def __hash__(self) -> int:
        """Of what tells bodies apart, with the file of the first line: suites may be alike."""
        first = self.sources[0] if self.sources else None
        return hash((self.lines, self.code_bits, first and (first.path, first.line, first.column)))


@dataclass(frozen=True)
class LabelAddress:
    """An address relative to ``end`` or to a label of the body; known once the body is assembled."""

    label: str
    """``end`` (behind the last byte), or a label of the body."""
    offset: int = 0

    def __str__(self) -> str:
        return f"{self.label}{self.offset:+#x}" if self.offset else self.label


Value = Operand | LabelAddress
"""A number or an address. ``touchstone.suite.request.resolve_labels`` makes an Operand of it."""


@dataclass(frozen=True)
class GivenPage:
    """One of ``pages``."""

    address: Value
    set: int
    """Bits of the page's entry to set and to clear."""
    clear: int
    alias: Value | None = None
    """``same-as``: the page maps the memory at this address."""


@dataclass(frozen=True)
class Given:
    """State in which the probe starts."""

    random: bool = False
    """All GPRs that are not named start with random values (reproducible: seeded by the check's id)."""
    registers: Mapping[str, Value] = field(default_factory=dict)
    rflags: int = 2
    bits: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """``cr0``, ``cr4``, ``efer``: (set, clear)."""
    debug: Mapping[str, Value] = field(default_factory=dict)
    """``dr0`` to ``dr3``, ``dr6``, ``dr7``."""
    memory: tuple[tuple[int, bytes], ...] = ()
    """(offset in the scratch area, bytes)."""
    at: int = 0
    """Offset of the body in the code area."""
    at_page_end: bool = False
    """The body's last byte is the last one of the code area's first page; ``at`` does not count."""
    linear: tuple[Value, int] | None = None
    """A place in the body, and the linear address at which it lies; ``at`` does not count."""
    base: int | None = None
    """``cs-base``."""
    pages: tuple[GivenPage, ...] = ()
    keep: tuple[int, ...] = ()
    """Numbers of MSRs to save before and to restore after the probe."""
    msrs: Mapping[int, Value | tuple[int, int]] = field(default_factory=dict)
    """MSR to its value at the start, or to (set, clear); saved and restored too."""
    handlers: Mapping[int, Value | HandlerKind] = field(default_factory=dict)
    """Vector to the address in the body that its gate leads to while the probe runs, or to another kind."""


@dataclass(frozen=True)
class FieldExpectation:
    """What one register, bit-field or byte range must be at the end.

    ``what`` is a name (``rax``, ``eax``, ``rflags.cf``, ``rax[31:0]``, ``cr2``, ``memory[0x10:8]``),
    of bits ``low`` to ``low + width - 1`` of ``register``; for memory, ``low`` and ``width`` are bytes of the
    scratch area.
    """

    what: str
    register: str
    low: int
    width: int
    kind: Literal["value", "unchanged", "native", "in", "same-on-every-cpu", "not", "claim", "any"]
    value: Value | None = None
    values: tuple[Value, ...] = ()
    """For ``in`` (one of them) and ``not`` (none of them).

    ``any`` takes the field out of ``native`` and of ``gprs: unchanged``, and demands nothing.
    """
    claim: str | None = None
    """For ``claim``: the name of the subject's claim, without ``claim.``.

    ``value`` is what is added to it if it is a number, or the first of its bytes if it is a text.
    """
    source: Source | None = None


@dataclass(frozen=True)
class ExpectedEnd:
    """One way in which a probe may end."""

    vector: int | None = None
    """Vector of the exception that ends it; None: no exception."""
    error_code: int | None = None
    """None: any, or the exception has none."""


@dataclass(frozen=True)
class ExpectedEvent:
    """An event that must have arrived, in its place in the list."""

    vector: int
    rip: Value | None = None
    """Where; None: anywhere."""
    fields: tuple[FieldExpectation, ...] = ()
    """Of DR6, after #DB."""


@dataclass(frozen=True)
class ExpectedEvents:
    """What must have arrived at the handlers that note events."""

    native: bool = False
    """What arrived in the native phase: the same events, at the same places, in the same order."""
    listed: tuple[ExpectedEvent, ...] | None = None
    counts: Mapping[int, tuple[int, int | None] | None] = field(default_factory=dict)
    """Vector to (at least, at most) of its events; None: as many as in the native phase."""
    source: Source | None = None


@dataclass(frozen=True)
class Expectation:
    """Everything that must hold when the probe has ended."""

    native: bool = False
    """``expect: native``: everything that is not named is what the same probe gave in the native phase.

    That is: end, exception, error code, RIP, RFLAGS, GPRs, CR2, DR6 and memory.
    """
    ends: tuple[ExpectedEnd, ...] = ()
    """The ends that are right. Empty: none is named; then it is no exception, unless ``native``."""
    native_end: bool = False
    """``exception: native``: exception and error code are those of the native phase."""
    rip: Value | None = None
    """Address at the end, if stated: ``start+2``, a label of the body. ``rip_at_end`` says ``end``."""
    rip_at_end: bool = False
    """``rip: end``, or no exception was expected: start + code size."""
    gprs_unchanged: bool = False
    """All GPRs that no other field names are as given."""
    fields: tuple[FieldExpectation, ...] = ()
    events: ExpectedEvents | None = None
    exits: Mapping[str, tuple[int, int | None]] = field(default_factory=dict)
    """Exit counter to (at least, at most) during the probe on its CPU; at most None: no limit."""
    source: Source | None = None


@dataclass(frozen=True)
class SweepDifference:
    """Items of a sweep that may differ from the bare machine."""

    where: Mapping[str, tuple[range, ...]]
    """Input to its values; an input that is not named may have any."""
    masks: Mapping[str, int] | None
    """Result to the bits that may differ; None: everything may, the exception too."""
    refused: bool = False
    """They may raise #GP though the bare machine does not, for the manual says that they do."""


@dataclass(frozen=True)
class SweptItems:
    """The items of a sweep that one probe runs."""

    inputs: tuple[str, ...]
    """Registers, of which the last one changes fastest."""
    rows: tuple[tuple[tuple[int, ...], range], ...]
    """Values of all inputs but the last, and a range of the last one's."""
    results: tuple[str, ...]
    """Registers that are compared."""
    differs: tuple[SweepDifference, ...]

    @property
    def count(self) -> int:
        """How many there are."""
        return sum(len(span) for _, span in self.rows)

    def __iter__(self) -> Iterator[tuple[int, ...]]:
        """The values of the inputs, item by item."""
        for outer, span in self.rows:
            for value in span:
                yield (*outer, value)

    @property
    def title(self) -> str:
        """``ecx=0x0 to 0x1ff``; of several inputs ``eax=0x0, ecx=0x0 to eax=0x1f, ecx=0x3``."""
        first, last = (self.rows[0][0], self.rows[0][1][0]), (self.rows[-1][0], self.rows[-1][1][-1])
        start, end = (
            ", ".join(f"{name}={value:#x}" for name, value in zip(self.inputs, (*outer, value), strict=True))
            for outer, value in (first, last)
        )
        if start == end:
            return start
        return f"{start} to {end if len(self.inputs) > 1 else f'{last[1]:#x}'}"

    def may_differ(self, values: tuple[int, ...]) -> Mapping[str, int] | None:
        """Result to its bits that may differ for an item; None: all of it may."""
        masks: dict[str, int] = {}
        for one in self._about(values):
            if one.masks is None:
                return None
            for name, mask in one.masks.items():
                masks[name] = masks.get(name, 0) | mask
        return masks

    def may_be_refused(self, values: tuple[int, ...]) -> bool:
        """Whether an item may raise #GP that the bare machine takes."""
        return any(one.refused for one in self._about(values))

    def _about(self, values: tuple[int, ...]) -> Iterator[SweepDifference]:
        of = dict(zip(self.inputs, values, strict=True))
        for one in self.differs:
            if all(any(of[name] in span for span in spans) for name, spans in one.where.items()):
                yield one


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
    mode: Mode = "long"
    sweep: SweptItems | None = None
    """The body runs for each of these items; ``expect`` says nothing but native."""
    then: tuple[Transition | Case, ...] = ()
    """What comes after the body. Nothing that the bodies change is restored before the last one has ended."""


@dataclass(frozen=True)
class Prepared:
    """The state in which CPUs are when the subject is loaded or unloaded, and the body runs."""

    before: Transition
    case: Case
    """Its probe leaves that state."""
    key: str
    """The same for the same state: its checks share one loading or unloading."""


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
    """Ids of requirements, such as those in ``conformance/requirements``."""
    text: str
    """The entry's own lines, as they stand in the file."""
    source: Source
    end_line: int
    prepared: Prepared | None = None

    @property
    def probes(self) -> Iterator[Case]:
        """All that it runs: the bodies of its cases, of their steps, and the one that prepares the state."""
        if self.prepared is not None:
            yield self.prepared.case
        for case in self.cases:
            yield case
            yield from (step for step in case.then if isinstance(step, Case))


@dataclass(frozen=True)
class Suite:
    """One YAML file."""

    title: str
    area: str
    path: Path
    checks: tuple[Check, ...]
