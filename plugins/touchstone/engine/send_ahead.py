"""What of a check can run on a target now, and when its probes are sent.

The probes of the next check are sent as soon as the check before it is judged to hold: the target runs them
while pytest reports. They are never sent earlier, so that nothing of them is in the evidence of a check that
fails.
"""

from __future__ import annotations

from touchstone.engine.ahead import Attempt
from touchstone.engine.as_found import cannot_judge, cannot_judge_case
from touchstone.engine.outcomes import Autopsied
from touchstone.engine.session import TargetSession
from touchstone.machine.driver import TargetError
from touchstone.suite import requires
from touchstone.suite.model import Check, Requirement


def unmet(session: TargetSession, needed: tuple[Requirement, ...]) -> str | None:
    """Why requirements do not hold on a target that was reached.

    Nothing is claimed of the bare machine: a requirement of the subject's claims counts as met there, so that
    the check is judged, and fails, instead of being skipped.
    """
    outcome = requires.evaluate_all(needed, session.known.facts)
    if outcome.result is False or (outcome.result is None and not session.subject.absent):
        return outcome.reason
    return None


def ruled_out(session: TargetSession, check: Check) -> str | None:
    """Why a check cannot be judged on a target that was reached."""
    reason = session.cannot(check.id) or unmet(session, check.requires)
    if reason is None and session.known.as_found:
        return cannot_judge(check, ring0=session.known.ring0)
    return reason


def attempt(session: TargetSession, check: Check) -> Attempt:
    """The cases of a check; their probes were sent, unless its exits are to be counted."""
    found = _cases_that_apply(session, check)
    if session.phase == "native":
        session.bare.measure(one for one in found.planned if one.needed and not one.measured)
    _send(session, found)
    return found


def send_ahead(session: TargetSession) -> None:
    """Send the probes of the check that follows, if nothing has to happen before them."""
    following = session.ahead.following
    if (
        following is None
        or following.target.name != session.target.name
        or not session.is_at(following.check)
        or session.phase == "native"
        or ruled_out(session, following.check) is not None
    ):
        return
    try:
        found = _cases_that_apply(session, following.check)
        if found.ready and _send(session, found):
            session.ahead.sent(found)
    except (Autopsied, TargetError):
        return  # the check that follows meets the same error, and reports it


def _cases_that_apply(session: TargetSession, check: Check) -> Attempt:
    planned = [
        one
        for one in session.cases(check.id)
        if unmet(session, one.case.requires) is None
        and not (session.known.as_found and cannot_judge_case(check, one.case, ring0=session.known.ring0))
    ]
    return Attempt(check.id, planned, session.serial_position(), as_found=session.known.as_found)


def _send(session: TargetSession, found: Attempt) -> bool:
    """Send the probes, unless something happens between them; whether they were sent."""
    ready = found.ready
    if any(one.then for one in ready):
        return False
    counting = session.phase == "loaded" and not session.subject.absent
    if counting and any(one.case.expect.exits for one in ready):
        return False
    found.outcomes = session.run_many([one.request(session.cpus) for one in ready])
    return True
