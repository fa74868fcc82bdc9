"""What a report says of a check, in ``user_properties``: xdist carries them, and junit shows them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pytest

from touchstone.words import Verdict

PREFIX = "touchstone."
_ABOUT = f"{PREFIX}about"


@dataclass(frozen=True)
class Mark:
    """What the controller needs to know of a judged check."""

    verdict: Verdict
    check: str
    target: str
    area: str
    level: str
    phase: str
    subject: str
    claims: str = "?"
    """``yes``: it claims that a hypervisor is there, so the bare machine must fail it; ``no``, or unknown."""


def properties_of(mark: Mark) -> list[tuple[str, str]]:
    """As ``user_properties``."""
    values = {**vars(mark), "verdict": mark.verdict.value}
    return [(f"{PREFIX}{key}", value) for key, value in values.items()]


def mark_of(report: pytest.TestReport) -> Mark | None:
    """What a report says; None for the report of any other test, and of a phase that decides nothing."""
    found = _ours(report.user_properties)
    if f"{PREFIX}verdict" not in found:
        return None
    values = {key: found[f"{PREFIX}{key}"] for key in Mark.__dataclass_fields__ if key != "verdict"}
    return Mark(verdict=Verdict(found[f"{PREFIX}verdict"]), **values)


def about_property(target: str, text: str) -> tuple[str, str]:
    """What a target is, once it is known (better); travels with the report of the check that found out."""
    return (_ABOUT, f"{target}\t{text}")


def about_of(report: pytest.TestReport) -> tuple[str, str] | None:
    """Target and line, if a report brings one."""
    text = _ours(report.user_properties).get(_ABOUT)
    if text is None:
        return None
    target, _, line = text.partition("\t")
    return target, line


def _ours(properties: Iterable[tuple[str, object]]) -> dict[str, str]:
    return {key: str(value) for key, value in properties if key.startswith(PREFIX)}
