"""From the record of a check to the journal's lines about it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator

from touchstone.config.waivers import Waiver
from touchstone.engine.records import CheckRecord
from touchstone.engine.verdicts import excused_by
from touchstone.journal import lines
from touchstone.journal.lines import CheckLine, Difference, EvidenceLine, JudgedLine, Key
from touchstone.reporting.properties import JudgedCheck
from touchstone.suite.bit_names import differing
from touchstone.suite.model import Check
from touchstone.words import Verdict

DIFFERENCES = 16
"""Differences of a check that the journal keeps; the report of the failure has all of them."""
LONGEST = 2000
"""Characters of a reason: the words of a compiler may be many."""
WITHOUT = (Verdict.CONFORMANT, Verdict.UNSUPPORTED, Verdict.BLOCKED)
"""Verdicts that need no evidence."""


def check_line(check: Check) -> CheckLine:
    """What the suites say of a check."""
    return CheckLine(
        at=round(time.time(), 3),
        check=check.id,
        title=check.title,
        area=check.area,
        level=check.level,
        phase=check.phase,
        claims=check.claims,
        proves=list(check.proves),
        source=f"{check.source.path}:{check.source.line}",
    )


def judged_line(
    key: Key,
    judged: JudgedCheck,
    outcome: Verdict,
    reason: str,
    seconds: tuple[float, float],
    record: CheckRecord | None,
) -> JudgedLine:
    """The verdict of a check.

    ``outcome``: before known deviations were taken into account. ``seconds``: of the check, and those of them
    in which its target was brought where it needs it.
    """
    waiver = None if record is None else _deviation(record, judged.verdict)
    return JudgedLine(
        at=round(time.time(), 3),
        check=key.check,
        target=key.target,
        subject=key.subject,
        outcome=outcome,
        verdict=judged.verdict,
        seconds=round(seconds[0], 4),
        reaching=round(max(0.0, seconds[1]), 4),
        reason="" if judged.verdict is Verdict.CONFORMANT else reason[:LONGEST],
        cause="" if judged.cause == reason else judged.cause[:LONGEST],
        deviation="" if waiver is None else waiver.where,
        listed={"yes": True, "no": False}.get(judged.listed),
        exits={} if record is None else _exits(record),
    )


def _deviation(record: CheckRecord, verdict: Verdict) -> Waiver | None:
    """The known deviation that excuses a check, or that says wrongly that it does not hold."""
    if verdict is Verdict.KNOWN_DEVIATION:
        return excused_by(record)
    if verdict is Verdict.IMPROVED:
        return record.own_waiver or record.waiver
    return None


def judged_check(line: JudgedLine, check: CheckLine | None) -> JudgedCheck:
    """What a report says of a check that an earlier run has judged."""
    return JudgedCheck(
        verdict=line.verdict,
        check=line.check,
        target=line.target,
        area="?" if check is None else check.area,
        level="?" if check is None else check.level,
        phase="?" if check is None else check.phase,
        subject=line.subject,
        claims="?" if check is None else "yes" if check.claims else "no",
        listed="?" if line.listed is None else "yes" if line.listed else "no",
        cause=line.cause or (line.reason if line.verdict is Verdict.BLOCKED else ""),
    )


def _exits(record: CheckRecord) -> dict[str, int]:
    found: Counter[str] = Counter()
    for run in record.runs:
        for counts in run.exits.values():
            found.update(counts)
    return {name: count for name, count in found.items() if count}


def evidence_line(key: Key, record: CheckRecord, text: str, again: str, same_as: str = "") -> EvidenceLine:
    """What is known of a check that is not conformant. ``text``: empty where ``same_as`` has it."""
    found = list(_differences(record))
    return EvidenceLine(
        at=round(time.time(), 3),
        check=key.check,
        target=key.target,
        subject=key.subject,
        differences=found[:DIFFERENCES],
        more=max(0, len(found) - DIFFERENCES),
        same_as=same_as,
        text=text,
        again=again,
    )


def _differences(record: CheckRecord) -> Iterator[lines.Difference]:
    for run in record.runs:
        for one in run.differences:
            bits = run.case and differing(run.case, one.what, one.expected, one.measured)
            yield Difference(
                case=run.label,
                cpu=one.cpu,
                what=one.what,
                expected=one.expected,
                measured=one.measured,
                bits=bits or "",
                accused=one in run.accused,
            )
