"""Journals made by hand, without a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from touchstone.journal.lines import (
    CheckLine,
    CostLine,
    JudgedLine,
    Key,
    Line,
    PlannedLine,
    RunLine,
    Software,
    StartedLine,
    TargetLine,
)
from touchstone.journal.writer import JournalWriter
from touchstone.words import Verdict

SUBJECT = Software(name="veneer", commit="a" * 40, content="0123456789abcdef")


def key(check: str, target: str = "qemu-amd", subject: str = "veneer") -> Key:
    return Key(check, target, subject)


def run_line(subject: Software = SUBJECT, **more: object) -> RunLine:
    said = {"at": 1e9, "format": 1, "touchstone": Software(name="touchstone", version="0.1.0")}
    return RunLine(subject=subject, **said | more)  # type: ignore[arg-type]


def started_line(one: Key, at: float = 1e9) -> StartedLine:
    return StartedLine(at=at, check=one.check, target=one.target, subject=one.subject)


def judged_line(one: Key, verdict: Verdict = Verdict.CONFORMANT, **more: object) -> JudgedLine:
    said = {"at": 1e9, "outcome": verdict, "seconds": 0.5} | more
    return JudgedLine(
        check=one.check, target=one.target, subject=one.subject, verdict=verdict, **said  # type: ignore[arg-type]
    )  # fmt: skip


def planned_lines(keys: list[Key]) -> list[Line]:
    checks = dict.fromkeys(one.check.partition("[")[0] for one in keys)
    lines: list[Line] = [
        CheckLine(
            at=1e9,
            check=check,
            title=check,
            area=check.split(".")[0],
            level="must",
            phase="loaded",
            claims="claimed" in check,
        )
        for check in checks
    ]
    for target in dict.fromkeys(one.target for one in keys):
        of_target = [one for one in keys if one.target == target]
        lines.append(
            PlannedLine(
                at=1e9, target=target, subject=of_target[0].subject, checks=[one.check for one in of_target]
            )
        )
    return lines


def target_line(target: str, **facts: str) -> TargetLine:
    return TargetLine(at=1e9, target=target, title=target, facts=facts)


def cost_line(what: str, value: float, target: str = "qemu-amd") -> CostLine:
    return CostLine(at=1e9, target=target, subject="veneer", what=what, value=value, unit="instructions")


def write_journal(path: Path, *lines: Line) -> Path:
    writer = JournalWriter(path)
    for line in lines:
        writer.write(line)
    writer.close()
    assert not writer.lost
    return path


def a_journal(
    path: Path, verdicts: Mapping[Key, Verdict | JudgedLine | None], *more: Line, subject: Software = SUBJECT
) -> Path:
    """A journal with these verdicts; None: planned, and not judged."""
    judged = [
        one if isinstance(one, JudgedLine) else judged_line(at, one)
        for at, one in verdicts.items()
        if one is not None
    ]
    return write_journal(path, run_line(subject), *more, *planned_lines(list(verdicts)), *judged)
