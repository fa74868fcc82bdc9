"""Random probes in bulk, for as long as asked.

A round asks the bare machine, loads the subject, asks again, and compares; what differs is made smaller.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from time import monotonic

from touchstone.engine.oracle import Planned
from touchstone.engine.outcomes import Autopsied
from touchstone.engine.session import TargetSession
from touchstone.machine.driver import AgentRefused
from touchstone.suite import judge
from touchstone.suite.assemble import Assembler
from touchstone.suite.load import TIMEOUT
from touchstone.suite.model import Check
from touchstone.suite.random_probes import (
    RandomProbe,
    as_case,
    claims_behind,
    random_probe,
    rests_on,
    smaller,
)

PER_ROUND = 1000
"""Probes between two resets of the machine."""
ROUNDS_OF_SHRINKING = 30
"""A probe has up to 30 things that can be left out, and a round may find that only one of them can."""


@dataclass(frozen=True)
class Difference:
    """A probe that does not end as on the bare machine."""

    seed: int
    number: int
    probe: RandomProbe
    """As small as it was made."""
    what: str
    """The first difference, in words."""


@dataclass(frozen=True)
class Campaign:
    """What was run, and what came of it."""

    probes: int
    rounds: int
    not_comparable: int
    """Probes that the bare machine does not survive, or that do not leave it as it was."""
    found: Sequence[Difference]


def run_campaign(
    session: TargetSession, check: Check, seed: int, seconds: float, progress: Callable[[str], None]
) -> Campaign:
    """Run rounds of random probes until ``seconds`` are over, or until a round has found something.

    ``check`` is the one that the probes are judged for. The seed of round n is ``seed + n``, so that a round
    can be run again alone.
    """
    runner = _Runner(session, check)
    end = monotonic() + seconds
    probes = rounds = lost = 0
    while True:
        of_round = seed + rounds
        every = [random_probe(of_round, number) for number in range(PER_ROUND)]
        made = [probe for probe in every if runner.is_fair(probe)]
        progress(f"round {rounds + 1}, seed {of_round}: {probes} random probes so far, none differs")
        found, not_comparable = runner.differing(made)
        probes, rounds, lost = probes + len(made), rounds + 1, lost + not_comparable
        if found:
            numbers = {id(probe): number for number, probe in enumerate(every)}
            differences = []
            for probe, what in found[:3]:
                progress(f"probe {numbers[id(probe)]} of seed {of_round} differs; making it smaller")
                small, words = runner.shrunk(probe, what)
                differences.append(Difference(of_round, numbers[id(probe)], small, words))
            return Campaign(probes, rounds, lost, differences)
        if monotonic() >= end:
            return Campaign(probes, rounds, lost, ())


class _Runner:
    def __init__(self, session: TargetSession, check: Check) -> None:
        self._session = session
        self._check = replace(check, timeout=TIMEOUT)
        self._assembler = Assembler()

    def is_fair(self, probe: RandomProbe) -> bool:
        """Whether the subject can be held to it, whatever the processor does."""
        claims = self._session.subject.claims
        hidden = {"subject.control-closed": claims.get("control-closed") is True}
        hidden["subject.nested == hidden"] = claims.get("nested") == "hidden"
        if not all(hidden[claim] for claim in claims_behind(probe)):
            return False
        return not rests_on(probe) or bool(claims.get("faults-before-exits"))

    def differing(self, probes: Sequence[RandomProbe]) -> tuple[list[tuple[RandomProbe, str]], int]:
        """Those that end otherwise than natively, and how; and how many cannot be compared."""
        planned = self._planned(probes)
        self._session.reset()
        self._session.bare.measure(planned)
        ready = [(probe, one) for probe, one in zip(probes, planned, strict=True) if one.answers is not None]
        lost = sum(one.failed is not None for one in planned)
        return list(self._judged(ready)), lost

    def _judged(self, ready: Sequence[tuple[RandomProbe, Planned]]) -> Iterator[tuple[RandomProbe, str]]:
        left = list(ready)
        while left:
            self._session.change("load")
            outcomes = self._session.run_many([one.request(self._session.cpus) for _, one in left])
            try:
                while left:
                    outcome = next(outcomes)
                    probe, one = left.pop(0)
                    words = _difference(one, outcome)
                    if words is not None:
                        yield probe, words
            except Autopsied as error:
                probe, _ = left.pop(0)
                yield probe, f"{error.finding.verdict.value}: {error.autopsy.reason}"
                self._session.reset()

    def shrunk(self, probe: RandomProbe, what: str) -> tuple[RandomProbe, str]:
        """The smallest probe that differs as well: all that have less are tried, until none differs."""
        for _ in range(ROUNDS_OF_SHRINKING):
            found, _ = self.differing(list(smaller(probe)))
            if not found:
                break
            probe, what = min(found, key=lambda one: one[0].size)
        return probe, what

    def _planned(self, probes: Iterable[RandomProbe]) -> list[Planned]:
        cases = [as_case(probe, f"probe={n}", self._check.source) for n, probe in enumerate(probes)]
        assembled = self._assembler.assemble([case.body for case in cases])
        assert not assembled.problems, next(iter(assembled.problems.values()))
        return [Planned(self._check, case, assembled.codes[case.body]) for case in cases]


def _difference(one: Planned, outcome: object) -> str | None:
    """The first difference of a probe from its native answer, in words."""
    if isinstance(outcome, AgentRefused):
        return f"its start state can be had on the bare machine, and not now: {outcome}"
    assert isinstance(outcome, list)
    found = judge.judge(one.case, one.code, outcome, one.answers)
    return None if found.ok else str(found.differences[0])
