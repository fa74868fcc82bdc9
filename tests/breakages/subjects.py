"""Copies of Veneer with faults in them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from tests.breakages.faults import Fault, apply
from tests.support import objects

KEPT = 40
"""How many copies are kept. One takes half a MiB."""
DIGITS = 16
"""Length of a copy's name."""
NAME = "veneer-broken"
"""The subject's name in all of them: the build cache keeps the images that were used last of each name."""


def break_veneer(root: Path, folder: Path, faults: Iterable[Fault]) -> Path:
    """The TOML file of a subject with these faults; CatalogueError if an edit does not apply.

    The copy's folder is named by its content: an image that has been built from it is taken again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix=".new-", dir=folder))
    try:
        copy = new / "hypervisor"
        shutil.copytree(root / "hypervisor", copy)
        for fault in faults:
            apply(fault.edits, copy, fault.place)
        makefile = copy / "subject.mk"
        text, count = re.subn(r"(?m)^SUBJECT_NAME := .*$", f"SUBJECT_NAME := {NAME}", makefile.read_text())
        assert count == 1, f"{makefile}: SUBJECT_NAME is set {count} times"
        makefile.write_text(text)
        home = folder / _digest(copy)
        if not home.exists():
            new.chmod(0o755)
            try:
                new.rename(home)
            except OSError:  # another worker was faster
                assert home.is_dir()
        os.utime(home)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return home / "hypervisor" / "veneer.toml"


def remove_old(folder: Path) -> None:
    """Remove all copies but those that were used last, and old objects."""
    for path in _by_age(folder.glob("?" * DIGITS))[KEPT:]:
        shutil.rmtree(path, ignore_errors=True)
    objects.remove_old()


def _by_age(paths: Iterable[Path]) -> list[Path]:
    """The newest first; without what another worker is removing."""
    ages = []
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            ages.append((path.stat().st_mtime, path))
    return [path for _, path in sorted(ages, reverse=True)]


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder)}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:DIGITS]
