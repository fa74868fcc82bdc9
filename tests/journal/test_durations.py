"""How long checks take: each as in the newest run that judged it, and the start of a target apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from touchstone.journal.durations import Durations
from touchstone.journal.lines import JudgedLine, Key
from touchstone.journal.read import Journal
from touchstone.words import Verdict

ALL = [Key(name, "box", "veneer") for name in "abcd"]


def journal(**judged: tuple[float, float]) -> Journal:
    """Check to its seconds, and how many of them the target took to get there."""
    made = Journal(Path("journal"))
    for name, (seconds, reaching) in judged.items():
        add(made, name, Verdict.CONFORMANT, seconds, reaching)
    return made


def add(to: Journal, name: str, verdict: Verdict, seconds: float, reaching: float = 0.0) -> None:
    line = JudgedLine(
        at=0.0,
        check=name,
        target="box",
        subject="veneer",
        outcome=verdict,
        verdict=verdict,
        seconds=seconds,
        reaching=reaching,
    )
    to.take(line)


def test_a_run_of_one_check_says_nothing_about_the_others() -> None:
    """It took 40 seconds, of which 39 were the start of a target on a busy machine."""
    durations = Durations()
    durations.take(journal(a=(40.0, 39.0)))
    durations.take(journal(a=(12.0, 10.0), b=(1.0, 0.0), c=(3.0, 0.0), d=(2.0, 0.0)))
    assert durations.expected("box", ALL) == pytest.approx(10 + 1 + 1 + 3 + 2)
    assert durations.expected("box", ALL[:1]) == pytest.approx(39 + 1)
    assert durations.seconds == {"box": pytest.approx(17)}


def test_a_check_that_is_new_takes_what_the_others_do() -> None:
    durations = Durations()
    durations.take(journal(a=(12.0, 10.0), b=(4.0, 0.0)))
    assert durations.expected("box", ALL) == pytest.approx(10 + 4 * 3)
    assert durations.expected("box", [Key("new", "other", "veneer")]) is None
    assert durations.expected("box", []) == 0


def test_what_was_blocked_took_no_time_and_says_nothing() -> None:
    durations, newest = Durations(), journal(b=(4.0, 0.0))
    add(newest, "a", Verdict.BLOCKED, 0.0)
    durations.take(newest)
    durations.take(journal(a=(6.0, 0.0)))
    assert durations.expected("box", ALL[:1]) == 6
