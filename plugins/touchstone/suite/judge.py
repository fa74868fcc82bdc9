"""Compares what was measured with what a case expects. Pure functions: equal results, equal judgements."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from touchstone.machine.probe import GPRS, ProbeResult
from touchstone.suite import events, exceptions, measured, more_registers, show, sweep
from touchstone.suite.code import Code
from touchstone.suite.judge_field import FieldJudge, address, register_at_start, scratch_at_start
from touchstone.suite.judgement import Cells, Demand, Difference, Judgement, Row, Table
from touchstone.suite.measured import MASK64
from touchstone.suite.model import Case, ExpectedEnd, FieldExpectation
from touchstone.suite.request import memory_range

_PER_ROW = 16  # bytes of memory
_REGISTERS = ("rflags", *GPRS, "cr2", "dr6", "dr7")


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
    judges = []
    for result in results:
        counted = None if exits is None else exits.get(result.cpu)
        judges.append(_Judge(case, code, result, results[0], natives.get(result.cpu), counted, claims or {}))
    differences = tuple(
        Difference(one.result.cpu, row.name, row.expected, row.measured, row.source, row.demand)
        for one in judges
        for row in one.rows(whole=False)
        if row.ok is False
    )
    return Judgement(
        differences, lambda: tuple(Table(one.result.cpu, tuple(one.rows(whole=True))) for one in judges)
    )


def _field_judge(
    case: Case,
    code: Code,
    first: ProbeResult,
    native: ProbeResult | None,
    claims: Mapping[str, object],
    result: ProbeResult,
) -> FieldJudge:
    return FieldJudge(case, code, result, first, native, claims)


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
        self.native = native
        self.exits = exits
        self.judge_of = partial(_field_judge, case, code, first, native, claims)
        self.field_judge = self.judge_of(result)
        self.fields: dict[str, list[FieldExpectation]] = {}
        for field in self.expect.fields:
            self.fields.setdefault(field.register, []).append(field)

    def rows(self, *, whole: bool) -> Iterator[Row]:
        """The rows of the table. Not ``whole``: without those of registers that are all known to hold."""
        left_out = () if whole or self._some_register_differs() else GPRS
        yield self._end()
        yield self._rip()
        if self.case.sweep:
            yield from sweep.rows(self.case.sweep, self.result, self.native, self.expect.source)
            return
        yield from self._fields("rip")
        for name in _REGISTERS:
            if name not in left_out and (name not in ("cr2", "dr6", "dr7") or self._shown(name)):
                yield self._whole(name)
            if name in self.fields:
                yield from self._fields(name)
        for name in self.fields:
            if name.startswith(measured.MSR) or more_registers.is_one(name):
                yield from self._fields(name)
        if "return" in self.case.given.handlers.values():
            yield from events.rows(self.expect, self.code, self.result, self.native, self.judge_of)
        yield from self._memory()
        yield from self._fields("memory")
        for name, (least, most) in self.expect.exits.items():
            yield self._exit(name, least, most)

    def _shown(self, name: str) -> bool:
        """CR2 and DR6 are measured only after #PF and #DB."""
        if name == "dr7":  # of one that is not given, Linux sets GE as it likes
            return name in self.case.given.debug
        natively = self.expect.native and self.native and measured.register(self.native, name) is not None
        return natively or measured.register(self.result, name) is not None

    # Ends

    def _end(self) -> Row:
        expect, result = self.expect, self.result
        if expect.native_end or (expect.native and not expect.ends):
            native = self.native
            if native is None:
                return self._unanswered("end", show.end(result))
            same = (result.vector, result.error_code) == (native.vector, native.error_code)
            return Row(
                "end", lambda: ("", f"{show.end(native)} (native)", show.end(result)), same, expect.source
            )
        ends = expect.ends or (ExpectedEnd(),)
        ok = any(result.vector == one.vector and one.error_code in (None, result.error_code) for one in ends)

        def cells() -> Cells:
            wanted = (exceptions.end(one.vector, one.error_code) for one in ends)
            return "", " or ".join(wanted), show.end(result)

        return Row("end", cells, ok, expect.source)

    def _rip(self) -> Row:
        expect, result = self.expect, self.result
        wanted: int | None = None
        origin = ""
        if expect.rip_at_end:
            wanted = result.address(len(self.code.data))
        elif expect.rip is not None:
            wanted = address(expect.rip, self.code, result)
        elif expect.native and "rip" not in self.fields:
            if self.native is None:
                return self._unanswered("rip", self._show("rip", result.rip))
            wanted = result.address(self.native.rip - self.native.start)
            origin = ", native"

        def cells() -> Cells:
            expected = "" if wanted is None else self._show("rip", wanted) + origin
            return "", expected, self._show("rip", result.rip)

        ok = None if wanted is None else result.rip == wanted
        return Row("rip", cells, ok, expect.source, Demand.NATIVE if origin else Demand.VALUE)

    def _unanswered(self, name: str, shown: str) -> Row:
        expected = f"as native, but CPU {self.result.cpu} has no native answer"
        return Row(name, ("", expected, shown), False, self.expect.source)

    # Registers

    def _some_register_differs(self) -> bool:
        """Whether a general-purpose register is not as ``_whole`` demands of it, were no bits of it named."""
        if self.expect.native:
            return self.native is not None and self.result.registers != self.native.registers
        return self.expect.gprs_unchanged and self.result.registers != self.result.given

    def _whole(self, name: str) -> Row:
        """A register as such: what is demanded of the bits that no field names."""
        expect, named = self.expect, self.fields.get(name, ())
        nothing = partial(self._cells, name)
        if expect.native:
            if self.native is None:
                return Row(name, nothing, None)  # the row of the end says that there is no native answer
            mask = MASK64 & ~sum(map(measured.mask, named)) if named else MASK64
            if mask == 0:
                return Row(name, nothing, None)
            found, wanted = measured.register(self.result, name), measured.register(self.native, name)
            cells = partial(self._cells, name, wanted, "native")
            if wanted is None or found is None:
                if named or expect.ends:
                    return Row(name, nothing, None, expect.source)  # there is no native one to compare
                return Row(name, cells, wanted is found, expect.source, Demand.NATIVE)
            differing = (found ^ wanted) & mask
            if name == "rflags":
                differing &= ~measured.rf_left(self.native)
            if mask == MASK64:
                return Row(name, cells, not differing, expect.source, Demand.NATIVE)
            cells = partial(cells, beside=f" beside {_bit_ranges(MASK64 & ~mask)}")
            return Row(name, cells, not differing, expect.source)
        if expect.gprs_unchanged and name in GPRS and not named:
            given = self.result.given[name]
            cells = partial(self._cells, name, given, "unchanged")
            return Row(name, cells, self.result.registers[name] == given, expect.source, Demand.UNCHANGED)
        return Row(name, nothing, None)

    def _cells(self, name: str, wanted: int | None = None, why: str = "", beside: str = "") -> Cells:
        given = register_at_start(self.case, self.result, name)
        expected = f"{self._show(name, wanted)}, {why}{beside}" if why else ""
        found = measured.register(self.result, name)
        return "" if given is None else self._show(name, given), expected, self._show(name, found)

    def _show(self, name: str, value: int | None) -> str:
        return "not measured" if value is None else show.register(name, value, self.result, code=self.code)

    def _fields(self, register: str) -> Iterator[Row]:
        for field in self.fields.get(register, ()):
            yield self.field_judge.row(field)

    # Memory and exits

    def _memory(self) -> Iterator[Row]:
        """The memory that was brought back, in rows; demanded natively where no field names it."""
        brought = memory_range(self.case)
        if brought is None or not self.expect.native or self.native is None:
            return
        first, size = brought
        named = {
            byte
            for field in self.fields.get("memory", ())
            for byte in range(field.low, field.low + field.width)
        }
        for low in range(first, first + size, _PER_ROW):
            width = min(_PER_ROW, first + size - low)
            start, stop = low - first, low - first + width
            found, native = self.result.memory[start:stop], self.native.memory[start:stop]
            ok = all(
                index + low in named or found[index : index + 1] == native[index : index + 1]
                for index in range(width)
            )
            given = show.data(scratch_at_start(self.case, low, width))
            cells = given, f"{show.data(native)}, native", show.data(found) or "not measured"
            name = f"memory[{low:#x}:{width}]"
            yield Row(name, cells, ok and bool(found), self.expect.source, Demand.NATIVE)

    def _exit(self, name: str, least: int, most: int | None) -> Row:
        wanted = f"{least} or more" if most is None else str(least) if least == most else f"{least} to {most}"
        label = f"exits.{name}"
        if self.exits is None:
            cells = "", wanted, "not counted: no subject is loaded"
            return Row(label, cells, False, self.expect.source, Demand.EXITS)
        count = self.exits.get(name, 0)
        unknown = "" if name in self.exits else " (the subject has no counter of this name)"
        ok = count >= least and (most is None or count <= most)
        return Row(label, ("", wanted, f"{count}{unknown}"), ok, self.expect.source, Demand.EXITS)


def _bit_ranges(mask: int) -> str:
    low = (mask & -mask).bit_length() - 1
    high = mask.bit_length() - 1
    whole = mask == (2 ** (high - low + 1) - 1) << low
    return f"bits {high}:{low}" if whole and high > low else f"bit {low}" if whole else f"the bits {mask:#x}"
