"""Which mutants are run: lines of code, each as likely as the other, and one mutation of each."""

from __future__ import annotations

import hashlib
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import tests.breakages.mutate_assembly as assembly
import tests.breakages.mutate_c as c
from tests.breakages.faults import VENDORS, Edit, Fault
from tests.breakages.mutate_c import Mutation
from tests.breakages.neighbours import neighbours_below

ROOMS = {"core": "both", "svm": "amd", "vmx": "intel", "hosts/bare": "both"}
"""Where the sources of a bare image are, below ``hypervisor/``, and whose processors they are for."""
LANGUAGES = {".c": c.mutations_of, ".S": assembly.mutations_of}
LONGEST = 60
"""Of a text in a title."""

Line = tuple[str, int]
"""A file below ``hypervisor/``, and the number of a line."""


def mutations_below(hypervisor: Path, rooms: Iterable[str] = ROOMS) -> dict[Line, list[Mutation]]:
    """All mutations of these rooms, by the line where they begin."""
    neighbours = neighbours_below(hypervisor)
    found: dict[Line, list[Mutation]] = defaultdict(list)
    for room in rooms:
        for path in sorted((hypervisor / room).iterdir()):
            if path.suffix in LANGUAGES:
                source = path.read_bytes()
                for one in LANGUAGES[path.suffix](source, neighbours):
                    found[f"{room}/{path.name}", source.count(b"\n", 0, one.start) + 1].append(one)
    return found


def choose(hypervisor: Path, seed: int, rooms: Iterable[str] = ROOMS) -> Iterator[Fault]:
    """Mutants in the order of a seed, one for each line.

    Of a line, each operator is as likely as the other, and so is each of the operator's mutations: a line
    with many numbers does not count more than one with a call.
    """
    generator = random.Random(seed)
    lines = sorted(mutations_below(hypervisor, rooms).items())
    generator.shuffle(lines)
    for (file, line), mutations in lines:
        operator = generator.choice(sorted({one.operator for one in mutations}))
        mutation = generator.choice([one for one in mutations if one.operator == operator])
        yield as_fault(hypervisor, file, line, mutation)


def as_fault(hypervisor: Path, file: str, line: int, mutation: Mutation) -> Fault:
    """The mutation as an entry of the catalogue would have it; its id does not depend on the seed."""
    source = (hypervisor / file).read_bytes()
    edit = _edit(file, source, mutation)
    vendor = next(vendor for room, vendor in ROOMS.items() if file.startswith(f"{room}/"))
    digest = hashlib.sha256(repr(edit).encode()).hexdigest()[:6]
    name = file.removeprefix("hosts/").rpartition(".")[0].replace("/", "-").replace("_", "-")
    old = source[mutation.start : mutation.end].decode()
    return Fault(
        id=f"{name}-{mutation.operator}-{digest}",
        title=f"{file}:{line}: {_short(old)} -> {_short(mutation.new) or 'nothing'}",
        kind=mutation.operator,
        vendor=vendor,
        target=VENDORS[vendor],
        edits=(edit,),
        check="",
        place=f"mutant of {file}:{line}",
    )


def _edit(file: str, source: bytes, mutation: Mutation) -> Edit:
    """Whole lines, as many as it takes for a text that occurs once."""
    start = source.rfind(b"\n", 0, mutation.start) + 1
    end = source.find(b"\n", mutation.end)
    end = len(source) if end < 0 else end + 1
    while source.count(source[start:end]) > 1:
        start = source.rfind(b"\n", 0, start - 1) + 1
    new = source[start : mutation.start] + mutation.new.encode() + source[mutation.end : end]
    return Edit(file, source[start:end].decode(), new.decode())


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."
