"""Whether a mutant compiles, and to another object: else there is nothing to run."""

from __future__ import annotations

import shutil
import subprocess
from enum import Enum
from pathlib import Path

from tests.breakages.faults import Fault, apply


class Compiled(Enum):
    """What the compiler makes of a mutant, with the flags of a bare image."""

    REJECTED = "does not compile"
    SAME = "has the object of Veneer without it"
    CHANGED = "can be run"


class Objects:
    """A copy of Veneer, and the objects of its bare image: a mutant costs that of its file."""

    def __init__(self, root: Path, folder: Path) -> None:
        """``folder`` is not there yet, or empty."""
        self._hypervisor = folder / "hypervisor"
        self._originals = root / "hypervisor"
        self._makefile = root / "targets" / "bare"
        self._build = folder / "build"
        self._without: dict[str, bytes] = {}
        shutil.copytree(self._originals, self._hypervisor)

    def examine(self, fault: Fault) -> Compiled:
        """Compile the file that a mutant changes.

        AssertionError if it does not compile without the mutant either.
        """
        (file,) = {edit.file for edit in fault.edits}
        if file not in self._without:
            found, said = self._compile(file)
            assert found is not None, said
            self._without[file] = found
        try:
            apply(fault.edits, self._hypervisor, fault.place)
            found, _ = self._compile(file)
        finally:
            shutil.copyfile(self._originals / file, self._hypervisor / file)
        if found is None:
            return Compiled.REJECTED
        return Compiled.SAME if found == self._without[file] else Compiled.CHANGED

    def _compile(self, file: str) -> tuple[bytes | None, str]:
        """The object without what only a debugger reads, which names lines; and what the compiler says."""
        made = self._build / "obj" / "subject" / f"{file}.o"
        made.unlink(missing_ok=True)
        command = ["make", "-s", "-C", str(self._makefile), f"BUILD={self._build}"]
        command += [f"SUBJECT={self._hypervisor}", str(made)]
        built = subprocess.run(command, capture_output=True, text=True, check=False)
        if built.returncode:
            return None, built.stderr
        subprocess.run(["objcopy", "--strip-debug", str(made)], check=True)
        return made.read_bytes(), ""
