"""What a packed page holds: read by what reporting/pool.py says of it, and not by the page's script."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from touchstone.reporting.packed_page import BYTES, JSON, TEXT
from touchstone.reporting.pool import FIRST, LINE, LINES, LIST, OTHER

_PACKED = re.compile(r'<script type="application/gzip" id="packed-data">([A-Za-z0-9+/=]*)</script>')


def pool_of(page: str) -> bytes:
    """The pool of a packed page's files."""
    found = _PACKED.search(page)
    assert found, "it is not packed"
    return gzip.decompress(base64.b64decode(found[1]))


def files_of(page: str) -> Mapping[str, bytes]:
    """The files of a packed page's data."""
    as_bytes = {
        JSON: lambda value: json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode(),
        TEXT: str.encode,
        BYTES: base64.b64decode,
    }
    return {name: as_bytes[kind](content) for name, kind, content in value_of(pool_of(page))}


class _Numbers:
    """Numbers that are read."""

    def __init__(self, data: bytes) -> None:
        self._data = iter(data)
        self._before = 0

    def __iter__(self) -> Iterator[int]:
        number, shift = 0, 0
        for digit in self._data:
            number |= (digit & 127) << shift
            shift += 7
            if digit < 128:
                yield number
                number, shift = 0, 0

    def take(self) -> int:
        return next(iter(self))

    def change(self, code: int) -> int:
        self._before += -(code + 1) // 2 if code % 2 else code // 2
        return self._before

    def following(self, number: int) -> int:
        self._before = number
        return number


def value_of(data: bytes) -> Any:
    """The value of which this is the pool."""
    line, _, rest = data.partition(b"\n")
    head = json.loads(line)
    streams, at = [], 0
    for size in head["sizes"]:
        streams.append(rest[at : at + size])
        at += size
    kinds, *numbers = (_Numbers(one) for one in streams[:-2])
    lines, others = (iter(one.decode().split("\n")) for one in streams[-2:])
    sequences = {LINES: (numbers[0], numbers[1]), LIST: (numbers[2], numbers[3])}
    columns = iter(numbers[4:])
    tables = []
    for shape in head["shapes"]:
        length = shape if isinstance(shape, int) else len(shape[0])
        tables.append(([] if isinstance(shape, int) else shape[1], [next(columns) for _ in range(length)]))
    values: list[Any] = []
    alone: list[int] = []

    def parts_of(where: Sequence[_Numbers], whole: Sequence[int]) -> list[Any]:
        codes = [stream.take() for stream in where]
        follows = [code == 0 and at not in whole for at, code in enumerate(codes)]
        start = len(alone) - sum(follows)
        own = iter(alone[start:])
        del alone[start:]
        found: list[Any] = []
        for at, (code, stream) in enumerate(zip(codes, where, strict=True)):
            if at in whole:
                found.append(stream.change(code))
            elif follows[at]:
                found.append(values[stream.following(next(own))])
            else:
                found.append(values[stream.change(code - 1)])
        return found

    for kind in kinds:
        if kind == LINE:
            value: Any = next(lines)
        elif kind == OTHER:
            value = json.loads(next(others))
        elif kind in sequences:
            lengths, parts = sequences[kind]
            value = parts_of([parts] * lengths.take(), ())
            value = "\n".join(value) if kind == LINES else value
        else:
            whole, where = tables[kind - FIRST]
            value = parts_of(where, whole)
            shape = head["shapes"][kind - FIRST]
            value = value if isinstance(shape, int) else dict(zip(shape[0], value, strict=True))
        alone.append(len(values))
        values.append(value)
    return values[-1]
