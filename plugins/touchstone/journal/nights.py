"""The history of nights: what each run of a matrix found, in a line of JSON of some ten kilobytes.

A night is made of journals, one for each subject. It keeps the verdict of every check on every target as a
letter, and the causes of failures, so that a later night can say since when something fails.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import filelock
import msgspec

from touchstone.journal.causes import common_cause
from touchstone.journal.lines import Key, Software
from touchstone.journal.read import Journal, JournalError
from touchstone.whole_file import write_whole
from touchstone.words import Verdict

KEPT = 60
"""Nights that a history keeps."""
LONGEST_CAUSE = 200
"""Characters of a cause that are kept."""
MOST_CAUSES = 300
"""Causes of a night that are kept."""
MOST_COSTS = 300
"""Costs of a journal that are kept."""
FAILED = (Verdict.DEVIATION, Verdict.HANG, Verdict.CRASH)
"""What the subject is to blame for."""
NOT_JUDGED = (None, Verdict.BLOCKED, Verdict.INFRASTRUCTURE)
"""What the lab is to blame for, or nobody."""
_LETTERS = {
    Verdict.CONFORMANT: "c",
    Verdict.DEVIATION: "D",
    Verdict.CRASH: "C",
    Verdict.HANG: "H",
    Verdict.MACHINE: "m",
    Verdict.KNOWN_DEVIATION: "k",
    Verdict.IMPROVED: "I",
    Verdict.UNSUPPORTED: "u",
    Verdict.BLOCKED: "b",
    Verdict.INFRASTRUCTURE: "i",
}
_NO_VERDICT, _NOT_PLANNED = "?", "-"
_VERDICTS: dict[str, Verdict | None] = {letter: verdict for verdict, letter in _LETTERS.items()}
_VERDICTS[_NO_VERDICT] = None


class Column(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one target found with one subject."""

    target: str
    subject: str
    verdicts: str
    """A letter for each of the night's checks."""
    facts: dict[str, str] = {}


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    """Why checks failed; ``checks`` are indices into the night's, of the column ``column``."""

    column: int
    cause: str
    checks: list[int]


class Cost(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that was measured."""

    target: str
    subject: str
    what: str
    value: float
    unit: str


class Night(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a night found."""

    at: float
    """When it began: seconds since the epoch."""
    until: float = 0.0
    """When its last check was judged."""
    touchstone: Software
    subjects: list[Software]
    checks: list[str]
    columns: list[Column]
    causes: list[Cause] = []
    costs: list[Cost] = []

    def verdicts(self) -> dict[Key, Verdict | None]:
        """Of all that was planned. None: it has none."""
        return {
            Key(check, column.target, column.subject): _VERDICTS.get(letter)
            for column in self.columns
            for check, letter in zip(self.checks, column.verdicts, strict=True)
            if letter != _NOT_PLANNED
        }

    def causes_of(self) -> dict[Key, str]:
        """Why checks failed, as far as it is kept."""
        return {
            Key(
                self.checks[check], self.columns[one.column].target, self.columns[one.column].subject
            ): one.cause
            for one in self.causes
            for check in one.checks
        }

    def commit(self, subject: str) -> str:
        """Of a subject; empty if it is not known."""
        return next((one.commit for one in self.subjects if one.name == subject), "")


def night_of(journals: Sequence[Journal]) -> Night:
    """What these journals say, of one night. At least one."""
    verdicts: dict[Key, Verdict | None] = {}
    causes: dict[Key, str] = {}
    facts: dict[tuple[str, str], dict[str, str]] = {}
    for journal in journals:
        verdicts |= dict.fromkeys(journal.planned) | {key: one.verdict for key, one in journal.judged.items()}
        causes |= {
            key: common_cause(one, journal.evidence.get(key))[:LONGEST_CAUSE]
            for key, one in journal.judged.items()
            if one.verdict in FAILED
        }
        subject = journal.runs[-1].subject.name
        facts |= {(name, subject): dict(line.facts) for name, line in journal.targets.items()}
    checks = sorted({key.check for key in verdicts})
    number = {check: index for index, check in enumerate(checks)}
    columns = list(dict.fromkeys((key.target, key.subject) for key in verdicts))
    grouped: dict[tuple[int, str], list[int]] = {}
    for key, cause in causes.items():
        group = (columns.index((key.target, key.subject)), cause)
        grouped.setdefault(group, []).append(number[key.check])
    return Night(
        at=min(journal.runs[0].at for journal in journals),
        until=max((one.at for journal in journals for one in journal.judged.values()), default=0.0),
        touchstone=journals[-1].runs[-1].touchstone,
        subjects=list({one.runs[-1].subject.name: one.runs[-1].subject for one in journals}.values()),
        checks=checks,
        columns=[
            Column(
                target=target,
                subject=subject,
                verdicts="".join(_letter(verdicts, Key(check, target, subject)) for check in checks),
                facts=facts.get((target, subject), {}),
            )
            for target, subject in columns
        ],
        causes=[
            Cause(column=column, cause=cause, checks=sorted(found))
            for (column, cause), found in list(grouped.items())[:MOST_CAUSES]
        ],
        costs=[
            Cost(target=one.target, subject=one.subject, what=one.what, value=one.value, unit=one.unit)
            for journal in journals
            for one in list(journal.costs.values())[:MOST_COSTS]
        ],
    )


def _letter(verdicts: Mapping[Key, Verdict | None], key: Key) -> str:
    if key not in verdicts:
        return _NOT_PLANNED
    verdict = verdicts[key]
    return _NO_VERDICT if verdict is None else _LETTERS[verdict]


def read_nights(path: Path) -> list[Night]:
    """The nights of a history, the oldest first; none without such a file. JournalError names a bad line."""
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return []
    return list(_nights(path, text))


def _nights(path: Path, text: bytes) -> Iterator[Night]:
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            yield msgspec.json.decode(line, type=Night)
        except msgspec.DecodeError as error:
            raise JournalError(
                f"{path}:{number}: not a night ({error}); remove the line, or name another file"
            ) from None


def add_night(path: Path, night: Night) -> list[Night]:
    """Add a night to a history, or replace it if it is there; returns those before it, the oldest first.

    The file appears whole or not at all. Raises JournalError, OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(f"{path}.lock"):
        others = [one for one in read_nights(path) if one.at != night.at]
        kept = sorted([*others, night], key=lambda one: one.at)[-KEPT:]
        write_whole(path, b"".join(msgspec.json.encode(one) + b"\n" for one in kept))
    return [one for one in sorted(others, key=lambda one: one.at) if one.at < night.at]
