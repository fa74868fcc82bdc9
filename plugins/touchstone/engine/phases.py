"""The steps that bring a target to a phase: what each does, and whose doing it is if it kills the target."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from touchstone.engine.outcomes import Blocked
from touchstone.words import PHASES, Phase

STRIKES = 2
"""A target that cannot be brought to a phase so often in a row is given up."""


class Party(Enum):
    """Whose doing a step is."""

    LAB = "lab"
    """The framework, the emulator, the link, the machine: no subject runs on it."""
    SUBJECT = "subject"


@dataclass(frozen=True)
class Step:
    """One step towards a phase."""

    text: str
    """What it does: ``loading Veneer on qemu-amd``."""
    party: Party
    """Whose doing it is if the target does not survive the step."""
    take: Callable[[], object]
    """Does it. Raises Autopsied, AgentRefused, InfrastructureError, Unavailable."""

    def __str__(self) -> str:
        return self.text


class Setbacks:
    """The goals that could not be reached, and which of them are given up.

    A goal is a phase, or the key of a state that is prepared before the subject is loaded or unloaded.
    """

    def __init__(self) -> None:
        self._in_a_row: Counter[str] = Counter()
        self._given_up: dict[str, str] = {}
        self._last: str | None = None
        """The goal that was not reached last."""
        self._strikes = 0
        self.sickness = ""
        """Why the lab cannot provide the target; empty: it can, so far."""

    def demand(self, phase: Phase, goal: str | None = None) -> None:
        """Blocked if the phase, one on the way to it, or the goal is given up."""
        for before in (*PHASES[: PHASES.index(phase) + 1], goal):
            if before is not None and before in self._given_up:
                # The check that met it first has shown all of it, such as what a compiler said.
                first, _, more = self._given_up[before].partition("\n")
                raise Blocked(f"{first} (in full above)" if more else first)

    def give_up(self, goal: str, why: str, by_lab: bool = False) -> None:
        """It is pointless to try again to reach a goal, and the phases behind it."""
        self._given_up[goal] = why
        self._last = goal
        if by_lab:
            self.sickness = why

    def add(self, goal: str, why: str, by_lab: bool = False) -> None:
        """A goal was not reached, but may be the next time. ``by_lab``: by the lab's doing."""
        self._in_a_row[goal] += 1
        self._last = goal
        if self._in_a_row[goal] >= STRIKES:
            self.give_up(goal, why, by_lab)

    def forgive(self) -> None:
        """The last failure to reach a goal does not count."""
        if self._last is not None:
            self._given_up.pop(self._last, None)
            self._in_a_row[self._last] = max(0, self._in_a_row[self._last] - 1)
        self._last, self.sickness = None, ""

    def strike(self, why: str) -> None:
        """A check could not be judged, by the lab's doing."""
        self._strikes += 1
        if self._strikes >= STRIKES:
            self.give_up("native", why, by_lab=True)

    def no_strike(self) -> None:
        """A check was judged."""
        self._strikes = 0

    def reached(self, goal: str) -> None:
        """A goal was reached."""
        self._in_a_row[goal] = 0
