"""Compiled objects, shared by all that the tests build: bare images, modules for Linux, copies of Veneer.

See compiler/gcc.c.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from tests.support.checkout import ROOT

SOURCES = Path(__file__).parent / "compiler"
WRAPPERS = ROOT / "build" / "test-compiler"
OBJECTS = ROOT / "build" / "test-objects"
KEPT = 7 * 24 * 3600
"""Seconds since its making after which an object is made again."""
MOST = 4000
"""How many objects are kept; one takes some 50 kB."""


def others(path: Iterable[str]) -> dict[str, str]:
    """Compilers with a version in their names, as the kernel's build calls them, and where they are."""
    found: dict[str, str] = {}
    for folder in map(Path, path):
        for file in sorted(folder.glob("gcc-[0-9]*")):
            if re.fullmatch(r"gcc-[0-9]+", file.name) and os.access(file, os.X_OK):
                found.setdefault(file.name, str(file))
    return found


@functools.cache
def wrapper(gcc: str) -> Path:
    """What is put in front of ``gcc``, under the same name; built if it is not there."""
    version = subprocess.run([gcc, "--version"], capture_output=True, check=True).stdout
    sources = [source.read_bytes() for source in sorted(SOURCES.glob("*.[ch]"))]
    file = WRAPPERS / hashlib.sha256(version + b"".join(sources)).hexdigest()[:16] / "gcc"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=file.parent) as folder:
            new = Path(folder) / "gcc"
            flags = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror"]
            subprocess.run([gcc, *flags, "-o", str(new), *map(str, sorted(SOURCES.glob("*.c")))], check=True)
            new.replace(file)  # whole, whoever else builds it
    return file


def share() -> None:
    """Have this process, and those that it starts, compile each object once."""
    path = os.environ.get("PATH", "").split(os.pathsep)
    gcc = shutil.which("gcc")
    # A worker has it from its controller, and so has a run of another checkout that a test starts: the gcc
    # that is found there is the one in front. Without any gcc, the tests say what is missing.
    if "TESTS_GCC" in os.environ or gcc is None:
        return
    version = subprocess.run([gcc, "-dumpfullversion"], capture_output=True, text=True, check=False).stdout
    folder = OBJECTS / version.strip()
    folder.mkdir(parents=True, exist_ok=True)
    file = wrapper(gcc)
    for name, place in others(path).items():
        with contextlib.suppress(FileExistsError):
            file.with_name(name).symlink_to(file.name)
        os.environ[f"TESTS_{name.upper().replace('-', '_')}"] = place
    os.environ |= {
        "PATH": os.pathsep.join([str(file.parent), *path]),
        "TESTS_GCC": gcc,
        "TESTS_OBJECTS": str(folder),
    }
    remove_old()


def remove_old() -> None:
    """Keep the newest objects."""
    ages = []
    for file in OBJECTS.glob("*/*"):
        with contextlib.suppress(FileNotFoundError):  # another process removes it
            ages.append((file.stat().st_mtime, file))
    for number, (made, file) in enumerate(sorted(ages, reverse=True)):
        if number >= 2 * MOST or made < time.time() - KEPT:
            file.unlink(missing_ok=True)
