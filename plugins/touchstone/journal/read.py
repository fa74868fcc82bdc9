"""Reads journals, also those that were broken off in the middle of a line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from touchstone.journal.lines import (
    FORMAT,
    CheckLine,
    CostLine,
    EndedLine,
    EvidenceLine,
    JudgedLine,
    Key,
    Line,
    PlannedLine,
    RetriedLine,
    RunLine,
    StartedLine,
    TargetLine,
    key_of,
)


class JournalError(Exception):
    """The file cannot be read as a journal; the text names it."""


@dataclass
class Journal:
    """What a journal says, the last word on everything."""

    path: Path
    runs: list[RunLine] = field(default_factory=list)
    """The first one, and those that went on with it. Never empty once read."""
    checks: dict[str, CheckLine] = field(default_factory=dict)
    targets: dict[str, TargetLine] = field(default_factory=dict)
    planned: dict[Key, None] = field(default_factory=dict)
    """In the order of the plan."""
    started: dict[Key, StartedLine] = field(default_factory=dict)
    judged: dict[Key, JudgedLine] = field(default_factory=dict)
    evidence: dict[Key, EvidenceLine] = field(default_factory=dict)
    """Of the checks whose last verdict has some."""
    retried: dict[Key, list[RetriedLine]] = field(default_factory=dict)
    costs: dict[tuple[str, str, str], CostLine] = field(default_factory=dict)
    """By target, subject and what was measured."""
    ended: EndedLine | None = None
    """None: the last run was broken off, or still goes on."""
    damaged: list[str] = field(default_factory=list)
    """``file:line: what is wrong`` for each line that cannot be read, except for an unfinished last one."""
    unfinished: bool = False
    """The last line has no end."""

    @property
    def missing(self) -> list[Key]:
        """What is planned and has no verdict."""
        return [key for key in self.planned if key not in self.judged]

    @property
    def interrupted(self) -> list[Key]:
        """What was begun last and has no verdict: what was being judged when the run was broken off."""
        return [key for key in self.started if key not in self.judged]

    @property
    def seconds(self) -> Mapping[str, float]:
        """What the checks of each target took in all."""
        found: dict[str, float] = {}
        for key, line in self.judged.items():
            found[key.target] = found.get(key.target, 0.0) + line.seconds
        return found

    def take(self, line: Line) -> None:
        """Take in the next line."""
        match line:
            case RunLine():
                self.runs.append(line)
                self.ended = None
            case CheckLine():
                self.checks[line.check] = line
            case PlannedLine():
                for check in line.checks:
                    self.planned[Key(check, line.target, line.subject)] = None
            case TargetLine():
                self.targets[line.target] = line
            case StartedLine():
                self.started[key_of(line)] = line
            case JudgedLine():
                self.judged[key_of(line)] = line
                self.evidence.pop(key_of(line), None)
            case EvidenceLine():
                self.evidence[key_of(line)] = line
            case RetriedLine():
                self.retried.setdefault(key_of(line), []).append(line)
            case CostLine():
                self.costs[line.target, line.subject, line.what] = line
            case EndedLine():
                self.ended = line


class _Kind(msgspec.Struct):
    line: str


_LINES = msgspec.json.Decoder(Line)
_KINDS = msgspec.json.Decoder(_Kind)
_KNOWN = {kind.__struct_config__.tag for kind in Line.__args__}


def read_journal(path: Path, size: int | None = None) -> Journal:
    """Read a journal, or its first ``size`` bytes.

    Raises:
        JournalError: It is no journal, or one of a newer Touchstone.
        OSError: It cannot be read.
    """
    journal = Journal(path)
    with path.open("rb") as file:
        left = None if size is None else size
        for number, data in enumerate(_bounded(file, left), start=1):
            if not data.strip():
                continue
            try:
                line = _LINES.decode(data)
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                if not journal.runs:
                    text = f"{path}:{number}: not a journal of Touchstone, which begins with a line 'run'"
                    raise JournalError(f"{text} ({error})") from None
                if not data.endswith(b"\n"):
                    journal.unfinished = True
                elif not _of_a_newer_kind(data):
                    journal.damaged.append(f"{path}:{number}: {error}")
                continue
            if isinstance(line, RunLine) and line.format > FORMAT:
                raise JournalError(
                    f"{path}:{number}: format {line.format}, written by Touchstone "
                    f"{line.touchstone.version}; this one reads up to format {FORMAT}"
                )
            if not journal.runs and not isinstance(line, RunLine):
                raise JournalError(f"{path}:{number}: not a journal: it does not begin with a line 'run'")
            journal.take(line)
    if not journal.runs:
        raise JournalError(f"{path}: empty: no run has begun to write it")
    return journal


def _bounded(file: Iterator[bytes], left: int | None) -> Iterator[bytes]:
    for data in file:
        if left is None:
            yield data
            continue
        if left <= 0:
            return
        yield data[:left]
        left -= len(data)


def _of_a_newer_kind(data: bytes) -> bool:
    try:
        return _KINDS.decode(data).line not in _KNOWN
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return False
