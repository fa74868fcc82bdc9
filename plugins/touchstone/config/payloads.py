"""``--payload``: which programs are run, and what the lines look like by which they report.

Reading this contacts nothing, and looks only at the beginning of the files that are run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from touchstone.config.tomlfile import KeyPath, TomlError, TomlFile
from touchstone.machine.multiboot import NotMultiboot, is_multiboot, read_program
from touchstone.machine.payload import Payload

Result = Literal["pass", "fail", "skip"]
RESULTS: tuple[Result, ...] = ("pass", "fail", "skip")
TIMEOUT = 60
"""Seconds that a payload has, before the target's own factor."""
TIMEOUTS = (1, 86400)
CPUS = (1, 255)
_FORM_KEYS = (*RESULTS, "end", "varies")
_ENTRY_KEYS = ("file", "name", "arguments", "modules", "cpus", "timeout", "end")


@dataclass(frozen=True)
class Form:
    """The lines of one family of payloads."""

    name: str
    results: tuple[tuple[Result, re.Pattern[str]], ...]
    """The group ``name`` of a pattern is what the line is about."""
    end: re.Pattern[str] | None
    """A line after which nothing of interest follows, of payloads that do not end the machine."""
    varies: re.Pattern[str] | None = None
    """What differs from run to run in the name of a line: it is left out."""


@dataclass(frozen=True)
class Said:
    """A line by which a payload reports."""

    name: str
    """What it is about; the second one of the same name is ``NAME (2)``."""
    result: Result
    line: str


@dataclass(frozen=True)
class PayloadEntry:
    """A payload, and how it is run."""

    name: str
    payload: Payload
    cpus: int
    timeout: float
    end: re.Pattern[str] | None
    """As that of a form, for this payload only."""
    where: tuple[Path, int]
    """File and line that name it: the payload itself, or a list."""


def read_forms(path: Path, shown: str | None = None) -> tuple[Form, ...]:
    """The forms of a TOML file. TomlError with everything that is wrong in it."""
    file = TomlFile.read(path, shown)
    file.known(file.data, (), ("forms",))
    table = file.table(file.data.get("forms", {}), ("forms",))
    found = [_form(file, name, value) for name, value in table.items()]
    if not table:
        file.error((), "it has no [forms.NAME]")
    file.check()
    return tuple(found)


def _form(file: TomlFile, name: str, value: object) -> Form:
    at: KeyPath = ("forms", name)
    table = file.table(value, at)
    file.known(table, at, _FORM_KEYS)
    results = tuple(
        (result, pattern) for result in RESULTS if (pattern := _pattern(file, table, result, at)) is not None
    )
    if not any(result == "pass" for result, _ in results):
        file.error(at, "pass is missing")
    end, varies = (_pattern(file, table, key, at) for key in ("end", "varies"))
    return Form(name, results, end, varies)


def _pattern(file: TomlFile, table: dict[str, Any], key: str, at: KeyPath) -> re.Pattern[str] | None:
    if key not in table:
        return None
    try:
        pattern = re.compile(file.text(table, key, at))
    except re.error as error:
        file.error((*at, key), f"{key} is no regular expression: {error}")
        return None
    if key in RESULTS and "name" not in pattern.groupindex:
        file.error((*at, key), f"{key} has no group (?P<name>...), which says what the line is about")
    return pattern


def read_lines(text: str, forms: Sequence[Form]) -> list[Said]:
    """The whole lines of a payload's output that report something."""
    found: list[Said] = []
    times: dict[str, int] = {}
    for line in text[: text.rfind("\n") + 1].splitlines():
        for result, about in _results(line, forms):
            name = " ".join(about.split()).replace("::", ":") or "(unnamed)"
            times[name] = count = times.get(name, 0) + 1
            found.append(Said(name if count == 1 else f"{name} ({count})", result, line.strip()))
            break
    return found


def _results(line: str, forms: Sequence[Form]) -> Iterator[tuple[Result, str]]:
    """What a line reports, by each form that it has, and what about."""
    for form in forms:
        for result, pattern in form.results:
            if (match := pattern.search(line)) is not None:
                name = match["name"]
                yield result, name if form.varies is None else form.varies.sub("*", name)


def said_until_end(text: str, entry: PayloadEntry, forms: Sequence[Form]) -> str | None:
    """What a payload has said, to the whole line with which it said that it has ended; None: it has not."""
    ends = [end for end in (entry.end, *(form.end for form in forms)) if end is not None]
    lines = text[: text.rfind("\n") + 1].splitlines(keepends=True)
    for at, line in enumerate(lines):
        if any(end.search(line.rstrip("\r\n")) for end in ends):
            return "".join(lines[: at + 1])
    return None


def find_payloads(path: Path, shown: str) -> list[PayloadEntry]:
    """The payloads of a directory, a list (TOML) or a file. TomlError with everything that is wrong."""
    if path.is_dir():
        files = [one for one in sorted(path.iterdir()) if one.is_file() and is_multiboot(one)]
        if not files:
            raise TomlError(
                [f"{shown}: no file in it is a Multiboot program (ELF of 32 bits, with a Multiboot header)"]
            )
        return [_of_file(one) for one in files]
    if path.suffix == ".toml":
        return _of_list(path, shown)
    if error := _problem(path):
        raise TomlError([f"{shown}: {error}"])
    return [_of_file(path)]


def _problem(path: Path) -> str:
    """Why a file is no payload, or nothing."""
    try:
        read_program(path)
    except NotMultiboot as error:
        return str(error)
    except OSError as error:
        return str(error.strerror or error)
    return ""


def _of_file(path: Path) -> PayloadEntry:
    return PayloadEntry(path.stem, Payload(path), 1, TIMEOUT, None, (path, 1))


def _of_list(path: Path, shown: str) -> list[PayloadEntry]:
    file = TomlFile.read(path, shown)
    file.known(file.data, (), ("payload",))
    entries = file.data.get("payload")
    if not isinstance(entries, list) or not entries:
        raise TomlError([f"{shown}:1: it has no [[payload]]"])
    found = [_entry(file, index, value, path) for index, value in enumerate(entries)]
    names = [entry.name for entry in found]
    for index, name in enumerate(names):
        if name in names[:index]:
            file.error(
                ("payload", index), f"the name {name!r} is used twice: give one of them another with name"
            )
    file.check()
    return found


def _entry(file: TomlFile, index: int, value: object, path: Path) -> PayloadEntry:
    at: KeyPath = ("payload", index)
    table = file.table(value, at)
    file.known(table, at, _ENTRY_KEYS)
    program = path.parent / file.text(table, "file", at)
    if "file" in table and (error := _problem(program)):
        file.error((*at, "file"), f"{program}: {error}")
    modules = table.get("modules", [])
    if not isinstance(modules, list) or not all(isinstance(one, str) for one in modules):
        file.error((*at, "modules"), "modules must be a list of file names")
        modules = []
    files = tuple(path.parent / one for one in modules)
    for one in files:
        if not one.is_file():
            file.error((*at, "modules"), f"{one}: there is no such file")
    name = file.text(table, "name", at, program.stem or "?")
    arguments = file.text(table, "arguments", at, " ").strip()
    timeout = file.whole(table, "timeout", at, TIMEOUT, *TIMEOUTS)
    cpus = file.whole(table, "cpus", at, 1, *CPUS)
    end, where = _pattern(file, table, "end", at), (path, file.line(at))
    return PayloadEntry(name, Payload(program, arguments, files), cpus, timeout, end, where)
