"""Sweeps: the body of a check runs for many values of registers in one probe (the key ``sweep``).

A sweep makes cases like those of ``each``, of as many items as fit into one answer. The body of such a case
is the check's body in a loop; its inputs lie in the scratch area, and so do the results, which are compared
with those of the bare machine item by item.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from yaml.nodes import MappingNode, Node, ScalarNode

from touchstone.machine.probe import Operand, ProbeResult
from touchstone.suite import exceptions
from touchstone.suite.judgement import Demand, Row
from touchstone.suite.model import (
    Body,
    Case,
    ExpectedEnd,
    LabelAddress,
    Source,
    SweepDifference,
    SweptItems,
)
from touchstone.suite.numeral import number
from touchstone.suite.positions import Document
from touchstone.suite.registers import SUB_REGISTERS

KEYS = ("results", "differs")
INPUTS = ("eax", "ebx", "ecx", "edx")
RESULTS = ("eax", "ebx", "ecx", "edx", "rax", "rbx", "rcx", "rdx")
TABLE_SIZE = 0x1C0
_STATE = TABLE_SIZE
_ROW, _INDEX, _VECTOR, _OUT, _AFTER = (_STATE + offset for offset in (0, 8, 12, 16, 24))
RESULTS_OFFSET = 0x200
"""Where in the scratch area the results begin."""
ANSWER = 0x800
"""Bytes that one answer can bring back (``targets/agent/PROTOCOL.md``)."""
MOST_ITEMS = 1 << 20
NO_EXCEPTION = 0xFF
"""In the place of a vector, which is the first byte of an item's results."""
_NONE = bytes([NO_EXCEPTION])
_PROTECTION = bytes([13])
"""#GP."""
_CAUGHT = {6: False, 7: False, 13: True, 14: True}
"""Vectors that an item can end with, and whether they push an error code."""
_RANGE = re.compile(r"(\S+)\s+to\s+(\S+)")


@dataclass(frozen=True)
class Sweep:
    """What the key ``sweep`` says."""

    inputs: Mapping[str, Sequence[range]]
    """Register to its values; the last one changes fastest."""
    results: tuple[str, ...]
    differs: tuple[SweepDifference, ...]
    source: Source


# --- reading


def sweep(doc: Document, node: Node) -> Sweep | None:
    """Read the key ``sweep``; None after a problem."""
    before = len(doc.problems)
    inputs: dict[str, Sequence[range]] = {}
    others: dict[str, Node] = {}
    for name, key, value in doc.entries(node, "sweep"):
        if name in KEYS:
            others[name] = value
        elif name not in INPUTS:
            doc.wrong(key, f"'{name}' is nothing that a sweep has: {', '.join((*INPUTS, *KEYS))}")
        else:
            inputs[name] = _ranges(doc, value, name, 2**32 - 1)
    if not inputs and len(doc.problems) == before:
        doc.wrong(node, "a sweep has the values of a register at least: {ecx: 0 to 0x1fff}")
    if "results" not in others:
        doc.wrong(node, "a sweep says which registers are compared: results: [eax, edx]")
    results = tuple(_results(doc, others["results"])) if "results" in others else ()
    found = _differs(doc, others["differs"], inputs, results) if "differs" in others else ()
    if len(doc.problems) > before:
        return None
    total = 1
    for ranges in inputs.values():
        total *= sum(map(len, ranges))
    if total > MOST_ITEMS:
        doc.wrong(node, f"this sweep has {total} items; it can have {MOST_ITEMS}")
        return None
    return Sweep(inputs, results, tuple(found), doc.at(node))


def _ranges(doc: Document, node: Node, what: str, most: int) -> list[range]:
    """``[0, 4 to 7]``: numbers and ranges, in their order, none of them twice."""
    found: list[range] = []
    for item in doc.items(node, what):
        text = doc.scalar(item, what)
        if text is None:
            continue
        pair = _RANGE.fullmatch(text)
        first, last = (number(pair[1]), number(pair[2])) if pair else (number(text), number(text))
        if first is None or last is None or not 0 <= first <= last <= most:
            doc.wrong(item, f"{what} is a number or a range (0 to 0x1f), up to {most:#x}, not '{text}'")
        elif any(first < one.stop and one.start <= last for one in found):
            doc.wrong(item, f"{what}: '{text}' is listed already, or a part of it")
        else:
            found.append(range(first, last + 1))
    return found


def _results(doc: Document, node: Node) -> Iterator[str]:
    seen: set[str] = set()
    for item in doc.items(node, "results"):
        name = doc.choice(item, "a result", RESULTS)
        if name is None:
            continue
        whole = SUB_REGISTERS[name][0]
        if whole in seen:
            doc.wrong(item, f"{name} is listed already, or a part of it")
        seen.add(whole)
        yield name


