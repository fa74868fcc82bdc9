"""The state in which a probe starts: the ``given`` of a check."""

from __future__ import annotations

from dataclasses import replace

from yaml.nodes import MappingNode, Node

from touchstone.machine.probe import GPRS
from touchstone.suite import memory, msrs, place
from touchstone.suite.model import Given, Value
from touchstone.suite.numeral import number
from touchstone.suite.operands import operand
from touchstone.suite.positions import Document, octal_hint
from touchstone.suite.problems import did_you_mean, did_you_mean_or_all
from touchstone.suite.registers import MSR_TABLES, SUB_REGISTERS, TABLES

KEEP = 16
"""MSRs that one request can keep (``targets/agent/PROTOCOL.md``)."""
CONTROL = ("cr0", "cr4", "efer")
DEBUG = ("dr0", "dr1", "dr2", "dr3", "dr6", "dr7")
KEYS = ("gprs", *GPRS, "rflags", *CONTROL, *DEBUG, "memory", "at", "cs-base", "pages", "keep", "msrs")
IF = 1 << 9
_ALWAYS = 2  # RFLAGS bit 1 is always set (SDM 1 3.4.3)


def given(doc: Document, node: Node, what: str = "given") -> Given:
    """Read ``given``, or ``what`` has its keys; what is wrong goes to the document's problems."""
    random, rflags = False, _ALWAYS
    placed: dict[str, object] = {}
    registers: dict[str, Value] = {}
    bits: dict[str, tuple[int, int]] = {}
    debug: dict[str, Value] = {}
    pieces: tuple[tuple[int, bytes], ...] = ()
    keep: tuple[int, ...] = ()
    msrs_: dict[int, Value | tuple[int, int]] = {}
    for name, key, value in doc.entries(node, what):
        if name in GPRS or name in DEBUG:
            if name.startswith("dr") and isinstance(value, MappingNode):
                set_bits, _ = _named_bits(doc, name, value)
                debug[name] = operand(hex(set_bits))  # type: ignore[assignment]
                continue
            found = _address(doc, name, value)
            if found is not None:
                (debug if name.startswith("dr") else registers)[name] = found
        elif name == "gprs":
            random = doc.choice(value, "gprs", ("random", "zero")) == "random"
        elif name == "rflags":
            rflags = _rflags(doc, value)
        elif name in CONTROL:
            if not isinstance(value, MappingNode):
                doc.wrong(
                    value,
                    f"{name} starts as it is, with bits set (1) or cleared (0): {{{_example(name)}: 1}}",
                )
                continue
            bits[name] = _named_bits(doc, name, value)
        elif name == "memory":
            pieces = memory.given(doc, value)
        elif name == "at":
            placed |= place.at(doc, value)
        elif name == "cs-base":
            placed["base"] = place.base(doc, value)
        elif name == "pages":
            placed["pages"] = place.pages(doc, value)
        elif name == "keep":
            keep = _keep(doc, value)
        elif name == "msrs":
            msrs_ = _msrs(doc, value)
        else:
            doc.wrong(key, _unknown(name, what))
    start = Given(random, registers, rflags, bits, debug, pieces, keep=keep, msrs=msrs_)
    return replace(start, **placed)  # type: ignore[arg-type]


def _unknown(name: str, what: str) -> str:
    if name in SUB_REGISTERS:
        return f"'{name}': start values are given for whole registers; write {SUB_REGISTERS[name][0]}"
    if name in ("xcr0", "cr3", "cr8", "cr2"):
        return f"'{name}' cannot be given; write it in `run`"
    hint = did_you_mean(name, KEYS) or "; it takes registers, gprs, memory, at, cs-base, pages, keep, msrs"
    return f"unknown key '{name}' in {what}{hint}"


def _example(name: str) -> str:
    return {"cr0": "wp", "cr4": "osxsave", "efer": "sce"}[name]


def _address(doc: Document, name: str, node: Node) -> Value | None:
    text = doc.scalar(node, name)
    if text is None:
        return None
    value = operand(text)
    plain = number(text)
    if value is None:
        doc.wrong(
            node,
            f"{name} must be a number or an address (scratch+8, start+2, stack-8, end, a label), not '{text}'"
            f"{octal_hint(text)}",
        )
    elif plain is not None and not -(2**63) <= plain < 2**64:
        doc.wrong(node, f"{text} does not fit into {name}, which has 64 bits")
    return value


def _named_bits(doc: Document, name: str, node: Node) -> tuple[int, int]:
    """Masks of what to set and to clear, of a mapping like ``{osxsave: 0, pge: 1}``."""
    ones = zeros = 0
    table = TABLES[name]
    for bit, key, value in doc.entries(node, name):
        field = table.get(bit)
        if field is None:
            doc.wrong(key, f"{name} has no bit '{bit}'{did_you_mean_or_all(bit, table)}")
            continue
        number_ = doc.number(value, f"{name}.{bit}", 0, 2**field.width - 1)
        if number_ is not None:
            ones |= number_ << field.low
            zeros |= (2**field.width - 1 - number_) << field.low
    return ones, zeros


def _rflags(doc: Document, node: Node) -> int:
    value = (
        _named_bits(doc, "rflags", node)[0]
        if isinstance(node, MappingNode)
        else doc.number(node, "rflags") or 0
    )
    return value | _ALWAYS


def _keep(doc: Document, node: Node) -> tuple[int, ...]:
    kept = []
    for item in doc.items(node, "keep"):
        text = doc.scalar(item, "an MSR of keep")
        if text is None:
            continue
        msr = msrs.find(text)
        if msr is None:
            doc.wrong(item, f"'{text}' is no MSR{did_you_mean(text, msrs.MSRS) or '; write its number'}")
        elif msr not in kept:
            kept.append(msr)
    return tuple(kept)


def _msrs(doc: Document, node: Node) -> dict[int, Value | tuple[int, int]]:
    """``{0x140: 1, ia32-debugctl: {btf: 1}, ia32-lstar: target}``."""
    found: dict[int, Value | tuple[int, int]] = {}
    for name, key, value in doc.entries(node, "msrs"):
        msr = msrs.find(name)
        if msr is None:
            doc.wrong(key, f"'{name}' is no MSR{did_you_mean(name, msrs.MSRS) or '; write its number'}")
        elif msr in found:
            doc.wrong(key, f"'{name}' is MSR {msr:#x}, which is given already")
        elif msr == msrs.MSRS["ia32-efer"]:
            doc.wrong(key, "EFER has a key of its own: given: {efer: {sce: 1}}")
        elif not isinstance(value, MappingNode):
            start = _address(doc, name, value)
            if start is not None:
                found[msr] = start
        elif msr not in MSR_TABLES:
            doc.wrong(value, f"the bits of {name} have no names here; write the value as a number")
        else:
            found[msr] = _named_bits(doc, MSR_TABLES[msr], value)
    return found
