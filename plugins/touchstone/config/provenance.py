"""What is tested, and with what: version, commit and content of a subject and of Touchstone."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from touchstone import __version__
from touchstone.config.subjects import Subject
from touchstone.drivers.build import SOURCES
from touchstone.journal.lines import Software
from touchstone.shipped import checkout

MAKES = ("Makefile", "Kbuild", "GNUmakefile", "makefile", "CMakeLists.txt", "Cargo.toml", "Cargo.lock")
MORE_SOURCES = (".rs", ".cc", ".cpp", ".hpp", ".asm", ".py", ".sh")
"""Beside those that a bare image is built from."""


def of_touchstone() -> Software:
    """Touchstone itself; the commit of a checkout, where git knows it."""
    root = checkout()
    return Software(name="touchstone", version=__version__, commit="" if root is None else commit_of(root))


def of_subject(subject: Subject) -> Software:
    """A subject. Its version is known when it is loaded: ``TargetLine.facts``."""
    if subject.path is None:
        return Software(name=subject.name)
    return Software(name=subject.name, commit=commit_of(subject.path.parent), content=content_of(subject))


def commit_of(directory: Path) -> str:
    """The commit that is checked out there, with ``-dirty`` if files differ; empty: git knows none."""
    command = ["git", "-C", str(directory), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=30, check=False, env=environment
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def content_of(subject: Subject) -> str:
    """A hash of what a subject is made of: its sources, its claims, how it is deployed.

    Known deviations are not part of it: to write one down changes no hypervisor.
    """
    assert subject.path is not None
    said = {
        "claims": dict(subject.claims),
        "deploy": {key: dict(one) for key, one in subject.options.items()},
    }
    digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode())
    home = subject.path.parent
    roots = {
        home / table[key]
        for table in subject.options.values()
        for key in ("directory", "sources")
        if key in table
    }
    for path in sorted({path for root in roots for path in _sources(root)}):
        digest.update(os.fsencode(os.path.relpath(path, home)) + b"\0")
        try:
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        except OSError:  # it is about to be written, or is not ours to read
            digest.update(b"unreadable")
    return digest.hexdigest()[:16]


def _sources(root: Path) -> Iterator[Path]:
    for parent, names, files in os.walk(root.resolve()):
        names[:] = [name for name in names if not name.startswith(".") and name not in ("build", "target")]
        for name in files:
            wanted = name.endswith((*SOURCES, *MORE_SOURCES)) or name in MAKES
            # What kbuild makes for itself lies beside the sources.
            if wanted and not name.startswith(".") and not name.endswith(".mod.c"):
                yield Path(parent, name)
