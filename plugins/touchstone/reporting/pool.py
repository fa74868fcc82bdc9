"""Values of JSON in as few bytes as gzip can make of them: each value once, what is alike side by side.

A report says the same in thousands of files: the labels of a check, the lines of its suite, the name of a
target. In a pool each value is there once, and the values that contain it refer to it. Those of the same
shape (objects with the same keys, short lists of the same length) form a table, which is written column by
column: a column hardly changes from row to row, so gzip makes next to nothing of it.

A pool is a line of JSON, ``{"shapes": [...], "sizes": [...]}``, and as many streams as there are sizes, in
bytes: the shape of each value; of texts of several lines, and then of long lists, how many parts they have,
and the parts; each column of each shape; the lines; the other values. A value comes behind its parts, the
whole one last. A shape is a number of items, or keys and which of them have whole numbers.

All but the last two streams are numbers in base 128, the lowest seven bits first, with 128 added to each
digit but the last. A part is 0 if it is the next of the values that nothing refers to yet, of those the
last ones; else 1 and the difference of its number to the one before in the stream. A difference d is
written as 2d, or as -2d - 1 if it is negative. A column of whole numbers has differences.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Sequence
from typing import Any

MOST_COLUMNS = 16
"""Items of a short list."""
LINE, OTHER, LINES, LIST, FIRST = range(5)
"""A line, another value without parts, a text of several lines, a long list; those of the header."""
Shape = int | tuple[tuple[str, ...], tuple[int, ...]]


class _Stream:
    """Numbers that are written."""

    def __init__(self) -> None:
        self.data = bytearray()
        self._before = 0

    def put(self, number: int) -> None:
        while number > 127:
            self.data.append(number & 127 | 128)
            number >>= 7
        self.data.append(number)

    def put_change(self, value: int, more: int = 0) -> None:
        change, self._before = value - self._before, value
        self.put((2 * change if change >= 0 else -2 * change - 1) + more)

    def put_next(self, part: int) -> None:
        self._before = part
        self.data.append(0)


class _Writer:
    def __init__(self) -> None:
        self._known: dict[Hashable, int] = {}
        self._alone: list[int] = []
        """Values that nothing refers to yet."""
        self._kinds = _Stream()
        self._shapes: dict[Shape, int] = {}
        self._columns: list[list[_Stream]] = []
        self._lengths = {LINES: _Stream(), LIST: _Stream()}
        self._parts = {LINES: _Stream(), LIST: _Stream()}
        self._atoms: dict[int, list[str]] = {LINE: [], OTHER: []}

    def add(self, value: Any) -> int:
        """The number of a value, which is in the pool then."""
        if isinstance(value, str):
            return self._atom(LINE, value) if "\n" not in value else self._text(value)
        start = len(self._alone)
        if isinstance(value, list):
            parts = [self.add(one) for one in value]
            if len(parts) > MOST_COLUMNS:
                return self._sequence((LIST, *parts), LIST, parts, start)
            return self._row(len(parts), parts, (), start)
        if isinstance(value, dict):
            whole = tuple(at for at, one in enumerate(value.values()) if type(one) is int)
            parts = [one if type(one) is int else self.add(one) for one in value.values()]
            return self._row((tuple(value), whole), parts, whole, start)
        return self._atom(OTHER, json.dumps(value))

    def _atom(self, kind: int, text: str) -> int:
        found = self._known.get((kind, text))
        if found is None:
            self._atoms[kind].append(text)
            found = self._new((kind, text), kind)
        return found

    def _text(self, text: str) -> int:
        key = (LINES, text)
        found = self._known.get(key)
        if found is None:
            start = len(self._alone)
            found = self._sequence(key, LINES, [self._atom(LINE, one) for one in text.split("\n")], start)
        return found

    def _sequence(self, key: Hashable, kind: int, parts: Sequence[int], start: int) -> int:
        found = self._known.get(key)
        if found is None:
            self._lengths[kind].put(len(parts))
            self._refer(parts, [self._parts[kind]] * len(parts), (), start)
            found = self._new(key, kind)
        return found

    def _row(self, shape: Shape, parts: Sequence[int], whole: Sequence[int], start: int) -> int:
        kind = self._shapes.setdefault(shape, FIRST + len(self._columns))
        if kind == FIRST + len(self._columns):
            self._columns.append([_Stream() for _ in parts])
        key = (kind, *parts)
        found = self._known.get(key)
        if found is None:
            self._refer(parts, self._columns[kind - FIRST], whole, start)
            found = self._new(key, kind)
        return found

    def _refer(
        self, parts: Sequence[int], streams: Sequence[_Stream], whole: Sequence[int], start: int
    ) -> None:
        """Write parts of a value; those of ``whole`` are numbers. What is alone since ``start`` is theirs."""
        alone = iter(self._alone[start:])
        following = next(alone, None)
        for at, (part, stream) in enumerate(zip(parts, streams, strict=True)):
            if at in whole:
                stream.put_change(part)
            elif part == following:
                stream.put_next(part)
                following = next(alone, None)
            else:
                stream.put_change(part, 1)
        del self._alone[start:]

    def _new(self, key: Hashable, kind: int) -> int:
        number = self._known[key] = len(self._known)
        self._alone.append(number)
        self._kinds.put(kind)
        return number

    def whole(self) -> bytes:
        """All that was added."""
        streams = [self._kinds.data]
        for kind in (LINES, LIST):
            streams += [self._lengths[kind].data, self._parts[kind].data]
        streams += [one.data for columns in self._columns for one in columns]
        streams += [
            bytearray("\n".join(self._atoms[kind]).encode("utf-8", "replace")) for kind in (LINE, OTHER)
        ]
        head = {"shapes": list(self._shapes), "sizes": [len(one) for one in streams]}
        return b"".join((json.dumps(head, separators=(",", ":")).encode(), b"\n", *streams))


def pooled(value: Any) -> bytes:
    """The pool of a value of JSON."""
    pool = _Writer()
    pool.add(value)
    return pool.whole()
