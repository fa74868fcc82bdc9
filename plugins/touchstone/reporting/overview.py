"""What a night found, as people ask for it: what broke, where, since when, and what proves what."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from touchstone.journal.compare import SHIFT
from touchstone.journal.lines import CheckLine, Key
from touchstone.journal.nights import FAILED, NOT_JUDGED, Night, night_of
from touchstone.journal.read import Journal
from touchstone.reporting.proofs import Proof, proofs_of
from touchstone.suite.statements import Statement
from touchstone.words import AREAS, Verdict

REGRESSION = "regression"
"""It held when it was judged last."""
FIRST = "first"
"""It was never judged before."""
FAILING = "failing"
"""It failed when it was judged last."""
COMMIT = 12
"""Digits of a commit that are shown."""
_FIXED = (Verdict.CONFORMANT, Verdict.MACHINE, Verdict.KNOWN_DEVIATION)
Column = tuple[str, str]
"""Target and subject."""
Counted = Counter[Verdict | None]
"""Verdicts. None: there is none."""


@dataclass
class Failures:
    """Checks that fail for the same reason, and since the same night."""

    cause: str
    verdict: Verdict
    since: str
    """Date and commit of the first night that they fail in."""
    last_good: str
    """Date and commit of the last one that they held in; empty: they were never seen to."""
    kind: str
    """``REGRESSION``, ``FIRST`` or ``FAILING``."""
    example: str = ""
    """What one of them has measured, where each has something else."""
    checks: dict[str, list[str]] = field(default_factory=dict)
    """By target."""

    @property
    def count(self) -> int:
        """Checks, once per target."""
        return sum(len(names) for names in self.checks.values())


@dataclass
class Fixed:
    """Checks that failed for the same reason, in the same nights, and no longer do."""

    cause: str
    verdict: Verdict
    since: str
    """Date and commit of the first night that they failed in."""
    until: str
    """Date and commit of the last one."""
    checks: dict[str, list[str]] = field(default_factory=dict)
    """By target."""

    @property
    def count(self) -> int:
        """Checks, once per target."""
        return sum(len(names) for names in self.checks.values())


@dataclass
class Trouble:
    """Checks that could not be judged, which is not the subject's fault."""

    target: str
    reason: str
    checks: list[str] = field(default_factory=list)


@dataclass
class CostHistory:
    """What something cost, night by night: the last value is of the newest one that measured it."""

    what: str
    column: str
    unit: str
    values: list[tuple[str, float]] = field(default_factory=list)
    """Date and commit to value."""

    def shifts(self) -> Iterator[tuple[str, float]]:
        """Date and commit of each night with another cost than the one before, and 0.12 for +12 %."""
        for (_, was), (when, now) in pairwise(self.values):
            if was and abs(now / was - 1) > SHIFT:
                yield when, now / was - 1


@dataclass
class Overview:
    """All of it."""

    about: str
    """Date, subjects with commits."""
    before: str
    """Of the run that this one is compared with; empty: there is none."""
    columns: list[str]
    machines: dict[str, Column]
    """Column to target and subject."""
    areas: dict[str, dict[str, Counted]]
    """Column to area to counts; the area ``all`` as well."""
    failures: list[Failures]
    fixed: list[Fixed]
    """What failed when it was judged last, and was judged and does not."""
    trouble: list[Trouble]
    proofs: list[Proof]
    targets: dict[str, str]
    """Column to what is known of the target."""
    trend: list[tuple[str, Counted]]
    """Date and commit of each night to its verdicts; this one is the last."""
    costs: list[CostHistory]
    missing: dict[str, int]
    """Target, with its subject where it needs one, to how many checks of the run before are not planned."""

    @property
    def scores(self) -> dict[str, tuple[int, int]]:
        """Subject to how many checks are conformant, of how many that it was judged by."""
        counts: dict[str, Counted] = {}
        for name, row in self.areas.items():
            counts.setdefault(self.machines[name][1], Counter()).update(row["all"])
        return {
            subject: (one[Verdict.CONFORMANT], sum(one[word] for word in (Verdict.CONFORMANT, *FAILED)))
            for subject, one in counts.items()
        }


