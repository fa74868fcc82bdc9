"""How long checks take, by the journals of earlier runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from touchstone.journal.lines import Key
from touchstone.journal.read import Journal
from touchstone.words import Verdict

NOT_JUDGED = (Verdict.BLOCKED, Verdict.INFRASTRUCTURE)
"""What such a check took says nothing of what it takes."""


class Durations:
    """What each check took in the newest run that judged it, and what it took to get targets there.

    A run of a few checks says little about a whole one, and most of what it took is the start of its target.
    """

    def __init__(self) -> None:
        self.paths: list[Path] = []
        """The journals, the newest one first."""
        self._checks: dict[Key, float] = {}
        self._reaching: dict[str, list[tuple[int, float]]] = {}
        """Target to how many of its checks were judged, and seconds of reaching; the newest run first."""

    def take(self, journal: Journal) -> None:
        """Take in a journal that is older than those before."""
        self.paths.append(journal.path)
        runs: dict[str, tuple[int, float]] = {}
        for key, line in journal.judged.items():
            if line.verdict in NOT_JUDGED:
                continue
            self._checks.setdefault(key, max(0.0, line.seconds - line.reaching))
            count, reaching = runs.get(key.target, (0, 0.0))
            runs[key.target] = count + 1, reaching + line.reaching
        for target, one in runs.items():
            self._reaching.setdefault(target, []).append(one)

    def expected(self, target: str, keys: Sequence[Key]) -> float | None:
        """How long checks of a target take, if each takes what it took, and a new one what the others do.

        The target gets there as in the run with the most similar number of checks, since the bare machine is
        asked what they ask. None: none of them is known.
        """
        known = [self._checks[key] for key in keys if key in self._checks]
        if not known:
            return None if keys else 0.0
        runs = self._reaching.get(target, [])
        _, reaching = min(runs, key=lambda one: abs(one[0] - len(keys)), default=(0, 0.0))
        return reaching + sum(known) / len(known) * len(keys)

    @property
    def seconds(self) -> Mapping[str, float]:
        """What all checks of each target take that are known."""
        keys: dict[str, list[Key]] = {}
        for key in self._checks:
            keys.setdefault(key.target, []).append(key)
        return {target: self.expected(target, found) or 0.0 for target, found in keys.items()}
