"""The keys and values of ``expect`` that are about registers: ``rax[63:32]``, ``{in: [1, 2]}``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from yaml.nodes import MappingNode, Node, ScalarNode

from touchstone.machine.probe import Operand
from touchstone.suite import msrs
from touchstone.suite.measured import MSR
from touchstone.suite.model import FieldExpectation, LabelAddress, Value
from touchstone.suite.numeral import number
from touchstone.suite.operands import operand
from touchstone.suite.positions import Document, octal_hint
from touchstone.suite.problems import did_you_mean, did_you_mean_or_all
from touchstone.suite.registers import MSR_TABLES, SUB_REGISTERS, TABLES, BitField, table, table_names

_KEY = re.compile(
    r"(?P<register>[a-z0-9]+)(?:\[(?P<high>[^\]:]+)(?::(?P<low>[^\]]+))?\]|\.(?P<bit>[\w-]+))?"
    r"(?:\s+as\s+(?P<table>\S+))?"
)
_MEASURED = {
    **SUB_REGISTERS,
    "rflags": ("rflags", 0, 64),
    "dr6": ("dr6", 0, 64),
    "dr7": ("dr7", 0, 64),
    "cr2": ("cr2", 0, 64),
    "rip": ("rip", 0, 64),
}
_UNGIVEN = frozenset({"dr6", "dr7", "cr2", "rip"})
_CLAIM = re.compile(r"claim\.([A-Za-z0-9_.-]+)(?:\s*\+\s*(\w+))?")
_WORDS = ("unchanged", "native", "same-on-every-cpu", "any")


@dataclass(frozen=True)
class MeasuredField:
    """The register, bits of a register, or bytes of memory that a key of ``expect`` names."""

    what: str
    register: str
    low: int
    width: int
    bits: Mapping[str, BitField] | None = None
    """Names of the fields in it, if it has some."""
    table: str = ""
    """Register or CPUID leaf that ``bits`` are the names of."""


def measured_field(doc: Document, key: ScalarNode) -> MeasuredField | None:
    """The register, sub-register, bit range or named field that a key names; None after a problem."""
    text = key.value
    whole = _MEASURED.get(text)
    if whole:
        return MeasuredField(text, *whole, TABLES.get(text), text)
    parts = _KEY.fullmatch(text)
    if not parts or parts["register"] not in _MEASURED:
        doc.wrong(key, _unknown(text, parts["register"] if parts else text))
        return None
    register, low, width = _MEASURED[parts["register"]]
    if parts["table"]:
        if parts["high"] or parts["bit"]:
            doc.wrong(
                key, f"'{text}': say either a bit range or `as`; bits are named after `as`, as a mapping"
            )
            return None
        return _named(doc, key, MeasuredField(text, register, low, width), parts["table"])
    if parts["bit"]:
        names = TABLES.get(parts["register"])
        if names is None:
            doc.wrong(
                key,
                f"{parts['register']} has no named bits; say whose they are: '{parts['register']} as NAME'",
            )
            return None
        return named_bit(
            doc, key, MeasuredField(text, register, low, width, names, parts["register"]), parts["bit"], text
        )
    high_text = parts["high"]
    high, bottom = number(high_text), number(parts["low"] or high_text)
    if high is None or bottom is None or not 0 <= bottom <= high < width:
        doc.wrong(key, f"'{text}': a bit range is [HIGH:LOW], from {width - 1} to 0, or one bit [N]")
        return None
    return MeasuredField(text, register, low + bottom, high - bottom + 1)


def _named(doc: Document, key: ScalarNode, whole: MeasuredField, name: str) -> MeasuredField | None:
    names = table(name)
    if names is not None:
        return MeasuredField(whole.what, whole.register, whole.low, whole.width, names, name)
    holder, _, field = name.rpartition(".")
    names = table(holder)
    if names is not None:
        return named_bit(
            doc,
            key,
            MeasuredField(whole.what, whole.register, whole.low, whole.width, names, holder),
            field,
            whole.what,
        )
    doc.wrong(key, f"there are no bit names for '{name}'{did_you_mean(name, table_names())}")
    return None


def _unknown(text: str, register: str) -> str:
    if text.lower() != text and text.lower() in _MEASURED:
        return f"'{text}': registers are written in lower case: {text.lower()}"
    if register == "eflags":
        return "'eflags': write rflags"
    if register in TABLES or re.fullmatch(r"cr\d+|dr\d+", register):
        return (
            f"{register} is not measured at the end of a probe; read it into a register in `run`, and expect"
            f" 'rax as {register}' (or a plain rax)"
        )
    known = [*_MEASURED, "gprs", "memory", "exits", "exception", "idtr", "gdtr", "ldtr", "returned"]
    near = did_you_mean(register, known) or "; examples: rax, eax, rax[63:32], rflags.cf, dr6.bs"
    return f"'{text}' is no register{near}"


def named_bit(doc: Document, key: Node, whole: MeasuredField, name: str, what: str) -> MeasuredField | None:
    """One named bit-field of a measured field."""
    assert whole.bits is not None
    field = whole.bits.get(name)
    if field is None:
        doc.wrong(key, f"{whole.table} has no bit '{name}'{did_you_mean_or_all(name, whole.bits)}")
        return None
    if field.low + field.width > whole.width:
        doc.wrong(
            key, f"{whole.table}.{name} is bit {field.low}, but {whole.what} has {whole.width} bits only"
        )
        return None
    return MeasuredField(what, whole.register, whole.low + field.low, field.width)


def field_expectations(doc: Document, key: ScalarNode, value: Node) -> list[FieldExpectation]:
    """The expectations that one entry states: several, if it names bits."""
    whole = measured_field(doc, key)
    return [] if whole is None else parts(doc, whole, value)


def parts(doc: Document, whole: MeasuredField, value: Node) -> list[FieldExpectation]:
    """The expectations of one measured field: one, or one for each bit that ``value`` names."""
    if isinstance(value, MappingNode) and whole.bits is not None and not is_set(value):
        found = []
        for name, bit_key, bit_value in doc.entries(value, f"'{whole.what}'"):
            part = named_bit(doc, bit_key, whole, name, f"{whole.what}.{name}")
            wanted = part and expectation(doc, part, bit_value)
            if wanted:
                found.append(wanted)
        return found
    wanted = expectation(doc, whole, value)
    return [wanted] if wanted else []


def msr_expectations(doc: Document, node: Node) -> list[FieldExpectation]:
    """``expect.msrs``: ``{ia32-debugctl: {btf: 0}, 0x140: 1}``."""
    found: list[FieldExpectation] = []
    for name, key, value in doc.entries(node, "msrs"):
        msr = msrs.find(name)
        if msr is None:
            doc.wrong(key, f"'{name}' is no MSR{did_you_mean(name, msrs.MSRS) or '; write its number'}")
            continue
        holder = MSR_TABLES.get(msr, "")
        whole = MeasuredField(f"msrs.{name}", f"{MSR}{msr:#x}", 0, 64, TABLES.get(holder), holder)
        if isinstance(value, MappingNode) and not is_set(value) and whole.bits is None:
            doc.wrong(value, f"the bits of {name} have no names here; write the value as a number")
        else:
            found += parts(doc, whole, value)
    return found


def is_set(node: MappingNode) -> bool:
    """Whether a mapping is ``{in: [...]}`` or ``{not: ...}``."""
    return any(isinstance(key, ScalarNode) and key.value in ("in", "not") for key, _ in node.value)


def expectation(
    doc: Document, where: MeasuredField, node: Node, bits: int | None = None
) -> FieldExpectation | None:
    """The expectation that a value states; ``bits`` is the width of its numbers if it is not the field's."""
    source = doc.at(node)
    width = bits or where.width

    def made(
        kind: Kind, value: Value | None = None, values: tuple[Value, ...] = (), claim: str | None = None
    ) -> FieldExpectation:
        return FieldExpectation(
            where.what, where.register, where.low, where.width, kind, value, values, claim, source
        )

    if isinstance(node, MappingNode) and is_set(node):
        for name, _, value in doc.entries(node, f"'{where.what}'"):
            if name not in ("in", "not"):
                break
            items = [_operand(doc, item, where.what, width) for item in doc.items(value, f"'{name}'")]
            if len(node.value) == 1:
                return made(
                    "in" if name == "in" else "not", values=tuple(item for item in items if item is not None)
                )
        doc.wrong(node, f"'{where.what}' takes either in or not, and nothing beside it")
        return None
    if (
        isinstance(node, MappingNode)
        and where.bits is None
        and where.register not in ("memory", "rip", "cr2")
        and not where.register.startswith(MSR)
    ):
        doc.wrong(
            node, f"{where.what} has no named bits of its own; say whose they are: '{where.what} as cr4'"
        )
        return None
    text = doc.scalar(node, f"'{where.what}'")
    if text is None:
        return None
    if text == "unchanged" and (where.register in _UNGIVEN or where.register.startswith(MSR)):
        doc.wrong(
            node, f"{where.register} has no start value that could be unchanged; give a value, or native"
        )
        return None
    if text in _WORDS:
        return made(text)  # type: ignore[arg-type]
    if text.startswith("claim."):
        parts = _CLAIM.fullmatch(text)
        offset = number(parts[2] or "0") if parts else None
        if not parts or offset is None:
            doc.wrong(node, f"'{text}': a claim of the subject is claim.NAME or claim.NAME+N")
            return None
        return made("claim", Operand("number", offset), claim=parts[1])
    wanted = _operand(doc, node, where.what, width)
    return None if wanted is None else made("value", wanted)


Kind = Literal["value", "unchanged", "native", "in", "same-on-every-cpu", "not", "claim", "any"]


def _operand(doc: Document, node: Node, what: str, width: int) -> Value | None:
    text = doc.scalar(node, f"'{what}'")
    if text is None:
        return None
    value = operand(text)
    if value is None or (isinstance(value, LabelAddress) and did_you_mean(text, _WORDS)):
        hint = (
            octal_hint(text)
            or did_you_mean(text, _WORDS)
            or f"; it is a number, an address (scratch+8), {', '.join(_WORDS)} or claim.NAME"
        )
        doc.wrong(node, f"'{text}' is no value for {what}{hint}")
        return None
    plain = number(text)
    if plain is None and isinstance(value, Operand) and value.base == "number":
        plain = value.offset
    if plain is not None and not -(2 ** (width - 1)) <= plain < 2**width:
        doc.wrong(node, f"{text} does not fit into {what}, which has {width} bit{'s' if width > 1 else ''}")
        return None
    return value
