"""Which faults share a machine.

A machine is expensive, a check is not. Faults share one if no two of them name the same check and none of
them takes the machine with it. A check that is red then speaks for its own fault, unless another one of the
batch turned it red. A second round settles that: no two faults that shared a machine in the first share one
in the second.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
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
        text = repr([(fault.id, fault.edits, fault.check, fault.target) for fault in self.faults])
        return f"{self.name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def make_batches(faults: Iterable[Fault], rounds: int, most: int = MOST) -> list[Batch]:
    """Batches in which every fault occurs ``rounds`` times, each time with others."""
    batches = []
    for target, mine in _by_target(fault for fault in faults if fault.check).items():
        together: set[frozenset[str]] = set()
        for turn in range(1, rounds + 1):
            again = [fault for fault in reversed(mine) if not fault.alone]  # nobody disturbs the others
            groups = _pack(mine if turn == 1 else again, together, most)
            for number, group in enumerate(groups, 1):
                together.update(frozenset((one.id, other.id)) for one, other in combinations(group, 2))
                batches.append(Batch(f"{target}-{turn}.{number}", target, tuple(group)))
    for target, mine in _by_target(fault for fault in faults if not fault.check).items():
        for number, group in enumerate(_pack(mine, set(), most), 1):
            batches.append(Batch(f"{target}-quiet.{number}", target, tuple(group), quiet=True))
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
