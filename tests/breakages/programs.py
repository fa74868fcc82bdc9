"""Faults in programs of user space, for what no target shows: the C programs of tests/hypervisor."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.breakages.faults import Fault, apply
from tests.support.c_programs import HYPERVISOR, PASSED, PROGRAMS, Program, run


class BrokenPrograms:
    """A copy of Veneer, and the objects of the programs: a fault costs only those that it changes."""

    def __init__(self, folder: Path) -> None:
        """``folder`` is empty, or not there."""
        self._folder = folder
        self._hypervisor = folder / "hypervisor"
        shutil.copytree(HYPERVISOR, self._hypervisor)
        self._objects: dict[str, dict[Path, Path]] = {}

    def says(self, fault: Fault) -> str:
        """What its program says with the fault; nothing if the program passes.

        AssertionError if it does not pass without, cannot be built, or has nothing of what the fault changes.
        """
        program = PROGRAMS[fault.program]
        objects = self._of(fault.program)
        changed = {self._hypervisor / edit.file for edit in fault.edits}
        apply(fault.edits, self._hypervisor, fault.place)
        try:
            included = {self._hypervisor / file: test for file, test in program.included}
            again = [included.get(path, path) for path in changed]
            if any(path.suffix == ".h" for path in changed):
                again = list(objects)
            assert objects.keys() >= set(again), f"{fault.id}: {fault.program} has no {fault.edits[0].file}"
            broken = objects | {path: self._compile(program, path, "broken") for path in again}
            return self._run(fault.program, broken)
        finally:
            for path in changed:
                shutil.copyfile(HYPERVISOR / path.relative_to(self._hypervisor), path)

    def _of(self, name: str) -> dict[Path, Path]:
        """The objects of a program without a fault, by source."""
        if name not in self._objects:
            program = PROGRAMS[name]
            sources = program.sources(self._hypervisor)
            objects = {path: self._compile(program, path, name) for path in sources}
            said = self._run(name, objects)
            assert not said, f"{name} does not pass without a fault: {said}"
            self._objects[name] = objects
        return self._objects[name]

    def _compile(self, program: Program, source: Path, where: str) -> Path:
        made = self._folder / where / f"{source.parent.name}-{source.name}.o"
        made.parent.mkdir(exist_ok=True)
        # A fault may leave something unused.
        command = program.command(
            self._hypervisor, more=("-g0", "-Wno-error", "-c", "-o", str(made), str(source))
        )
        _call(command)
        return made

    def _run(self, name: str, objects: dict[Path, Path]) -> str:
        """What the program of these objects says; nothing if it passes."""
        binary = self._folder / f"{name}.program"
        program = PROGRAMS[name]
        _call(
            [
                *program.command(self._hypervisor),
                *program.linked,
                "-o",
                str(binary),
                *map(str, objects.values()),
            ]
        )
        ran = run(binary)
        if ran.returncode == 0:
            assert ran.stdout == PASSED
            return ""
        return ran.stderr.strip() or f"ended by signal {-ran.returncode}"


def _call(command: list[str]) -> None:
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
