"""One named register, bit-field or piece of memory against what the suite expects of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from touchstone.machine.probe import Operand, ProbeResult
from touchstone.suite import measured, show
from touchstone.suite.code import Code
from touchstone.suite.judgement import Cells, Demand, Row
from touchstone.suite.measured import RF, ones
from touchstone.suite.model import Case, FieldExpectation, Value
from touchstone.suite.request import memory_range, resolve_labels

_ALWAYS, _VM = 1 << 1, 1 << 17
_DEMANDS = {"unchanged": Demand.UNCHANGED, "native": Demand.NATIVE}
_NOT_MEASURED = {
    "cr2": "not measured (only #PF brings it)",
    "dr6": "not measured (only #DB brings it)",
    "dr7": "not measured",
    "memory": "not measured (it was not brought back)",
}


def address(value: Value, code: Code, result: ProbeResult) -> int:
    """The number that a value is on the CPU of a result: an address of its slot, or the number itself."""
    operand = resolve_labels(value, code)
    if operand.base == "start":
        return result.address(operand.offset)
    return operand.resolve(result.slot)


def scratch_at_start(case: Case, low: int, width: int) -> bytes:
    """What a part of the scratch area holds when the probe starts."""
    area = bytearray(width)
    for offset, data in case.given.memory:
        for index, byte in enumerate(data, offset - low):
            if 0 <= index < width:
                area[index] = byte
    return bytes(area)


def register_at_start(case: Case, result: ProbeResult, name: str) -> int | None:
    """Value of a register when the probe starts; None for those that are not given."""
    if name in result.more:
        return result.more[name][0]
    if name == "rflags":
        return case.given.rflags | _ALWAYS | (_VM if case.mode == "virtual-8086" else 0)
    return result.given.get(name)


class FieldJudge:
    """Judges the fields of one CPU's result."""

    def __init__(
        self,
        case: Case,
        code: Code,
        result: ProbeResult,
        first: ProbeResult,
        native: ProbeResult | None,
        claims: Mapping[str, object],
    ) -> None:
        """``first`` is the result of the first CPU, ``native`` the one of the native phase."""
        self.case = case
        self.code = code
        self.result = result
        self.first = first
        self.native = native
        self.claims = claims
        brought = memory_range(case)
        self.memory_from = brought[0] if brought else None

    def row(self, field: FieldExpectation) -> Row:
        """The field's line of the table."""
        found = measured.field(field, self.result, self.memory_from)
        given = self._at_start(field)
        wanted, text = self._wanted(field, given)
        ok = None if field.kind == "any" else found is not None and found in wanted
        if field.kind == "not":
            ok = found is not None and found not in wanted
        if field.kind == "unchanged" and field.register == "rflags" and self.result.vector is not None:
            # What a fault pushes has RF set (SDM 3B 17.3.1.1, APM2 8.1.3): that is no change by the subject.
            rf = RF >> field.low if field.low <= 16 < field.low + field.width else 0
            ok = found is not None and found & ~rf in {value & ~rf for value in wanted}
        if field.kind == "native" and field.register == "rflags" and found is not None:
            left = measured.rf_left(self.native) >> field.low
            ok = found & ~left in {value & ~left for value in wanted}

        def cells() -> Cells:
            start = "" if given is None else self._text(field, given)
            shown = (
                _NOT_MEASURED.get(field.register, "not measured")
                if found is None
                else self._text(field, found)
            )
            return start, text(), shown

        return Row(field.what, cells, ok, field.source, _DEMANDS.get(field.kind, Demand.VALUE))

    def _at_start(self, field: FieldExpectation) -> int | None:
        if field.register == "memory":
            return int.from_bytes(scratch_at_start(self.case, field.low, field.width), "little")
        value = register_at_start(self.case, self.result, field.register)
        return None if value is None else value >> field.low & ones(field)

    def _wanted(self, field: FieldExpectation, given: int | None) -> tuple[set[int], Callable[[], str]]:
        """The values that fit (or, for ``not``, that do not), and what makes the report's words for them."""
        if field.kind == "any":
            return set(), lambda: "any"
        if field.kind == "unchanged":
            return ({given} if given is not None else set()), lambda: "unchanged"
        if field.kind == "native":
            value = measured.field(field, self.native, self.memory_from) if self.native else None
            if value is None:
                return set(), lambda: "as native, but there is no native answer"
            if field.register == "rip" and self.native:
                value = self.result.address(value - self.native.start)
            return {value}, lambda: f"{self._text(field, value)}, native"
        if field.kind == "same-on-every-cpu":
            same, on_cpu = measured.field(field, self.first, self.memory_from), f"as on CPU {self.first.cpu}"
            if same is None:
                return set(), lambda: on_cpu
            return {same}, lambda: f"{on_cpu}: {self._text(field, same)}"
        if field.kind == "claim":
            return self._claimed(field)
        values = [
            self._number(field, value) for value in ((field.value,) if field.value else field.values) if value
        ]

        def words() -> str:
            any_of = " or ".join(self._text(field, value) for value in values)
            return f"not {any_of}" if field.kind == "not" else any_of

        return set(values), words

    def _claimed(self, field: FieldExpectation) -> tuple[set[int], Callable[[], str]]:
        name = field.claim or ""
        claim = self.claims.get(name)
        offset = field.value.offset if field.value else 0
        if offset:
            name += f"+{offset}"
        if isinstance(claim, str):
            size = field.width if field.register == "memory" else field.width // 8
            # A text is spread over registers as CPUID spreads the vendor's name: first character lowest.
            value = int.from_bytes(claim.encode()[offset : offset + size], "little")
        elif isinstance(claim, int):
            value = (int(claim) + offset) & ones(field)
        else:
            why = (
                "which the subject does not make"
                if claim is None
                else f"but {claim!r} is no number and no text"
            )
            return set(), lambda: f"claim.{name}, {why}"
        return {value}, lambda: f"{self._text(field, value)}, claim.{name}"

    def _number(self, field: FieldExpectation, value: Value) -> int:
        if isinstance(value, Operand) and value.base == "number":
            return value.offset & ones(field)
        return address(value, self.code, self.result) & ones(field)

    def _text(self, field: FieldExpectation, value: int) -> str:
        if field.register == "memory":
            return show.data(value.to_bytes(field.width, "little"))
        return show.register(field.register, value, self.result, field.width, self.code)
