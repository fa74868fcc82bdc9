"""Expected against measured. Pure functions: the same answers give the same judgement, always."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial

from touchstone.machine.probe import GPRS, Operand, ProbeResult
from touchstone.suite import exceptions, show
from touchstone.suite.assemble import Code
from touchstone.suite.model import Case, FieldExpectation, Source, Value
from touchstone.suite.request import memory_range, settle

_ALL = 2**64 - 1
_RF = 1 << 16
_PER_ROW = 16  # bytes of memory
_REGISTERS = ("rflags", *GPRS, "cr2", "dr6")


Cells = tuple[str, str, str]


class Demand(Enum):
    """What kind of demand a row is about."""

    VALUE = "value"
    STAYS = "stays"
    """No more than that something stays as it was, or is as on the bare machine."""
    EXITS = "exits"
    """A number of exits."""


class Row:
    """One line of the table that a report shows.

    Its texts may be made when somebody reads them: of most registers of most checks nobody does.
    """

    __slots__ = ("_cells", "demand", "name", "ok", "source")

    def __init__(
        self,
        name: str,
        cells: Cells | Callable[[], Cells],
        ok: bool | None,
        source: Source | None = None,
        demand: Demand = Demand.VALUE,
    ) -> None:
        """``cells`` are the texts of ``given``, ``expected`` and ``measured``, or make them."""
        self.name = name
        self._cells = cells
        self.ok = ok
        """None: nothing was demanded."""
        self.source = source
        """Where the suite demands it."""
        self.demand = demand

    @property
    def cells(self) -> Cells:
        """``given``, ``expected`` and ``measured``."""
        if callable(self._cells):
            self._cells = self._cells()
        return self._cells

    @property
    def given(self) -> str:
        """The value at the start."""
        return self.cells[0]

    @property
    def expected(self) -> str:
        """Empty: nothing was demanded."""
        return self.cells[1]

    @property
    def measured(self) -> str:
        """The value at the end."""
        return self.cells[2]


@dataclass(frozen=True)
class Table:
    """All that was measured on one CPU, and what was demanded of it."""

    cpu: int
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Difference:
    """One demand that is not met."""

    cpu: int
    what: str
    expected: str
    measured: str
    source: Source | None
    demand: Demand = Demand.VALUE

    def __str__(self) -> str:
        return f"CPU {self.cpu}: {self.what}: expected {self.expected}, measured {self.measured}"


@dataclass(frozen=True)
class Judgement:
    """What came of one case."""

    differences: tuple[Difference, ...]
    tables: tuple[Table, ...]
    """One per CPU, in the order of the results."""

    @property
    def ok(self) -> bool:
        """Whether everything that was demanded holds."""
        return not self.differences


def judge(
    case: Case,
    code: Code,
    results: Sequence[ProbeResult],
    oracle: Sequence[ProbeResult] | None = None,
    exits: Mapping[int, Mapping[str, int]] | None = None,
    claims: Mapping[str, object] | None = None,
) -> Judgement:
    """Compare the results of one case, one per CPU, with what the case expects.

    ``oracle`` are the results of the same request in the native phase, ``exits`` how far each CPU's exit
    counters rose during the probe, ``claims`` what the subject claims. What is missing, but asked
    for, is a difference.
    ValueError if there is no result at all.
    """
    if not results:
        raise ValueError("a case without a result cannot be judged")
    natives = {result.cpu: result for result in oracle or ()}
    tables, differences = [], []
    for result in results:
        counted = None if exits is None else exits.get(result.cpu)
        judged = _Judge(case, code, result, results[0], natives.get(result.cpu), counted, claims or {})
        rows = tuple(judged.rows())
        tables.append(Table(result.cpu, rows))
        for row in rows:
            if row.ok is False:
                differences.append(
                    Difference(result.cpu, row.name, row.expected, row.measured, row.source, row.demand)
                )
    return Judgement(tuple(differences), tuple(tables))


class _Judge:
    """Judges one CPU."""

    def __init__(
        self,
        case: Case,
        code: Code,
        result: ProbeResult,
        first: ProbeResult,
        native: ProbeResult | None,
        exits: Mapping[str, int] | None,
        claims: Mapping[str, object],
    ) -> None:
        self.case = case
        self.expect = case.expect
        self.code = code
        self.result = result
        self.first = first
        self.native = native
        self.exits = exits
        self.claims = claims
        self.range = memory_range(case)
        self.fields: dict[str, list[FieldExpectation]] = {}
        for field in self.expect.fields:
            self.fields.setdefault(field.register, []).append(field)

    def rows(self) -> Iterator[Row]:
        yield self._end()
        yield self._rip()
        yield from self._named("rip")
        for name in _REGISTERS:
            if name not in ("cr2", "dr6") or self._shown(name):
                yield self._whole(name)
            if name in self.fields:
                yield from self._named(name)
        yield from self._memory()
        yield from self._named("memory")
        for name, (least, most) in self.expect.exits.items():
            yield self._exit(name, least, most)

    def _shown(self, name: str) -> bool:
        """CR2 and DR6 are there only after #PF and #DB."""
        natively = self.expect.native and self.native is not None and _read(self.native, name) is not None
        return _read(self.result, name) is not None or natively

    # Ends

    def _end(self) -> Row:
        expect, result = self.expect, self.result
        measured = show.end(result)
        if expect.native and expect.exception is None:
            if self.native is None:
                return self._unanswered("end", measured)
            same = (result.vector, result.error_code) == (self.native.vector, self.native.error_code)
            return Row("end", ("", f"{show.end(self.native)} (native)", measured), same, expect.source)
        if expect.vector is None:
            return Row("end", ("", "no exception", measured), result.vector is None, expect.source)
        wanted = exceptions.name(expect.vector, expect.error_code)
        ok = result.vector == expect.vector and expect.error_code in (None, result.error_code)
        return Row("end", ("", wanted, measured), ok, expect.source)

    def _rip(self) -> Row:
        expect, result = self.expect, self.result
        measured = show.register("rip", result.rip, result, code=self.code)
        wanted: int | None = None
        origin, demand = "", Demand.VALUE
        if expect.rip_at_end:
            wanted = result.start + len(self.code.data)
        elif expect.rip is not None:
            wanted = self._resolve(expect.rip)
        elif expect.native and "rip" not in self.fields:
            if self.native is None:
                return self._unanswered("rip", measured)
            wanted = (result.start + self.native.rip - self.native.start) & _ALL
            origin, demand = ", native", Demand.STAYS
        if wanted is None:
            return Row("rip", ("", "", measured), None)
        text = show.register("rip", wanted, result, code=self.code)
        return Row("rip", ("", text + origin, measured), result.rip == wanted, expect.source, demand)

    def _unanswered(self, name: str, measured: str) -> Row:
        expected = f"as native, but CPU {self.result.cpu} has no native answer"
        return Row(name, ("", expected, measured), False, self.expect.source)

    # Registers

    def _whole(self, name: str) -> Row:
        """A register as such: what is demanded of the bits that no field names."""
        expect, named = self.expect, self.fields.get(name, ())
        measured, given = _read(self.result, name), self._given(name)
        nothing = partial(self._cells, name, given, measured)
        if expect.native:
            if self.native is None:
                return Row(name, nothing, None)  # the end has said so already
            mask = _ALL & ~sum(map(_mask, named)) if named else _ALL
            wanted = _read(self.native, name)
            if mask == 0:
                return Row(name, nothing, None)
            cells = partial(self._cells, name, given, measured, wanted, "native")
            if wanted is None or measured is None:
                if named or expect.exception is not None:
                    return Row(name, nothing, None, expect.source)  # there is no native one to compare
                return Row(name, cells, wanted is measured, expect.source, Demand.STAYS)
            if mask == _ALL:
                return Row(name, cells, measured == wanted, expect.source, Demand.STAYS)
            cells = partial(cells, beside=f" beside {_bits(_ALL & ~mask)}")
            return Row(name, cells, measured & mask == wanted & mask, expect.source)
        if name in GPRS and expect.gprs_unchanged and not named:
            cells = partial(self._cells, name, given, measured, given, "unchanged")
            return Row(name, cells, measured == given, expect.source, Demand.STAYS)
        return Row(name, nothing, None)

    def _cells(
        self,
        name: str,
        given: int | None,
        measured: int | None,
        wanted: int | None = None,
        why: str = "",
        beside: str = "",
    ) -> Cells:
        expected = f"{self._show(name, wanted)}, {why}{beside}" if why else ""
        return "" if given is None else self._show(name, given), expected, self._show(name, measured)

    def _given(self, name: str) -> int | None:
        return self.case.given.rflags | 2 if name == "rflags" else self.result.given.get(name)

    def _show(self, name: str, value: int | None) -> str:
        return "not measured" if value is None else show.register(name, value, self.result, code=self.code)

    # Fields

    def _named(self, register: str) -> Iterator[Row]:
        for field in self.fields.get(register, ()):
            yield self._field(field)

    def _field(self, field: FieldExpectation) -> Row:
        measured = self._extract(field, self.result)
        given = self._start(field)
        wanted, text = self._wanted(field, given)
        ok = measured is not None and measured in wanted
        if field.kind == "not":
            ok = measured is not None and measured not in wanted
        if field.kind == "unchanged" and field.register == "rflags" and self.result.vector is not None:
            # What a fault pushes has RF set (SDM 3B 17.3.1.1, APM2 8.1.3): that is no change by the subject.
            rf = _RF >> field.low if field.low <= 16 < field.low + field.width else 0
            ok = measured is not None and measured & ~rf in {value & ~rf for value in wanted}
        start = "" if given is None else self._value(field, given)
        shown = "not measured" + _why(field.register) if measured is None else self._value(field, measured)
        stays = field.kind == "unchanged" or (field.kind == "native" and bool(wanted))
        demand = Demand.STAYS if stays else Demand.VALUE
        return Row(field.what, (start, text, shown), ok, field.source, demand)

    def _wanted(self, field: FieldExpectation, given: int | None) -> tuple[set[int], str]:
        """The values that fit (or, for ``not``, that do not), and what the report says of them."""
        if field.kind == "unchanged":
            return ({given} if given is not None else set()), "unchanged"
        if field.kind == "native":
            value = self._extract(field, self.native) if self.native else None
            if value is None:
                return set(), "as native, but there is no native answer"
            if field.register == "rip" and self.native:
                value = (self.result.start + value - self.native.start) & _ALL
            return {value}, f"{self._value(field, value)}, native"
        if field.kind == "same-on-every-cpu":
            value = self._extract(field, self.first)
            return ({value} if value is not None else set()), (
                f"as on CPU {self.first.cpu}"
                + (f": {self._value(field, value)}" if value is not None else "")
            )
        if field.kind == "claim":
            return self._claimed(field)
        values = [
            self._number(field, value) for value in ((field.value,) if field.value else field.values) if value
        ]
        words = " or ".join(self._value(field, value) for value in values)
        return set(values), f"not {words}" if field.kind == "not" else words

    def _claimed(self, field: FieldExpectation) -> tuple[set[int], str]:
        name = field.claim or ""
        claim = self.claims.get(name)
        offset = field.value.offset if field.value else 0
        if offset:
            name += f"+{offset}"
        if isinstance(claim, str):
            size = field.width if field.register == "memory" else field.width // 8
            value = int.from_bytes(
                claim.encode()[offset : offset + size], "little"
            )  # as CPUID gives its texts
        elif isinstance(claim, int):
            value = (int(claim) + offset) & _ones(field)
        else:
            why = (
                "which the subject does not make"
                if claim is None
                else f"but {claim!r} is no number and no text"
            )
            return set(), f"claim.{name}, {why}"
        return {value}, f"{self._value(field, value)}, claim.{name}"

    def _number(self, field: FieldExpectation, value: Value) -> int:
        if isinstance(value, Operand) and value.base == "number":
            return value.offset & _ones(field)
        return self._resolve(value) & _ones(field)

    def _resolve(self, value: Value) -> int:
        operand = settle(value, self.code)
        if operand.base == "start":
            return (self.result.start + operand.offset) & _ALL
        return operand.resolve(self.result.slot)

    def _extract(self, field: FieldExpectation, result: ProbeResult) -> int | None:
        if field.register == "memory":
            assert self.range is not None
            first = field.low - self.range[0]
            piece = result.memory[first : first + field.width]
            return int.from_bytes(piece, "little") if len(piece) == field.width else None
        value = _read(result, field.register)
        return None if value is None else value >> field.low & _ones(field)

    def _start(self, field: FieldExpectation) -> int | None:
        if field.register == "memory":
            return int.from_bytes(self._put(field.low, field.width), "little")
        value = self._given(field.register)
        return None if value is None else value >> field.low & _ones(field)

    def _put(self, low: int, width: int) -> bytes:
        """What a part of the scratch area held when the probe started."""
        area = bytearray(width)
        for offset, data in self.case.given.memory:
            for index, byte in enumerate(data, offset - low):
                if 0 <= index < width:
                    area[index] = byte
        return bytes(area)

    def _value(self, field: FieldExpectation, value: int) -> str:
        if field.register == "memory":
            return show.data(value.to_bytes(field.width, "little"))
        return show.register(field.register, value, self.result, field.width, self.code)

    # Memory and exits

    def _memory(self) -> Iterator[Row]:
        """The memory that was brought back, in rows; demanded natively where no field names it."""
        if self.range is None or not self.expect.native or self.native is None:
            return
        first, size = self.range
        named = {
            byte
            for field in self.fields.get("memory", ())
            for byte in range(field.low, field.low + field.width)
        }
        for low in range(first, first + size, _PER_ROW):
            width = min(_PER_ROW, first + size - low)
            start, stop = low - first, low - first + width
            measured, native = self.result.memory[start:stop], self.native.memory[start:stop]
            ok = all(
                index + low in named or measured[index : index + 1] == native[index : index + 1]
                for index in range(width)
            )
            given = show.data(self._put(low, width))
            cells = given, f"{show.data(native)}, native", show.data(measured) or "not measured"
            fits = ok and bool(measured)
            yield Row(f"memory[{low:#x}:{width}]", cells, fits, self.expect.source, Demand.STAYS)

    def _exit(self, name: str, least: int, most: int | None) -> Row:
        wanted = f"{least} or more" if most is None else str(least) if least == most else f"{least} to {most}"
        label = f"exits.{name}"
        if self.exits is None:
            cells = "", wanted, "not counted: no subject is loaded"
            return Row(label, cells, False, self.expect.source, Demand.EXITS)
        count = self.exits.get(name, 0)
        unknown = "" if name in self.exits else " (the subject has no counter of this name)"
        ok = count >= least and (most is None or count <= most)
        cells = "", wanted, f"{count}{unknown}"
        return Row(label, cells, ok, self.expect.source, Demand.EXITS)


def _read(result: ProbeResult, name: str) -> int | None:
    value = result.registers.get(name)
    if value is not None:
        return value
    if name == "rflags":
        return result.rflags
    if name == "rip":
        return result.rip
    if name == "cr2":
        return result.cr2
    return result.dr6 if name == "dr6" else None


def _ones(field: FieldExpectation) -> int:
    bits: int = 2 ** (8 * field.width if field.register == "memory" else field.width) - 1
    return bits


def _mask(field: FieldExpectation) -> int:
    return _ones(field) << field.low


def _bits(mask: int) -> str:
    low = (mask & -mask).bit_length() - 1
    high = mask.bit_length() - 1
    whole = mask == (2 ** (high - low + 1) - 1) << low
    return f"bits {high}:{low}" if whole and high > low else f"bit {low}" if whole else f"the bits {mask:#x}"


def _why(register: str) -> str:
    return {
        "cr2": " (only #PF brings it)",
        "dr6": " (only #DB brings it)",
        "memory": " (it was not brought back)",
    }.get(register, "")
