"""Suites that were read before, kept on disk: a run need not read again what has not changed.

Reading a suite takes ten times as long as taking what came of it out of a file.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import pickle
import sys
from collections.abc import Collection
from pathlib import Path

import yaml

from touchstone.garbage import uncollected
from touchstone.suite.load import load
from touchstone.suite.model import Suite
from touchstone.whole_file import write_whole

_PACKAGE = Path(__file__).resolve().parent.parent
READERS = ("suite", "machine", "words.py", "garbage.py")
"""Parts of the package that decide what comes of a text."""
_DIGEST = hashlib.sha256().digest_size


def load_kept(directory: Path, path: Path, text: str, requirements: Collection[str]) -> Suite:
    """What ``load`` makes of a suite's text, taken from ``directory`` if it is there.

    A suite without a problem is kept, one for each path as messages name it, with a hash of all that decides
    what it is: the text, the requirements, and the code that reads them. A file that is damaged, or cannot be
    written, costs the time to read the suite. SuiteErrors as ``load``.
    """
    file = directory / f"{hashlib.sha256(os.fsencode(path)).hexdigest()[:32]}.suite"
    key = _key(path, text, requirements)
    kept = take(file, key)
    if kept is not None:
        assert isinstance(kept, Suite)
        return kept
    suite = load(path, text, requirements)
    keep(file, key, suite)
    return suite


def take(file: Path, key: bytes) -> object:
    """What was kept under a key; None if it is not there whole, or under another key."""
    with contextlib.suppress(OSError):
        data = file.read_bytes()
        head, content = data[: 2 * _DIGEST], data[2 * _DIGEST :]
        if head == key + hashlib.sha256(content).digest():
            with uncollected():
                return pickle.loads(content)
    return None


def keep(file: Path, key: bytes, what: object) -> None:
    """Keep it under a key, a SHA-256, in the place of what was there; nothing where none can be written."""
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        content = pickle.dumps(what, pickle.HIGHEST_PROTOCOL)
        write_whole(file, key + hashlib.sha256(content).digest() + content)


def _key(path: Path, text: str, requirements: Collection[str]) -> bytes:
    """A hash of what decides what a suite is."""
    key = hashlib.sha256(readers())
    for part in (
        os.fsencode(path),
        text.encode("utf-8", "surrogatepass"),
        *map(str.encode, sorted(requirements)),
    ):
        key.update(len(part).to_bytes(8, "little") + part)
    return key.digest()


@functools.cache
def readers() -> bytes:
    """A hash of the code that reads suites, and of what it runs on."""
    key = hashlib.sha256(f"{sys.version} {yaml.__version__}".encode())
    for name in READERS:
        part = _PACKAGE / name
        for source in [part] if part.is_file() else sorted(part.rglob("*.py")):
            key.update(f"{source.relative_to(_PACKAGE)}\0".encode() + source.read_bytes())
    return key.digest()
