"""Compiled objects of the bare OS, shared by all images that tests build. See compiler/gcc."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

from tests.support.checkout import ROOT

COMPILER = Path(__file__).parent / "compiler"
OBJECTS = ROOT / "build" / "test-objects"
KEPT = 7 * 24 * 3600
"""Seconds since its making after which an object is made again."""


def share() -> None:
    """Have this process, and those that it starts, compile each object once."""
    path = os.environ.get("PATH", "").split(os.pathsep)
    gcc = shutil.which("gcc")
    # A worker has it from its controller, and so has a run of another checkout that a test starts: the gcc
    # that is found there is the one in front. Without any gcc, the tests say what is missing.
    if "TESTS_GCC" in os.environ or gcc is None:
        return
    os.environ |= {
        "PATH": os.pathsep.join([str(COMPILER), *path]),
        "TESTS_GCC": gcc,
        "TESTS_SOURCES": str((ROOT / "targets" / "bare").resolve()),
        "TESTS_OBJECTS": str(OBJECTS),
    }
    for file in OBJECTS.glob("*"):
        if file.stat().st_mtime < time.time() - KEPT:
            file.unlink(missing_ok=True)
