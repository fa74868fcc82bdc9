"""Whether a YAML file is a suite. pytest asks this of every YAML file that it finds, so it must be cheap.

A file that is meant as a suite and is none must not be passed over: the run would be green without it. So
below a folder of suites every YAML file is a suite, and one that cannot be read as one is an error. Elsewhere
a file is a suite if it looks like one, and a stranger's other YAML files are left alone.
"""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from touchstone.pytest_plugin.options import home
from touchstone.suite.statement_files import is_statements_file

SUFFIXES = (".yaml", ".yml")
CONFORMANCE = "conformance"
"""The folder of a project's suites."""

_SUITE_LINE = re.compile(rb"""^(?:["']?suite["']?\s*:|\{\s*["']?suite["']?\s*:)""", re.MULTILINE)
_INDENTED = re.compile(rb"""(?:\s*(?:#.*|---.*)?[\r\n])*[ \t]+["']?suite["']?\s*:""")
_OTHER_KEYS = (re.compile(rb"^area\s*:", re.MULTILINE), re.compile(rb"^checks\s*:", re.MULTILINE))
_PEEK = 64 * 1024


def is_yaml(path: Path) -> bool:
    """Whether the file's name says that it is YAML."""
    return path.suffix.lower() in SUFFIXES


def is_suite(path: Path) -> bool:
    """Whether a file has a line ``suite:`` near its top, or other keys of a suite and none of that name."""
    try:
        with path.open("rb") as file:
            text = file.read(_PEEK)
    except OSError:
        return False
    for mark, encoding in ((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be")):
        if text.startswith(mark):
            text = text.decode(encoding, "replace").encode()
    text = text.removeprefix(codecs.BOM_UTF8).replace(b"\r", b"\n")
    return (
        _SUITE_LINE.search(text) is not None
        or _INDENTED.match(text) is not None
        or all(key.search(text) for key in _OTHER_KEYS)
    )


def in_suites_folder(path: Path, session: pytest.Session) -> bool:
    """Whether a YAML file lies in a project's ``conformance``, or below a folder of suites that was named."""
    top = home(session.config)
    conformance = top / CONFORMANCE
    if path.is_relative_to(conformance) and (top / "targets" / "inventory.toml").is_file():
        return not is_statements_file(path, conformance)
    return any(
        # `pytest .` names the whole project, with what else is in it.
        session.isinitpath(folder) and not top.is_relative_to(folder) and _has_suites(folder)
        for folder in path.parents
    ) and not any(is_statements_file(path, folder) for folder in path.parents)


@cache
def _has_suites(folder: Path) -> bool:
    return any(is_suite(path) for path in _yaml_files(folder))


def _yaml_files(folder: Path) -> Iterator[Path]:
    for directory, below, names in os.walk(folder):
        below[:] = [name for name in below if name[0] != "." and name not in ("venv", "node_modules")]
        paths = (Path(directory, name) for name in names)
        yield from (path for path in paths if is_yaml(path) and path.is_file())
