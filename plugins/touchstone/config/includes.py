"""The TOML files that an inventory includes, and those that they include in turn."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from touchstone.config.tomlfile import TomlError, TomlFile, describe
from touchstone.shipped import source_root

KEY = "include"
SHIPPED = "touchstone:"
"""Begins the name of a file of Touchstone's own ``targets/``, wherever Touchstone is installed."""
DEEPEST = 16
"""Files that include each other in a row."""


def read_with_includes(path: Path, shown: str | None = None) -> list[TomlFile]:
    """A file, and all that it includes, each of them once: itself first, then the others as they are named.

    What is wrong with an ``include`` is noted in the file that has it, at its line, and so is what is wrong
    with the TOML of an included file. TomlError if the file itself cannot be read.
    """
    first = TomlFile.read(path, shown)
    found = {path.resolve(): first}
    _follow(first, (first,), found)
    return list(found.values())


def check_all(files: Iterable[TomlFile]) -> None:
    """Raise everything that was noted in any of them, file by file, in the order of the lines."""
    errors: list[str] = []
    for file in files:
        try:
            file.check()
        except TomlError as error:
            errors += error.errors
    if errors:
        raise TomlError(errors)


def _follow(file: TomlFile, way: tuple[TomlFile, ...], found: dict[Path, TomlFile]) -> None:
    """Read what a file includes. ``way``: the files that led to it, itself at the end."""
    named = file.data.get(KEY, [])
    if not isinstance(named, list) or not all(isinstance(one, str) and one for one in named):
        what = (
            named
            if not isinstance(named, list)
            else next(x for x in named if not isinstance(x, str) or not x)
        )
        file.error((KEY,), f'{KEY} must be a list of files such as ["lab.toml"], not {describe(what)}')
        return
    for name in named:
        path, shown = _located(file, name)
        if any(path.resolve() == before.path.resolve() for before in way):
            round_trip = " -> ".join([*(one.shown for one in way), shown])
            file.error((KEY,), f"{KEY} {name!r}: the files include each other without an end: {round_trip}")
        elif path.resolve() in found:
            continue
        elif len(way) == DEEPEST:
            file.error((KEY,), f"{KEY} {name!r}: more than {DEEPEST} files include each other in a row")
        else:
            try:
                other = TomlFile.read(path, shown)
            except TomlError as error:
                file.errors += [f"{file.where((KEY,))}: {KEY} {name!r}: {one}" for one in error.errors]
                continue
            found[path.resolve()] = other
            _follow(other, (*way, other), found)


def _located(file: TomlFile, name: str) -> tuple[Path, str]:
    """Where an included file is, and how messages name it."""
    if name.startswith(SHIPPED):
        return source_root() / "targets" / name.removeprefix(SHIPPED), name
    path = Path(name).expanduser()
    if path.is_absolute():
        return path, str(path)
    inside = file.shown.startswith(SHIPPED)
    around = "" if inside else os.path.dirname(file.shown)
    shown = os.path.normpath(os.path.join(around, name))
    return file.path.parent / name, f"{SHIPPED}{shown}" if inside else shown
