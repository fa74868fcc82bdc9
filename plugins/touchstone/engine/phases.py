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

    def demand(self, phase: Phase, goal: str | None = None) -> None:
        """Blocked if the phase, one on the way to it, or the goal is given up."""
        for before in (*PHASES[: PHASES.index(phase) + 1], goal):
            if before is not None and before in self._given_up:
                # The check that met it first has shown all of it, such as what a compiler said.
                first, _, more = self._given_up[before].partition("\n")
                raise Blocked(f"{first} (in full above)" if more else first)

    def give_up(self, goal: str, why: str) -> None:
        """It is pointless to try again to reach a goal, and the phases behind it."""
        self._given_up[goal] = why

    def add(self, goal: str, why: str) -> None:
        """A goal was not reached, but may be the next time."""
        self._in_a_row[goal] += 1
        if self._in_a_row[goal] >= STRIKES:
            self.give_up(goal, why)

    def reached(self, goal: str) -> None:
        """A goal was reached."""
        self._in_a_row[goal] = 0