def _differs(
    doc: Document, node: Node, inputs: Mapping[str, Sequence[range]], results: Sequence[str]
) -> Iterator[SweepDifference]:
    """``[{eax: 1, bits: {ecx: [5, 31]}, why: ...}]``: what may differ from the bare machine.

    With ``refused: true`` an item may raise #GP that the bare machine takes.
    """
    for item in doc.items(node, "differs"):
        before = len(doc.problems)
        keys = doc.take(item, "one of differs", (*inputs, "bits", "refused", "why"))
        if not isinstance(item, MappingNode):
            continue
        if "why" not in keys:
            doc.wrong(item, "what may differ needs a reason: why: ...")
        elif doc.text(keys["why"][1], "why") is None:
            continue
        where = {name: _ranges(doc, keys[name][1], name, 2**32 - 1) for name in inputs if name in keys}
        if not where:
            doc.wrong(item, f"this is about no item: give {' or '.join(inputs)}")
        refused = "refused" in keys and doc.choice(keys["refused"][1], "refused", ("true",)) == "true"
        masks: dict[str, int] | None = {} if refused else None
        if "bits" in keys:
            masks = {}
            for name, key, value in doc.entries(keys["bits"][1], "bits"):
                if name not in results:
                    doc.wrong(key, f"'{name}' is none of the results: {', '.join(results)}")
                    continue
                masks[name] = sum(
                    1 << bit
                    for one in _ranges(doc, value, f"a bit of {name}", SUB_REGISTERS[name][2] - 1)
                    for bit in one
                )
        if len(doc.problems) == before:
            yield SweepDifference({name: tuple(ranges) for name, ranges in where.items()}, masks, refused)


def problems(doc: Document, keys: Mapping[str, tuple[ScalarNode, Node]]) -> None:
    """Report keys of a check that do not go together with ``sweep``."""
    for name in ("then", "handle"):
        if name in keys:
            doc.wrong(keys[name][0], f"a check with sweep cannot have {name}")
    if "expect" in keys:
        node = keys["expect"][1]
        if not isinstance(node, ScalarNode) or node.value != "native":
            doc.wrong(node, "a sweep compares with the bare machine: expect: native")
    if "given" in keys and isinstance(keys["given"][1], MappingNode):
        for key, _ in keys["given"][1].value:
            if key.value in (*SUB_REGISTERS, "gprs", "memory", "at", "cs-base", "pages"):
                doc.wrong(key, f"a sweep sets registers and memory by itself, not by given.{key.value}")


# --- cases


def cases_of(wanted: Sweep, case: Case) -> Iterator[Case]:
    """A case for as many items as fit into one answer."""
    if case.body.code_bits == 16:
        return
    body = _body(wanted, case.body)
    names = tuple(wanted.inputs)
    for rows in _portions(wanted):
        items = SweptItems(names, tuple(rows), wanted.results, wanted.differs)
        table = b"".join(
            b"".join(value.to_bytes(4, "little") for value in (*outer, span.start, len(span)))
            for outer, span in rows
        )
        start = replace(
            case.given,
            registers={"rbp": Operand("scratch"), "rsi": LabelAddress("sweep_after")},
            memory=((0, table),),
            handlers={vector: LabelAddress(f"sweep_vector_{vector}") for vector in _CAUGHT},
        )
        end = replace(case.expect, native=True, ends=(ExpectedEnd(),), rip_at_end=True)
        label = f"{case.label}, {items.title}" if case.label else items.title
        yield replace(case, label=label, body=body, given=start, expect=end, sweep=items)


def _portions(wanted: Sweep) -> Iterator[list[tuple[tuple[int, ...], range]]]:
    """Rows of the table: the values of all inputs but the last, and a range of the last one's."""
    *outer, last = wanted.inputs.values()
    rows_most = (TABLE_SIZE - 4 * (len(outer) + 2)) // (4 * (len(outer) + 2))
    items_most = ANSWER // _size(wanted.results)
    rows: list[tuple[tuple[int, ...], range]] = []
    room = items_most
    for values in itertools.product(*(itertools.chain(*ranges) for ranges in outer)):
        for span in last:
            rest = span
            while rest:
                if room == 0 or len(rows) == rows_most:
                    yield rows
                    rows, room = [], items_most
                part, rest = rest[:room], rest[room:]
                rows.append((values, part))
                room -= len(part)
    if rows:
        yield rows


