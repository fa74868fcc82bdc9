"""The key ``memory`` of ``given`` and ``expect``: bytes of the scratch area."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from yaml.nodes import MappingNode, Node, ScalarNode

from touchstone.machine.probe import SCRATCH_SIZE, Operand
from touchstone.suite.fields import MeasuredField, expectation
from touchstone.suite.model import FieldExpectation
from touchstone.suite.numeral import number
from touchstone.suite.positions import Document, plain

WORD = 8
"""Bytes of a number that is written without ``bytes:``."""
PIECES = 8
"""Pieces of memory that one request can put (``targets/agent/PROTOCOL.md``)."""
GIVEN = 512
"""Bytes that a check can put: what fits into a request beside 1,024 bytes of code."""
READ = 200
"""Bytes that a check can look at: a report shows all of them."""
_HEX = re.compile(r"(?:[0-9a-fA-F]{2}\s*)+")


def _offsets(doc: Document, node: Node) -> Iterator[tuple[int, ScalarNode, Node]]:
    for text, key, value in doc.entries(node, "memory"):
        offset = number(text)
        if offset is None or not 0 <= offset < SCRATCH_SIZE:
            doc.wrong(
                key, f"'{text}': memory is named by offsets in the scratch area, 0 to {SCRATCH_SIZE - 1:#x}"
            )
            continue
        yield offset, key, value


def _sized(doc: Document, node: Node, most: int) -> tuple[int, Node] | None:
    """``{bytes: N, is: VALUE}``; a plain value has WORD bytes."""
    if not isinstance(node, MappingNode) or any(key.value in ("in", "not") for key, _ in node.value):
        return WORD, node
    keys = doc.take(node, "a piece of memory", ("bytes", "is"))
    if "bytes" not in keys or "is" not in keys:
        doc.wrong(
            node, "a piece of memory is hex bytes in quotes, a number of 8 bytes, or {bytes: N, is: VALUE}"
        )
        return None
    size = doc.number(keys["bytes"][1], "bytes", 1, most)
    return None if size is None else (size, keys["is"][1])


def _hex(doc: Document, node: Node) -> bytes | None:
    """Bytes of a quoted scalar; None after a problem, empty if it is not quoted."""
    if not isinstance(node, ScalarNode) or node.style not in ("'", '"'):
        return b""
    if not _HEX.fullmatch(node.value):
        doc.wrong(
            node, f"'{plain(node.value)}' is not hex bytes (\"48 8b\"); numbers and words have no quotes"
        )
        return None
    return bytes.fromhex(node.value)


def _fits(doc: Document, key: Node, offset: int, size: int) -> bool:
    if offset + size > SCRATCH_SIZE:
        doc.wrong(
            key, f"{size} bytes at {offset:#x} do not fit into the scratch area of {SCRATCH_SIZE:#x} bytes"
        )
    return offset + size <= SCRATCH_SIZE


def given(doc: Document, node: Node) -> tuple[tuple[int, bytes], ...]:
    """``given.memory``: what is put into the scratch area, in the order of the offsets."""
    pieces: list[tuple[int, bytes]] = []
    for offset, key, value in _offsets(doc, node):
        data = _hex(doc, value)
        if data == b"":
            sized = _sized(doc, value, WORD)
            if sized is None:
                continue
            size, inner = sized
            what = f"memory at {offset:#x}"
            word = doc.scalar(inner, what)
            if word is None:
                continue
            wanted = number(word)
            if wanted is None:
                doc.wrong(inner, f"{what} must be a number or hex bytes in quotes (\"48 8b\"), not '{word}'")
                continue
            if not -(2 ** (8 * size - 1)) <= wanted < 2 ** (8 * size):
                doc.wrong(inner, f"{word} does not fit into {size} bytes")
                continue
            data = (wanted % 2 ** (8 * size)).to_bytes(size, "little")
        if data and _fits(doc, key, offset, len(data)):
            pieces.append((offset, data))
    pieces.sort()
    for (first, data), (second, _) in pairwise(pieces):
        if first + len(data) > second:
            doc.wrong(node, f"the memory at {first:#x} ({len(data)} bytes) overlaps the one at {second:#x}")
    if len(pieces) > PIECES:
        doc.wrong(node, f"{len(pieces)} pieces of memory; a probe can be given {PIECES}: join neighbours")
    if sum(len(data) for _, data in pieces) > GIVEN:
        doc.wrong(node, f"a probe can be given {GIVEN} bytes of memory")
    return tuple(pieces)


def expected(doc: Document, node: Node) -> list[FieldExpectation]:
    """``expect.memory``."""
    found: list[FieldExpectation] = []
    for offset, key, value in _offsets(doc, node):
        data = _hex(doc, value)
        if data is None:
            continue
        if data:
            size = len(data)
            wanted: FieldExpectation | None = FieldExpectation(
                f"memory[{offset:#x}:{size}]", "memory", offset, size, "value",
                Operand("number", int.from_bytes(data, "little")), source=doc.at(value),
            )  # fmt: skip
        else:
            sized = _sized(doc, value, READ)
            if sized is None:
                continue
            size, inner = sized
            data = _hex(doc, inner)
            wanted = expectation(
                doc, MeasuredField(f"memory[{offset:#x}:{size}]", "memory", offset, size), inner, 8 * size
            )
        if wanted and _fits(doc, key, offset, size):
            found.append(wanted)
    if found:
        first, last = min(item.low for item in found), max(item.low + item.width for item in found)
        if last - first > READ:
            doc.wrong(
                node,
                f"the memory named spans {last - first} bytes, from {first:#x}; a probe brings back {READ}",
            )
    return found
