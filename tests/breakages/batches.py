"""Which faults share a machine.

A machine is expensive, a check is not. Faults share one if no two of them name the same check and none of
them takes the machine with it. A check that is red then speaks for its own fault, unless another one of the
batch turned it red. A second round settles that: no two faults that shared a machine in the first share one
in the second.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

from tests.breakages.faults import Fault

MOST = 14
"""How many faults a machine has at most: the more there are, the more often one hides another."""


@dataclass(frozen=True)
class Batch:
    """Faults of one target that are put into one Veneer."""

    name: str
    target: str
    faults: tuple[Fault, ...]
    quiet: bool = False
    """They are equivalent, or cannot be shown: nothing must see them."""

    @property
    def key(self) -> str:
        """Names what is run: another edit, check or choice of faults has another key."""
        text = repr([fault.digest for fault in self.faults])
        return f"{self.name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def make_batches(
    faults: Iterable[Fault], rounds: int, most: int = MOST, done: Iterable[tuple[str, list[str]]] = ()
) -> list[Batch]:
    """Batches in which every fault occurs ``rounds`` times, each time with others.

    ``done``: what has been run already, and beside which others. Machines with many faults come first, and
    all of a round before the next one: a run that is broken off has seen as much as it could.
    """
    turns: Counter[str] = Counter()
    together: set[frozenset[str]] = set()
    for name, others in done:
        turns[name] += 1
        together.update(frozenset((name, other)) for other in others)
    batches = []
    faults = list(faults)
    for turn in range(1, rounds + 1):
        left = [fault for fault in faults if turns[fault.id] < turn]
        if turn > 1:  # nobody disturbs those that are alone
            left = [fault for fault in reversed(left) if fault.check and not fault.alone]
        mine = []
        for target, some in _by_target(fault for fault in left if fault.check).items():
            for number, group in enumerate(_pack(some, together, most), 1):
                together.update(frozenset((one.id, other.id)) for one, other in combinations(group, 2))
                mine.append(Batch(f"{target}-{turn}.{number}", target, tuple(group)))
        for target, some in _by_target(fault for fault in left if not fault.check).items():
            for number, group in enumerate(_pack(some, set(), most), 1):
                mine.append(Batch(f"{target}-quiet.{number}", target, tuple(group), quiet=True))
        batches += sorted(mine, key=lambda batch: (batch.quiet, -len(batch.faults)))
    return batches


def choose_sample(faults: Iterable[Fault], size: int) -> list[Fault]:
    """A fixed choice of those that are marked for it, spread evenly over vendors and kinds."""
    kinds: dict[tuple[str, str], list[Fault]] = defaultdict(list)
    for fault in sorted(faults, key=_shuffled):
        if fault.check and fault.sample and not fault.alone:
            kinds[fault.vendor, fault.kind].append(fault)
    chosen: list[Fault] = []
    named: set[tuple[str, str]] = set()
    turns = sorted(kinds)
    while turns and len(chosen) < size:
        for turn in list(turns):
            free = (fault for fault in kinds[turn] if (fault.target, fault.check) not in named)
            found = next(free, None)
            if found is None:
                turns.remove(turn)
            elif len(chosen) < size:
                chosen.append(found)
                named.add((found.target, found.check))
    return chosen


def _shuffled(fault: Fault) -> str:
    return hashlib.sha256(fault.id.encode()).hexdigest()


def _by_target(faults: Iterable[Fault]) -> dict[str, list[Fault]]:
    found: dict[str, list[Fault]] = defaultdict(list)
    for fault in faults:
        found[fault.target].append(fault)
    return found


def _pack(faults: list[Fault], together: set[frozenset[str]], most: int) -> list[list[Fault]]:
    groups: list[list[Fault]] = []
    for fault in faults:
        for group in groups:
            if len(group) < most and not any(_disturb(fault, other, together) for other in group):
                group.append(fault)
                break
        else:
            groups.append([fault])
    return groups


def _disturb(one: Fault, other: Fault, together: set[frozenset[str]]) -> bool:
    if one.alone or other.alone or frozenset((one.id, other.id)) in together:
        return True
    if one.check and one.check == other.check:
        return True
    places = {(edit.file, edit.find) for edit in one.edits}
    return any((edit.file, edit.find) in places for edit in other.edits)
