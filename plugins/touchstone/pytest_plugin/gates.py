"""What a run must have judged (``--require-targets``, ``--require-conformant``), and its exit status."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from enum import IntEnum

from touchstone.engine.verdicts import ERRORS, FAILURES
from touchstone.reporting.properties import JudgedCheck
from touchstone.words import Verdict

_JUDGED = {Verdict.CONFORMANT, Verdict.MACHINE, Verdict.KNOWN_DEVIATION, *FAILURES}


class Status(IntEnum):
    """Exit statuses beyond pytest's own (0 to 5)."""

    NOT_JUDGED = 10
    """Nothing failed, but checks could not be judged: blocked, infrastructure."""
    TOO_LITTLE = 11
    """Nothing failed and nothing was an error, but less was judged than the run requires."""
    REPORTS_LOST = 12
    """Everything was as it should be, but results for ``--alluredir`` could not be written."""


def status(judged: Iterable[JudgedCheck], others_failed: int, missing: Sequence[str]) -> Status | None:
    """The exit status of a run in which pytest found nothing worse; None: pytest's own."""
    verdicts = {one.verdict for one in judged}
    if others_failed or verdicts & set(FAILURES):
        return None
    if verdicts & set(ERRORS):
        return Status.NOT_JUDGED
    return Status.TOO_LITTLE if missing else None


def missing(
    judged: Iterable[JudgedCheck], targets: Sequence[str], every_area: bool, conformant: int
) -> Iterator[str]:
    """What the run requires and did not have, a sentence for each."""
    counts: dict[str, dict[str, Counter[Verdict]]] = {name: {} for name in targets}
    for one in judged:
        counts.setdefault(one.target, {}).setdefault(one.area, Counter())[one.verdict] += 1
    for target, areas in counts.items():
        if every_area and not areas:
            yield f"{target}: no check was meant for it"
        for area, found in areas.items() if every_area else ():
            if not _JUDGED & found.keys():
                what = ", ".join(f"{count} {verdict.value}" for verdict, count in found.items())
                yield f"{target}: nothing of {area} was judged: {what}"
        held = sum(found[Verdict.CONFORMANT] for found in areas.values())
        if held < conformant:
            yield f"{target}: {held} checks are conformant, and the run requires {conformant}"