def _size(results: Sequence[str]) -> int:
    """Bytes of the results of one item."""
    return 1 + sum(SUB_REGISTERS[name][2] // 8 for name in results)


def _body(wanted: Sweep, body: Body) -> Body:
    """The body in its loop. RBP is the scratch area's address; RSI, RDI and RSP are the loop's in between."""
    wide = body.code_bits == 64
    size = _size(wanted.results)
    inputs = list(wanted.inputs)
    count = 4 * len(inputs)
    rbp, rsi, rdi = ("rbp", "rsi", "rdi") if wide else ("ebp", "esi", "edi")
    before = [
        f"mov [{rbp} + {_AFTER}], {rsi}",
        f"mov [{rbp} + {_ROW}], {rbp}",
        f"lea {rdi}, [{rbp} + {RESULTS_OFFSET}]",
        f"mov [{rbp} + {_OUT}], {rdi}",
        f"sweep_row: mov dword ptr [{rbp} + {_INDEX}], 0",
        f"sweep_item: mov {rsi}, [{rbp} + {_ROW}]",
        f"mov edi, [{rbp} + {_INDEX}]",
        f"cmp edi, [{rsi} + {count}]",
        "jae sweep_next",
        f"mov byte ptr [{rbp} + {_VECTOR}], {NO_EXCEPTION}",
    ]
    for name in INPUTS:
        at = inputs.index(name) if name in inputs else None
        before.append(f"xor {name}, {name}" if at is None else f"mov {name}, [{rsi} + {4 * at}]")
    before.append(f"add {inputs[-1]}, edi")
    after = [f"sweep_after: mov {rdi}, [{rbp} + {_OUT}]"]
    offset = 1
    for name in wanted.results:
        after.append(f"mov [{rdi} + {offset}], {name}")
        offset += SUB_REGISTERS[name][2] // 8
    after += [
        f"mov al, [{rbp} + {_VECTOR}]",
        f"mov [{rdi}], al",
        f"add {rdi}, {size}",
        f"mov [{rbp} + {_OUT}], {rdi}",
        f"inc dword ptr [{rbp} + {_INDEX}]",
        "jmp sweep_item",
        f"sweep_next: mov {rsi}, [{rbp} + {_ROW}]",
        f"add {rsi}, {count + 4}",
        f"mov [{rbp} + {_ROW}], {rsi}",
        f"cmp dword ptr [{rsi} + {count}], 0",
        "jne sweep_row",
        "jmp sweep_end",
        # The handlers are 64-bit code at CPL 0. They leave the item; its results count as zero.
        ".code64",
    ]
    for vector, has_error in _CAUGHT.items():
        after.append(f"sweep_vector_{vector}: {'add rsp, 8' if has_error else 'nop'}")
        after.append(f"mov byte ptr [rbp + {_VECTOR}], {vector}")
        after.append("jmp sweep_fault")
    after += [
        f"sweep_fault: mov rax, [rbp + {_AFTER}]",
        "mov [rsp], rax",
        *(f"xor {name}, {name}" for name in INPUTS),
        "iretq",
        f".code{body.code_bits}",
        "sweep_end: nop",
    ]
    lines = (*before, *body.lines, *after)
    sources = (*(wanted.source for _ in before), *body.sources, *(wanted.source for _ in after))
    return replace(body, lines=lines, sources=sources)


# --- judging


def results_range(items: SweptItems) -> tuple[int, int]:
    """(offset, length) of the results in the scratch area."""
    return RESULTS_OFFSET, _size(items.results) * items.count


def rows(
    items: SweptItems, result: ProbeResult, native: ProbeResult | None, source: Source | None
) -> Iterator[Row]:
    """How many items answer as natively, and a row for each result of an item that does not."""
    if native is None:
        cells = "", f"as native, but CPU {result.cpu} has no native answer", ""
        yield Row("items", cells, False, source, Demand.NATIVE)
        return
    size = _size(items.results)
    different: list[Row] = []
    for index, values in enumerate(items):
        span = slice(index * size, (index + 1) * size)
        found, wanted = result.memory[span], native.memory[span]
        if found == wanted:
            continue
        masks = items.may_differ(values)
        more = found[:1] == _PROTECTION and wanted[:1] == _NONE and items.may_be_refused(values)
        if masks is None or more:
            continue
        different += _item(items, values, found, wanted, masks, source)
    yield Row("items", (str(items.count), "", f"{len(different)} results differ"), None)
    yield from different


def _item(
    items: SweptItems,
    values: tuple[int, ...],
    found: bytes,
    wanted: bytes,
    masks: Mapping[str, int],
    source: Source | None,
) -> Iterator[Row]:
    name = ", ".join(f"{register}={value:#x}" for register, value in zip(items.inputs, values, strict=True))
    if len(found) != len(wanted):
        yield Row(name, ("", "as native", "not measured"), False, source, Demand.NATIVE)
        return
    if found[0] != wanted[0]:
        cells = "", f"{_end(wanted)}, native", _end(found)
        yield Row(f"{name}: end", cells, False, source, Demand.NATIVE)
        return
    offset = 1
    for register in items.results:
        width = SUB_REGISTERS[register][2]
        left, right = (int.from_bytes(one[offset : offset + width // 8], "little") for one in (wanted, found))
        offset += width // 8
        if (left ^ right) & ~masks.get(register, 0):
            cells = "", f"{left:#x}, native", f"{right:#x}"
            yield Row(f"{name}: {register}", cells, False, source, Demand.NATIVE)


def _end(data: bytes) -> str:
    return exceptions.end(None if data[0] == NO_EXCEPTION else data[0])
