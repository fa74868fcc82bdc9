"""What of a check can run on a target now, and when its probes are sent.

The probes of the next check are sent as soon as the check before it is judged to hold: the target runs them
while pytest reports. They are never sent earlier, so that nothing of them is in the evidence of a check that
fails. In front of them, the loaded subject is looked for: see ``presence``.
"""

from __future__ import annotations

from touchstone.engine.ahead import Answers, Attempt, results_in
from touchstone.engine.as_found import cannot_judge, cannot_judge_case
from touchstone.engine.counting import questions
from touchstone.engine.outcomes import Autopsied, Deviation
from touchstone.engine.records import CheckRecord
from touchstone.engine.session import TargetSession
from touchstone.machine.driver import Question, TargetError
from touchstone.machine.probe import ProbeRequest
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
    """The cases of a check; their probes were sent, unless they are sequences."""
    found = _cases_that_apply(session, check)
    if session.phase == "native":
        session.bare.measure(one for one in found.planned if one.needed and not one.measured)
    if not _is_sequence(found):
        found.answers = session.ask_many(_all_questions(session, found))
    return found


def find_gone(session: TargetSession, record: CheckRecord) -> str | None:
    """From which CPUs of a check the subject is gone, though nobody has unloaded it; None: from none.

    The target counts as not reached then: it is reset, and the subject loaded again, for what follows. Raises
    what ``TargetSession.run_many`` raises.
    """
    look = _look(session, record)
    return None if look is None else _concluded(session, session.run_many([look]))


def end_check(session: TargetSession, record: CheckRecord) -> None:
    """A check holds: send the probes of the one that follows, if nothing has to happen before them.

    Deviation if the subject is gone behind it; Crash or Hang if the target does not survive looking for it.
    """
    look = _look(session, record)
    found = _following(session)
    asked = [] if found is None else _all_questions(session, found)
    if look is None and not asked:
        return
    try:
        answers = session.ask_many([*([look] if look is not None else []), *asked])
        gone = None if look is None else _concluded(session, answers)
    except Autopsied as error:
        record.target_failed(error.autopsy)
        raise error.finding(f"{error.autopsy.reason} (behind its probes, when CPUID was read)") from error
    except TargetError:
        return  # the check that follows meets the same error, and reports it
    if gone is not None:
        raise Deviation(gone)
    if found is not None:
        found.answers = answers
        session.ahead.sent(found)


def _look(session: TargetSession, record: CheckRecord) -> ProbeRequest | None:
    """What looks for the subject where the check was: a Python check may have done anything."""
    of_probes = (cpu for run in record.runs for cpu in run.request.cpus)
    return session.look_at(of_probes if record.check.cases else range(session.cpus))


def _concluded(session: TargetSession, answers: Answers) -> str | None:
    gone = session.presence.gone(results_in(next(answers)))
    if gone is not None:
        session.lose()
    return gone


def _following(session: TargetSession) -> Attempt | None:
    """The check that follows, if its probes can be sent now."""
    following = session.ahead.following
    if (
        following is None
        or following.target.name != session.target.name
        or not session.is_at(following.check)
        or session.phase == "native"
        or ruled_out(session, following.check) is not None
    ):
        return None
    found = _cases_that_apply(session, following.check)
    return found if found.ready and not _is_sequence(found) else None


def _cases_that_apply(session: TargetSession, check: Check) -> Attempt:
    planned = [
        one
        for one in session.cases(check.id)
        if unmet(session, one.case.requires) is None
        and not (session.known.as_found and cannot_judge_case(check, one.case, ring0=session.known.ring0))
    ]
    found = Attempt(check.id, planned, session.serial_position(), as_found=session.known.as_found)
    loaded = session.phase == "loaded" and not session.subject.absent
    found.counting = loaded and any(one.case.expect.exits for one in found.ready)
    return found


def _is_sequence(found: Attempt) -> bool:
    """Whether something happens between the probes, so that they cannot be sent at once."""
    return any(one.then for one in found.ready)


def _all_questions(session: TargetSession, found: Attempt) -> list[Question]:
    """What the target is asked, in the order in which the cases are judged."""
    requests = [one.request(session.cpus) for one in found.ready]
    return [each for one in requests for each in questions(one, counting=found.counting)]
