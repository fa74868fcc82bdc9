"""TOML files that people write: values with their lines, and errors with file, line and a correction.

``tomllib`` gives no positions, so the line of a key is found by scanning the text. That works for tables and
plain values; for a key that it does not find, an error names the line of the table around it.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from touchstone.suite.files import read_limited

_HEADER = re.compile(r"^\s*(\[{1,2})\s*([^\]]+?)\s*\]{1,2}\s*(?:#.*)?$")
_NAME = r"""(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')"""
_KEY = re.compile(rf"^\s*({_NAME}(?:\s*\.\s*{_NAME})*)\s*=")
_TEXT = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'[^']*'")
_PART = re.compile(r"\"([^\"]*)\"|'([^']*)'|([A-Za-z0-9_-]+)")

_BEGINS = re.compile(rf"\s*\[\s*(?:{_TEXT.pattern}|#|$)")
_MORE_TEXTS = re.compile(rf"\s*(?:{_TEXT.pattern}|[\],#]|$)")
_ENDS = re.compile(r"[^#]*\]")
"""Of a list of texts in several lines: how it begins, how it goes on, and, without its texts, how it ends."""

MAX_BYTES = 1 << 20
"""Of a file."""
MAX_DEPTH = 16
"""Names in a key, and lists and tables inside of each other. We know keys of four."""
MAX_DIGITS = 4300
"""Of a decimal number: Python reads and writes no more."""
_LONGEST = 200
"""Characters of a value in a message."""

_DOTTED = re.compile(rf"(?:^\s*\[{{0,2}}|[{{,])\s*(?:{_NAME}\s*\.\s*){{{MAX_DEPTH},}}", re.MULTILINE)
_DIGITS = re.compile(rf"[=\[,]\s*([+-]?[0-9_]{{{MAX_DIGITS},}})")

KeyPath = tuple[str | int, ...]
"""Keys and indices that lead to a value: ``("targets", "qemu-amd", "known-deviations", 0, "check")``."""


class TomlError(Exception):
    """One or several errors in a file; ``str()`` has a line ``file:line: text`` for each."""

    def __init__(self, errors: Iterable[str]) -> None:
        self.errors = tuple(errors)
        super().__init__("\n".join(self.errors))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``"; did you mean qemu-amd?"``, or ``" (known: ...)"`` when no known word is near."""
    words = list(known)
    near = difflib.get_close_matches(word, words, n=1)
    return f"; did you mean {near[0]}?" if near else f" (known: {', '.join(words)})"


def _split(dotted: str) -> list[str]:
    return [a or b or c for a, b, c in _PART.findall(dotted)]


def _lines_of(text: str) -> dict[KeyPath, int]:
    """The line, from 1, of every table header and every key at the start of a line, and of a list's texts."""
    lines: dict[KeyPath, int] = {}
    counts: dict[KeyPath, int] = {}
    table: KeyPath = ()
    texts: KeyPath | None = None
    """The list of texts that a line goes on with."""
    number_of_texts = 0

    def resolve(parts: list[str]) -> KeyPath:
        key_path: KeyPath = ()
        for part in parts:
            key_path += (part,)
            if key_path in counts:
                key_path += (counts[key_path],)
        return key_path

    for number, line in enumerate(text.splitlines(), start=1):
        if texts is not None:
            more = len(_TEXT.findall(line)) if _MORE_TEXTS.match(line) else 0
            lines |= {(*texts, number_of_texts + index): number for index in range(more)}
            number_of_texts += more
            if _ENDS.match(_TEXT.sub("", line)) or not _MORE_TEXTS.match(line):
                texts = None
        elif header := _HEADER.match(line):
            parts = _split(header[2])
            if header[1] == "[[":
                array = (*resolve(parts[:-1]), parts[-1])
                lines.setdefault(array, number)
                counts[array] = counts.get(array, -1) + 1
                table = (*array, counts[array])
            else:
                table = resolve(parts)
            for length in range(1, len(table)):
                lines.setdefault(table[:length], number)
            lines[table] = number
        elif key := _KEY.match(line):
            key_path = table
            for part in _split(key[1]):
                key_path += (part,)
                lines.setdefault(key_path, number)
            value = line[key.end() :]
            begins = _BEGINS.match(value) and not _ENDS.match(_TEXT.sub("", value))
            texts, number_of_texts = (key_path if begins else None), len(_TEXT.findall(value))
    return lines


_TOO_DEEP = f"lists and tables are nested more than {MAX_DEPTH} times"


def _too_deep(data: dict[str, Any]) -> KeyPath | None:
    """What leads to a value that is nested too often."""
    left: list[tuple[KeyPath, Any]] = [((), data)]
    while left:
        key_path, value = left.pop()
        if not isinstance(value, dict | list):
            continue
        if len(key_path) > MAX_DEPTH:
            return key_path
        items = value.items() if isinstance(value, dict) else enumerate(value)
        left += [((*key_path, key), one) for key, one in items]
    return None


def _deepest_line(text: str) -> int:
    """The line in which the most brackets are open."""
    depth = deepest = offset = 0
    for found in re.finditer(r"[][{}]", text):
        depth = depth + 1 if found[0] in "[{" else max(0, depth - 1)
        if depth > deepest:
            deepest, offset = depth, found.start()
    return _line_at(text, offset)


