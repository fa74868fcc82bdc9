"""What of a check can run on a target now, and its answers while they are on the way.

The probes of the next check are sent as soon as the one before it is judged to hold: the target runs them
while pytest reports. They are never sent earlier, so that nothing of them is in the evidence of a check that
fails.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING

import pytest

from touchstone.engine.oracle import Planned
from touchstone.engine.records import CheckOnTarget
from touchstone.engine.session import Autopsied, TargetSession
from touchstone.machine.driver import AgentRefused, TargetError
from touchstone.machine.probe import ProbeResult
from touchstone.pytest_plugin.marks import CHECK
from touchstone.suite import requires
from touchstone.suite.model import Check, Requirement

if TYPE_CHECKING:
    from touchstone.pytest_plugin.run import Run

_SELECTING = ("skip", "skipif", "xfail")


@dataclass
class Attempt:
    """The cases of a check, in the order in which they run."""

    check: str
    """Its id."""
    planned: Sequence[Planned]
    """Those that apply to the target."""
    mark: int
    """Where the serial log was before it."""
    outcomes: Iterator[list[ProbeResult] | AgentRefused] | None = None
    """Answers to the ready ones; None: each runs between two readings of the exit counters."""

    @property
    def possible(self) -> Sequence[Planned]:
        """Those that the bare machine does not refuse."""
        return [one for one in self.planned if one.refused is None]

    @property
    def ready(self) -> Sequence[Planned]:
        """Those in front of the first one that has no oracle."""
        return list(takewhile(lambda one: no_oracle(one) is None, self.possible))


def unmet(session: TargetSession, needed: tuple[Requirement, ...]) -> str | None:
    """Why requirements do not hold on a target that was reached.

    Of the bare machine nothing is claimed: what a check demands of the subject's claims is taken as granted,
    so that the check is judged, and fails, instead of being skipped.
    """
    outcome = requires.evaluate_all(needed, session.known)
    if outcome.result is False or (outcome.result is None and not session.subject.absent):
        return outcome.reason
    return None


def ruled_out(session: TargetSession, check: Check) -> str | None:
    """Why a check cannot be judged on a target that was reached."""
    return session.cannot(check.id) or unmet(session, check.requires)


def no_oracle(one: Planned) -> str | None:
    """Why a case cannot be judged."""
    if one.failed is not None:
        return f"it has no oracle: {one.failed}"
    if one.needed and not one.measured:
        return "its oracle was not measured before the subject was loaded"
    return None


def attempt(run: Run, session: TargetSession, place: CheckOnTarget) -> Attempt:
    """A check whose probes are on their way, unless its exits are to be counted."""
    found = _look(run, session, place)
    if session.phase == "native":
        session.measure(one for one in found.planned if one.needed and not one.measured)
    _send(session, found)
    return found


def send_ahead(run: Run, session: TargetSession, following: CheckOnTarget | None) -> None:
    """Send the probes of the next check already, if nothing has to happen before them."""
    if (
        following is None
        or following.target.name != session.target.name
        or following.check.phase != session.phase
        or session.phase == "native"
        or ruled_out(session, following.check) is not None
    ):
        return
    try:
        found = _look(run, session, following)
        if found.ready and _send(session, found):
            session.ahead = found
    except (Autopsied, TargetError):
        return  # the next check finds the same, and it is its own


def next_check(item: pytest.Item, following: pytest.Item | None) -> CheckOnTarget | None:
    """The check that follows at once: one of a suite, with no fixture or mark between the two."""
    if following is None or following.path.suffix == ".py":
        return None
    place = following.stash.get(CHECK, None)
    if place is None or any(getattr(one, "fixturenames", None) for one in (item, following)):
        return None
    return None if any(following.get_closest_marker(name) for name in _SELECTING) else place


def _look(run: Run, session: TargetSession, place: CheckOnTarget) -> Attempt:
    planned = [one for one in run.plan.cases(place) if unmet(session, one.case.requires) is None]
    return Attempt(place.check.id, planned, session.driver.serial_mark())


def _send(session: TargetSession, found: Attempt) -> bool:
    """Send the probes, unless exits are to be counted around each; whether they are on their way."""
    ready = found.ready
    counting = session.phase == "loaded" and not session.subject.absent
    if counting and any(one.case.expect.exits for one in ready):
        return False
    found.outcomes = session.run_many([one.request(session.cpus) for one in ready])
    return True
