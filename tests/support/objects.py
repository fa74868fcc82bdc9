"""Compiled objects, shared by all that the tests build: bare images, modules for Linux, copies of Veneer.

See compiler/gcc.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from pathlib import Path

from tests.support.checkout import ROOT

COMPILER = Path(__file__).parent / "compiler"
OBJECTS = ROOT / "build" / "test-objects"
KEPT = 7 * 24 * 3600
"""Seconds since its making after which an object is made again."""
MOST = 4000
"""How many objects are kept; one takes some 50 kB."""


def share() -> None:
    """Have this process, and those that it starts, compile each object once."""
    path = os.environ.get("PATH", "").split(os.pathsep)
    gcc = shutil.which("gcc")
    # A worker has it from its controller, and so has a run of another checkout that a test starts: the gcc
    # that is found there is the one in front. Without any gcc, the tests say what is missing.
    if "TESTS_GCC" in os.environ or gcc is None:
        return
    version = subprocess.run([gcc, "-dumpfullversion"], capture_output=True, text=True, check=False).stdout
    os.environ |= {
        "PATH": os.pathsep.join([str(COMPILER), *path]),
        "TESTS_GCC": gcc,
        "TESTS_OBJECTS": str(OBJECTS / version.strip()),
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
