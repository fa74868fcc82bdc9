"""What was sent of the next check is forgotten by whoever asks the target, and by nothing else."""

from __future__ import annotations

import pytest

from tests.support import suite_texts
from tests.support.sessions import FakeMachine, session_on
from touchstone.engine.ahead import Attempt
from touchstone.engine.oracle import Planned
from touchstone.engine.session import TargetSession

SENT = Attempt("exits.b", [], 0)


@pytest.fixture
def session() -> TargetSession:
    session = session_on(FakeMachine())
    session.reach("loaded")
    session.ahead.sent(SENT)
    return session


def test_it_is_taken_once_and_by_its_own_check(session: TargetSession) -> None:
    assert session.ahead.take("exits.b") is SENT
    assert session.ahead.take("exits.b") is None
    session.ahead.sent(SENT)
    assert session.ahead.take("exits.c") is None
    assert session.ahead.take("exits.b") is None


def test_reading_attributes_and_the_serial_log_changes_nothing(session: TargetSession) -> None:
    for name in dir(session):
        if not name.startswith("__"):
            getattr(session, name)
    session.serial_since(session.serial_position())
    session.describe()
    session.reach("loaded")
    assert session.ahead.take("exits.b") is SENT


@pytest.mark.parametrize("operation", ["load", "unload", "reset", "lose", "stop"])
def test_it_is_forgotten_when_the_target_changes(session: TargetSession, operation: str) -> None:
    getattr(session, operation)()
    assert session.ahead.take("exits.b") is None


def test_it_is_forgotten_when_somebody_asks_the_target(session: TargetSession) -> None:
    with session.asking() as driver:
        driver.nmi_counts()
    assert session.ahead.take("exits.b") is None


def test_machine_without_a_bare_one_needs_no_oracle_for_a_start_state() -> None:
    """Elsewhere it would not be known whose fault it is that a state is refused."""
    one = suite_texts.check("given: {msrs: {ia32-star: 1}}\nrun: nop\nexpect: {rax: 0}")
    planned = Planned(one, one.cases[0], suite_texts.code_of(one.cases[0]))
    assert Attempt("exits.a", [planned], 0).lacking == [planned]
    found = Attempt("exits.a", [planned], 0, as_found=True)
    assert (found.ready, found.lacking) == ([planned], [])