def overview(
    journals: Sequence[Journal], earlier: Sequence[Night], requirements: Mapping[str, Statement]
) -> Overview:
    """What these journals of one night found, compared with earlier nights, the oldest first.

    ``requirements``: by id.
    """
    night = night_of(journals)
    subjects = {one.name for one in night.subjects}
    earlier = [one for one in earlier if subjects & {subject.name for subject in one.subjects}]
    verdicts = night.verdicts()
    about = {name: line for journal in journals for name, line in journal.checks.items()}
    several = len({column.subject for column in night.columns}) > 1
    names = {
        (one.target, one.subject): f"{one.target} ({one.subject})" if several else one.target
        for one in night.columns
    }
    areas: dict[str, dict[str, Counted]] = {name: {"all": Counter()} for name in names.values()}
    for key, verdict in verdicts.items():
        row = areas[names[key.target, key.subject]]
        row["all"][verdict] += 1
        row.setdefault(_area(about, key), Counter())[verdict] += 1
    before = earlier[-1].verdicts() if earlier else {}
    return Overview(
        about=_when(night, [one.name for one in night.subjects]),
        before=_when(earlier[-1], [one.name for one in earlier[-1].subjects]) if earlier else "",
        columns=list(names.values()),
        machines={name: column for column, name in names.items()},
        areas=areas,
        failures=list(_failures(night, earlier, names, _own_causes(journals))),
        fixed=list(_fixed(night, earlier, names)),
        trouble=list(_trouble(journals, verdicts)),
        proofs=proofs_of(
            verdicts,
            about,
            requirements,
            names,
            {names[one.target, one.subject]: one.facts.get("vendor", "") for one in night.columns},
        ),
        targets={names[one.target, one.subject]: _facts(one.facts) for one in night.columns},
        trend=[
            (_when(one, [subject.name for subject in one.subjects]), Counter(one.verdicts().values()))
            for one in (*earlier, night)
        ],
        costs=list(_cost_histories(earlier, night, names)),
        missing=Counter(
            f"{key.target} ({key.subject})" if several or key.subject not in subjects else key.target
            for key in before
            if key not in verdicts
        ),
    )


def areas_of(found: Overview) -> list[str]:
    """The areas that there are, in their order, and ``all``."""
    there = {area for row in found.areas.values() for area in row} - {"all"}
    return [*(area for area in AREAS if area in there), *sorted(there - set(AREAS)), "all"]


def counted(counts: Mapping[Verdict | None, int]) -> str:
    """``41 conformant, 1 crash``."""
    found = [f"{counts[one]} {one.value}" for one in Verdict if counts.get(one)]
    return ", ".join([*found, *([f"{counts[None]} without verdict"] if counts.get(None) else [])]) or "-"


def _cost_histories(
    earlier: Sequence[Night], night: Night, names: Mapping[Column, str]
) -> Iterator[CostHistory]:
    """Of what this night has measured, or else the newest one that measured anything."""
    newest = next((one for one in (night, *reversed(earlier)) if one.costs), night)
    found = {
        (one.what, one.target, one.subject, one.unit): CostHistory(
            one.what, names.get((one.target, one.subject), one.target), one.unit
        )
        for one in newest.costs
    }
    for one in (*earlier, night):
        for cost in one.costs:
            history = found.get((cost.what, cost.target, cost.subject, cost.unit))
            if history is not None:
                history.values.append((_when(one, [cost.subject]), cost.value))
    yield from found.values()


def _area(about: Mapping[str, CheckLine], key: Key) -> str:
    line = about.get(key.check.partition("[")[0])
    return "?" if line is None else line.area


