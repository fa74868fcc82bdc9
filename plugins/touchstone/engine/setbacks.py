"""What went wrong on the way to a phase: what that means for a check, and which goals are given up for it."""

from __future__ import annotations

from collections import Counter

from touchstone.engine.outcomes import (
    Autopsied,
    Blocked,
    Deviation,
    Unavailable,
    infrastructure,
)
from touchstone.engine.phases import Party, Step
from touchstone.machine.driver import AgentRefused, HostError, InfrastructureError
from touchstone.words import PHASES, Phase

STRIKES = 2
"""A target that cannot be brought to a phase so often in a row is given up."""


class Setbacks:
    """The goals that could not be reached, and which of them are given up.

    A goal is a phase, or the key of a state that is prepared before the subject is loaded or unloaded.
    """

    def __init__(self, target: str) -> None:
        self._target = target
        self._unavailable: str | None = None
        """Why this host cannot run the target."""
        self._in_a_row: Counter[str] = Counter()
        self._given_up: dict[str, str] = {}
        self._last: str | None = None
        """The goal that was not reached last."""
        self._strikes = 0
        self.sickness = ""
        """Why the lab cannot provide the target; empty: it can, so far."""

    def demand(self, phase: Phase, goal: str | None = None) -> None:
        """Blocked if the phase, one on the way to it, or the goal is given up; Unavailable if all are."""
        if self._unavailable is not None:
            raise Unavailable(self._unavailable)
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

    def step_failed(
        self, step: Step, error: Exception, goal: str, *, started: bool, prepared: bool
    ) -> Exception:
        """Count a failure on the way to a goal: how the check ends that is on that way.

        ``started``: whether the target was reached before. ``prepared``: whether its CPUs are in a state in
        which the subject may refuse to be loaded, and would not in the usual one.
        """
        if isinstance(error, Unavailable):
            self._unavailable = str(error)
            return error
        if isinstance(error, AgentRefused):
            if prepared:
                return Deviation(f"{step} in the state that the check prepares was refused: {error}")
            self.give_up(goal, f"{step} was refused: {error}")
            return Blocked(f"{step} was refused: {error}")
        count = self.add if started else self.give_up
        if isinstance(error, InfrastructureError):
            count(goal, f"{step}: {error}", not isinstance(error, HostError))
            return infrastructure(error, f"{step}: {error}")
        if isinstance(error, Autopsied):
            reason, by_lab = error.autopsy.reason, step.party is Party.LAB
            count(goal, f"{self._target} did not survive {step}: {reason}", by_lab)
            if by_lab:
                return infrastructure(error.error, f"{step}: {error.error}")
            return error.finding(f"the target did not survive {step}: {reason}")
        # A mistake in a driver: shown with its traceback, but not for every check.
        count(goal, f"{step}: {type(error).__name__}: {error}")
        return error
