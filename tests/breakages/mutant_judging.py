"""What becomes of mutants: those that can be run are, until a check is red or a C program fails."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from tests.breakages.faults import Fault
from tests.breakages.judging import BY_PROGRAM, CAUGHT, SEEN, SURVIVED, Result, Run
from tests.breakages.mutant_objects import Compiled
from tests.breakages.programs import BrokenPrograms
from tests.support.c_programs import PROGRAMS

TARGETS = {
    "amd": ("qemu-amd", "bochs-amd"),
    "intel": ("bochs-intel",),
    "both": ("qemu-amd", "bochs-intel", "bochs-amd"),
}
"""Where a mutant is run, by the vendor of its file: what costs least comes first."""

Examine = Callable[[Fault], Compiled]
AskPrograms = Callable[[Fault], str]
"""What a C program says of a mutant; nothing if all of them pass."""


@dataclass
class Choice:
    """Mutants that can be run, and what became of the others."""

    mutants: list[Fault] = field(default_factory=list)
    compiled: Counter[Compiled] = field(default_factory=Counter)


def runnable(mutants: Iterator[Fault], count: int, examine: Examine) -> Choice:
    """The first ``count`` mutants that compile to another object."""
    choice = Choice()
    while len(choice.mutants) < count and (mutant := next(mutants, None)) is not None:
        compiled = examine(mutant)
        choice.compiled[compiled] += 1
        if compiled is Compiled.CHANGED:
            choice.mutants.append(mutant)
    return choice


def judge_mutant(mutant: Fault, run: Run, ask_programs: AskPrograms) -> Result:
    """All suites on each target, until a check sees the mutant: which one is first does not matter.

    What the targets do not show, the C programs may.
    """
    said = []
    seconds = 0.0
    for target in TARGETS[mutant.vendor]:
        try:
            outcome = run(target, (mutant,), ["conformance"], 1)
        except AssertionError as error:
            # An image that does not boot judges nothing. It is no check's merit, so somebody has to look.
            said.append(f"{target}: no run: {str(error).strip().splitlines()[-1]}")
            continue
        seconds += outcome.seconds
        if seen_by := [check for check, verdict in outcome.red.items() if verdict in SEEN]:
            verdict = outcome.red[seen_by[0]]
            return Result(mutant.id, CAUGHT, seconds, 0, seen_by, f"{target}: {verdict}", mutant.digest)
        said.append(f"{target}: {', '.join(sorted({*outcome.red.values()})) or 'all checks pass'}")
    if seen := ask_programs(mutant):
        return Result(mutant.id, BY_PROGRAM, seconds, 0, [], seen, mutant.digest)
    return Result(mutant.id, SURVIVED, seconds, 0, [], "; ".join(said), mutant.digest)


def ask_all(programs: BrokenPrograms, mutant: Fault) -> str:
    """Which C program fails with the mutant, and what it says; nothing if none with its file does."""
    (file,) = {edit.file for edit in mutant.edits}
    for name, program in PROGRAMS.items():
        if file in program.covered and (said := programs.says(replace(mutant, program=name))):
            return f"{name}: {said.splitlines()[-1]}"
    return ""
