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
    """The phases that could not be reached, and which of them are given up."""

    def __init__(self) -> None:
        self._in_a_row: Counter[Phase] = Counter()
        self._given_up: dict[Phase, str] = {}

    def demand(self, phase: Phase) -> None:
        """Blocked if the phase, or one on the way to it, is given up."""
        for before in PHASES[: PHASES.index(phase) + 1]:
            if before in self._given_up:
                # The check that met it first has shown all of it, such as what a compiler said.
                first, _, more = self._given_up[before].partition("\n")
                raise Blocked(f"{first} (in full above)" if more else first)

    def give_up(self, phase: Phase, why: str) -> None:
        """It is pointless to try again to reach a phase, and those behind it."""
        self._given_up[phase] = why

    def add(self, phase: Phase, why: str) -> None:
        """A phase was not reached, but may be the next time."""
        self._in_a_row[phase] += 1
        if self._in_a_row[phase] >= STRIKES:
            self.give_up(phase, why)

    def reached(self, phase: Phase) -> None:
        """A phase was reached."""
        self._in_a_row[phase] = 0
