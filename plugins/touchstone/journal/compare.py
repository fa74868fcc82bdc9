"""What two journals say differently: verdicts, what is planned, what was tested, what it costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from touchstone.journal.causes import common_cause
from touchstone.journal.lines import Key, Software
from touchstone.journal.read import Journal
from touchstone.words import Verdict

SHIFT = 0.05
"""A cost that changes by less than this part of itself has not shifted."""
_BADNESS = {Verdict.DEVIATION: 1, Verdict.HANG: 2, Verdict.CRASH: 2}
_NOT_JUDGED = (None, Verdict.BLOCKED, Verdict.INFRASTRUCTURE)


@dataclass(frozen=True)
class Change:
    """A check on a target whose verdict is another one. None: it has none."""

    key: Key
    before: Verdict | None
    after: Verdict | None
    cause: str = ""
    """Of the later verdict: what it shares with other checks."""

    @property
    def kind(self) -> str:
        """``regression``, ``fixed``, ``not judged`` (the lab's doing, or nobody's), ``changed``."""
        was, now = (_BADNESS.get(one, 0) if one is not None else 0 for one in (self.before, self.after))
        if now > was:
            return "regression"
        if self.after in _NOT_JUDGED:
            return "not judged"
        return "fixed" if was > now else "changed"


@dataclass(frozen=True)
class Fact:
    """Something about what was tested, or with what, that is not what it was. Empty: not known."""

    about: str
    """A target's name, a subject's, or ``touchstone``."""
    name: str
    before: str
    after: str


@dataclass(frozen=True)
class CostShift:
    """A cost that is another one."""

    target: str
    what: str
    unit: str
    before: float
    after: float

    @property
    def part(self) -> float:
        """By which part of itself it has risen; negative: it fell."""
        return self.after / self.before - 1 if self.before else float("inf")


@dataclass
class Comparison:
    """All that differs. Empty for two equal runs, whenever they were made."""

    changes: list[Change] = field(default_factory=list)
    new: list[Change] = field(default_factory=list)
    """Planned in the later run only; ``before`` is None."""
    vanished: list[Change] = field(default_factory=list)
    """Planned in the earlier run only; ``after`` is None."""
    facts: list[Fact] = field(default_factory=list)
    costs: list[CostShift] = field(default_factory=list)

    @property
    def regressions(self) -> list[Change]:
        """What the subject does wrong, and did not."""
        return [one for one in self.changes if one.kind == "regression"]

    def __bool__(self) -> bool:
        return any((self.changes, self.new, self.vanished, self.facts, self.costs))


def compare(before: Journal, after: Journal) -> Comparison:
    """What ``after`` says differently. Targets that only one of them has count as new or vanished checks."""
    found = Comparison(facts=list(_facts(before, after)), costs=list(_costs(before, after)))
    was, now = _verdicts(before), _verdicts(after)
    for key in {**was, **now}:
        line = after.judged.get(key)
        cause = "" if line is None else common_cause(line, after.evidence.get(key))
        change = Change(key, was.get(key), now.get(key), cause)
        if key not in was:
            found.new.append(change)
        elif key not in now:
            found.vanished.append(change)
        elif was[key] is not now[key]:
            found.changes.append(change)
    return found


def _verdicts(journal: Journal) -> dict[Key, Verdict | None]:
    planned: dict[Key, Verdict | None] = dict.fromkeys(journal.planned)
    return planned | {key: line.verdict for key, line in journal.judged.items()}


def _facts(before: Journal, after: Journal) -> Iterator[Fact]:
    pairs = [
        ("touchstone", before.runs[-1].touchstone, after.runs[-1].touchstone),
        (after.runs[-1].subject.name, before.runs[-1].subject, after.runs[-1].subject),
    ]
    for about, was, now in pairs:
        yield from _differing(about, _said(was), _said(now))
    for name in before.targets.keys() & after.targets.keys():
        yield from _differing(name, before.targets[name].facts, after.targets[name].facts)


def _said(software: Software) -> dict[str, str]:
    said = {"name": software.name, "version": software.version, "commit": software.commit}
    # Its content tells what a commit with changes of its own does not.
    return said | ({"content": software.content} if software.content else {})


def _differing(about: str, was: Mapping[str, str], now: Mapping[str, str]) -> Iterator[Fact]:
    for name in sorted({*was, *now}):
        if was.get(name, "") != now.get(name, ""):
            yield Fact(about, name, was.get(name, ""), now.get(name, ""))


def _costs(before: Journal, after: Journal) -> Iterator[CostShift]:
    for key in before.costs.keys() & after.costs.keys():
        was, now = before.costs[key], after.costs[key]
        if was.unit == now.unit and abs(now.value - was.value) > SHIFT * abs(was.value):
            yield CostShift(key[0], key[2], was.unit, was.value, now.value)
