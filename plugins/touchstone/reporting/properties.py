"""What a report says of a check, in ``user_properties``: xdist carries them, and junit shows them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pytest

from touchstone.journal.read import Journal
from touchstone.words import Verdict

PREFIX = "touchstone."
_ABOUT = f"{PREFIX}about"


@dataclass(frozen=True)
class JudgedCheck:
    """What the controller needs to know of a judged check."""

    verdict: Verdict
    check: str
    target: str
    area: str
    level: str
    phase: str
    subject: str
    claims: str = "?"
    """``yes``: it demands what only a hypervisor does, so the bare machine must fail it; ``no``; ``?``."""
    listed: str = "?"
    """Of the verdict machine: ``yes`` if the inventory has it as a known deviation, else ``no``."""
    cause: str = ""
    """What checks that are not conformant have in common: their first difference, or what blocks them."""
    bits: str = ""
    """Of a first difference, the bits, if other registers that differ in them may have the same cause."""


def properties_of(judged: JudgedCheck) -> list[tuple[str, str]]:
    """As ``user_properties``."""
    values = {**vars(judged), "verdict": judged.verdict.value}
    return [(f"{PREFIX}{key}", value) for key, value in values.items()]


def judged_of(report: pytest.TestReport) -> JudgedCheck | None:
    """What a report says; None for the report of any other test, and of a phase that decides nothing."""
    found = _ours(report.user_properties)
    if f"{PREFIX}verdict" not in found:
        return None
    values = {key: found[f"{PREFIX}{key}"] for key in JudgedCheck.__dataclass_fields__ if key != "verdict"}
    return JudgedCheck(verdict=Verdict(found[f"{PREFIX}verdict"]), **values)


def about_property(target: str, text: str) -> tuple[str, str]:
    """The line about a target, for the report of the check after which it is known or has changed."""
    return (_ABOUT, f"{target}\t{text}")


def about_of(report: pytest.TestReport) -> tuple[str, str] | None:
    """Target and line, if a report brings one."""
    text = _ours(report.user_properties).get(_ABOUT)
    if text is None:
        return None
    target, _, line = text.partition("\t")
    return target, line


def suite_properties(journal: Journal) -> Iterator[tuple[str, str]]:
    """What a run tested: the subject, Touchstone, and everything that is known of each target."""
    run = journal.runs[-1]
    for about, software in ((f"{PREFIX}subject", run.subject), (f"{PREFIX}touchstone", run.touchstone)):
        yield about, software.name
        for name in ("version", "commit", "content"):
            if value := getattr(software, name):
                yield f"{about}.{name}", value
    for target, line in journal.targets.items():
        yield f"{PREFIX}target.{target}", line.about or line.title
        for name, value in line.facts.items():
            yield f"{PREFIX}target.{target}.{name}", value


def _ours(properties: Iterable[tuple[str, object]]) -> dict[str, str]:
    return {key: str(value) for key, value in properties if key.startswith(PREFIX)}