def _line_at(text: str, offset: int) -> int:
    return text.count("\n", 0, offset) + 1


def _line_of(lines: Mapping[KeyPath, int], key_path: KeyPath) -> int:
    while key_path and key_path not in lines:
        key_path = key_path[:-1]
    return lines.get(key_path, 1)


@dataclass
class TomlFile:
    """A parsed file, the lines of its keys, and the errors that were found in it."""

    path: Path
    data: dict[str, Any]
    shown: str
    """The path as messages name it."""
    lines: Mapping[KeyPath, int] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path, shown: str | None = None) -> TomlFile:
        """Read and parse. TomlError when the file is missing, is not UTF-8 or is not TOML."""
        shown = shown or str(path)
        try:
            text = read_limited(path, MAX_BYTES).decode("utf-8-sig")
        except OSError as error:
            raise TomlError([f"{shown}: {error.strerror or error}"]) from error
        except UnicodeDecodeError as error:
            raise TomlError([f"{shown}: not UTF-8: {error.reason} at byte {error.start}"]) from error
        return cls.parsed(text, path, shown)

    @classmethod
    def parsed(cls, text: str, path: Path, shown: str) -> TomlFile:
        """Parse the text of a file. TomlError when it is not TOML."""
        # tomllib takes memory by the square of a key's names.
        if found := _DOTTED.search(text):
            raise TomlError([f"{shown}:{_line_at(text, found.end())}: a key has {MAX_DEPTH} names at most"])
        try:
            data = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            message = str(error)
            if at := re.search(r"\s*\(at line (\d+), column (\d+)\)$", message):
                raise TomlError([f"{shown}:{at[1]}:{at[2]}: {message[: at.start()]}"]) from error
            raise TomlError([f"{shown}:{text.count(chr(10)) + 1}: {message}"]) from error
        except ValueError:  # Python reads no decimal number of more digits
            found = _DIGITS.search(text)
            line = _line_at(text, found.start(1)) if found else 1
            raise TomlError([f"{shown}:{line}: a number of more than {MAX_DIGITS} digits"]) from None
        except RecursionError:
            raise TomlError([f"{shown}:{_deepest_line(text)}: {_TOO_DEEP}"]) from None
        lines = _lines_of(text)
        if place := _too_deep(data):
            raise TomlError([f"{shown}:{_line_of(lines, place)}: {_TOO_DEEP}"])
        return cls(path, data, shown, lines)

    def line(self, key_path: KeyPath) -> int:
        """Line of a key, or of the innermost table around it that has one."""
        return _line_of(self.lines, key_path)

    def where(self, key_path: KeyPath) -> str:
        """``file:line`` of a key."""
        return f"{self.shown}:{self.line(key_path)}"

    def error(self, key_path: KeyPath, text: str) -> None:
        """Note an error; ``check`` raises them all."""
        self.errors.append(f"{self.where(key_path)}: {text}")

    def check(self) -> None:
        """Raise everything that was noted, in the order of the lines."""
        if self.errors:
            raise TomlError(sorted(self.errors, key=_line_number))

    def known(self, table: Mapping[str, Any], key_path: KeyPath, keys: Iterable[str]) -> None:
        """Note every key of a table that is not one of ``keys``."""
        keys = list(keys)
        for key in table:
            if key not in keys:
                self.error((*key_path, key), f"unknown key {key!r}{did_you_mean(key, keys)}")

    def table(self, value: object, key_path: KeyPath) -> dict[str, Any]:
        """The value if it is a table, else an error and an empty one."""
        if isinstance(value, dict):
            return value
        self.error(key_path, f"{key_path[-1]} must be a table, not {describe(value)}")
        return {}

    def text(self, table: Mapping[str, Any], key: str, key_path: KeyPath, default: str | None = None) -> str:
        """A string that is not empty. Missing is an error unless there is a default."""
        if key not in table:
            if default is None:
                self.error(key_path, f"{key} is missing")
            return default or ""
        value = table[key]
        if not isinstance(value, str) or not value:
            self.error((*key_path, key), f"{key} must be a text, not {describe(value)}")
            return default or ""
        return value

    def whole(
        self,
        table: Mapping[str, Any],
        key: str,
        key_path: KeyPath,
        default: int,
        low: int,
        high: int,
        beyond: str = "",
    ) -> int:
        """A whole number in a range. ``beyond``: what to do about a larger one."""
        value = table.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            text = f"{key} must be a whole number, {low} to {high}, not {describe(value)}"
            larger = isinstance(value, int) and value > high and beyond
            self.error((*key_path, key), f"{text}{'; ' if larger else ''}{beyond if larger else ''}")
            return default
        return value


def _line_number(error: str) -> int:
    found = re.search(r":(\d+): ", error)
    return int(found[1]) if found else 0


def describe(value: object) -> str:
    """A value as messages show it: ``4 (a number)``."""
    kinds = {
        bool: "true or false",
        int: "a number",
        float: "a number",
        str: "a text",
        list: "a list",
        dict: "a table",
    }
    kind = kinds.get(type(value), type(value).__name__)
    if isinstance(value, dict | list):
        return kind
    shown = hex(value) if isinstance(value, int) and value.bit_length() > 64 else repr(value)
    return f"{shown if len(shown) <= _LONGEST else f'{shown[:_LONGEST]}...'} ({kind})"