def _when(night: Night, subjects: Iterable[str]) -> str:
    date = time.strftime("%Y-%m-%d %H:%M", time.localtime(night.at))
    return f"{date}, {', '.join(f'{name} {short(night.commit(name))}'.strip() for name in subjects)}"


def short(commit: str) -> str:
    """A commit as people read it."""
    digits, dash, dirty = commit.partition("-")
    return f"{digits[:COMMIT]}{dash}{dirty}"


def _facts(facts: Mapping[str, str]) -> str:
    return ", ".join(f"{name}: {value}" for name, value in facts.items() if value) or "not reached"


def _own_causes(journals: Sequence[Journal]) -> dict[Key, str]:
    return {
        key: line.cause.split("\n")[0]
        for journal in journals
        for key, line in journal.judged.items()
        if line.cause
    }


def _failures(
    night: Night, earlier: Sequence[Night], names: Mapping[Column, str], own: Mapping[Key, str]
) -> Iterator[Failures]:
    """By cause; those that are new come first, and of these the most frequent."""
    causes = night.causes_of()
    history = [(one, one.verdicts()) for one in earlier]
    found: dict[tuple[str, Verdict, str, str, str], Failures] = {}
    for key, verdict in night.verdicts().items():
        if verdict not in FAILED:
            continue
        first, good = night, None
        for one, verdicts in reversed(history):
            was = verdicts.get(key)
            if was in NOT_JUDGED:
                continue  # says nothing of the subject
            if was not in FAILED:
                good = one
                break
            first = one
        kind = REGRESSION if first is night and good is not None else FAILING if first is not night else FIRST
        since = _when(first, [key.subject])
        last = "" if good is None else _when(good, [key.subject])
        cause = causes.get(key, "")
        group = (cause, verdict, since, last, kind)
        example = own.get(key, "")
        if example.startswith(cause):
            example = ""
        entry = found.setdefault(group, Failures(cause, verdict, since, last, kind, example))
        entry.checks.setdefault(names[key.target, key.subject], []).append(key.check)
    kinds = (REGRESSION, FIRST, FAILING)
    yield from sorted(found.values(), key=lambda one: (kinds.index(one.kind), -one.count))


def _fixed(night: Night, earlier: Sequence[Night], names: Mapping[Column, str]) -> Iterator[Fixed]:
    """By cause, the most frequent first."""
    history = [(one, one.verdicts(), one.causes_of()) for one in earlier]
    found: dict[tuple[str, Verdict, str, str], Fixed] = {}
    for key, verdict in night.verdicts().items():
        if verdict not in _FIXED:
            continue
        first, last = None, None
        for one, verdicts, causes in reversed(history):
            was = verdicts.get(key)
            if was in NOT_JUDGED:
                continue  # says nothing of the subject
            if was not in FAILED:
                break
            first = one
            last = last or (one, was, causes.get(key, ""))
        if first is None or last is None:
            continue
        group = (last[2], last[1], _when(first, [key.subject]), _when(last[0], [key.subject]))
        entry = found.setdefault(group, Fixed(*group))
        entry.checks.setdefault(names[key.target, key.subject], []).append(key.check)
    yield from sorted(found.values(), key=lambda one: -one.count)


def _trouble(journals: Sequence[Journal], verdicts: Mapping[Key, Verdict | None]) -> Iterator[Trouble]:
    judged = {key: line for journal in journals for key, line in journal.judged.items()}
    found: dict[tuple[str, str], Trouble] = {}
    for key, verdict in verdicts.items():
        if verdict in NOT_JUDGED:
            line = judged.get(key)
            reason = "no verdict: the run ended before" if line is None else line.cause or line.reason
            told = f"{verdict.value}: " if verdict is not None else ""
            group = (key.target, told + reason.split("\n")[0])
            found.setdefault(group, Trouble(*group)).checks.append(key.check)
    yield from sorted(found.values(), key=lambda one: -len(one.checks))
