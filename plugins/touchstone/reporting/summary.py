"""A night in one screen of Markdown, for a chat, a mail, or the summary of a CI job."""

from __future__ import annotations

from collections.abc import Iterator

from touchstone.reporting.overview import (
    FAILING,
    FIRST,
    REGRESSION,
    Failures,
    Fixed,
    Overview,
    areas_of,
    counted,
)

MOST = 8
"""Causes of a kind that are shown; the report has all."""
MOST_CHECKS = 3
"""Checks of a cause that are named."""
MOST_TARGETS = 2
"""Targets that the first line names."""
LONGEST = 160
"""Characters of a cause."""
FIXED = "Fixed since the last run"
HEADINGS = {
    REGRESSION: "Regressions since the last run",
    FIRST: "Failures of what was not judged before",
    FAILING: "Failures that are known",
}


def markdown(found: Overview) -> Iterator[str]:
    """Lines of Markdown."""
    yield f"# Touchstone: {verdict_of(found)}"
    yield ""
    compared = f"; compared with {found.before}" if found.before else "; no earlier run to compare with"
    yield f"{found.about}{compared}"
    yield ""
    yield f"**Hypervisor:** {scores(found)}, {fixed_in_all(found)} fixed"
    yield ""
    yield f"**Lab:** {lab(found)}"
    if found.missing:
        yield ""
        yield f"**Not in this run:** {missing(found)}"
    for kind, heading in HEADINGS.items():
        failures = [one for one in found.failures if one.kind == kind]
        if failures:
            yield ""
            yield f"## {heading}: {sum(one.count for one in failures)}"
            yield ""
            yield from (f"- {line}" for line in map(_failure, failures[:MOST]))
            if len(failures) > MOST:
                yield f"- and {len(failures) - MOST} more causes"
    if found.fixed:
        yield ""
        yield f"## {FIXED}: {fixed_in_all(found)}"
        yield ""
        yield from (f"- {line}" for line in map(_fixed, found.fixed[:MOST]))
        if len(found.fixed) > MOST:
            yield f"- and {len(found.fixed) - MOST} more causes"
    if found.trouble:
        yield ""
        yield "## Lab trouble"
        yield ""
        for one in found.trouble[:MOST]:
            yield f"- {one.target}: {_checks(one.checks)}: {escaped(one.reason[:LONGEST])}"
        if len(found.trouble) > MOST:
            yield f"- and {len(found.trouble) - MOST} more reasons"
    yield ""
    areas = areas_of(found)
    yield f"| | {' | '.join(areas)} |"
    yield f"|---|{'---|' * len(areas)}"
    for name, row in found.areas.items():
        yield f"| {escaped(name)} | {' | '.join(counted(row.get(area, {})) for area in areas)} |"
    unproved = [one.requirement for one in found.proofs if not one.proved]
    if unproved:
        named = f": {', '.join(map(escaped, unproved))}" if len(unproved) <= MOST else ""
        yield ""
        yield f"{len(unproved)} of {len(found.proofs)} requirements have no check in this run{named}"


def verdict_of(found: Overview) -> str:
    """The first line: what broke, and where."""
    broken = [one for one in found.failures if one.kind == REGRESSION]
    new = sum(one.count for one in broken)
    failing = sum(one.count for one in found.failures) - new
    if new:
        columns = list(dict.fromkeys(column for one in broken for column in one.checks))
        many = len(columns) > MOST_TARGETS
        where = f"{len(columns)} of {len(found.columns)} targets" if many else " and ".join(columns)
        return f"{new} regression{'s' if new > 1 else ''} on {where}"
    if failing:
        compared = "no regressions, " if found.before else ""
        return f"{compared}{_number(failing)} fail{'' if failing > 1 else 's'}"
    return "no failures" if any(judged for _, judged in found.scores.values()) else "nothing was judged"


def scores(found: Overview) -> str:
    """How much of what they were judged by the subjects hold, each for itself."""
    several = len(found.scores) > 1
    return "; ".join(
        (f"{subject}: " if several else "")
        + f"{good} of {judged} judged checks conformant"
        + (f" ({good / judged:.1%})" if judged else "")
        for subject, (good, judged) in found.scores.items()
    )


def missing(found: Overview) -> str:
    """What the run before had, and this one does not plan, in a few words."""
    where = [f"{name}: {count}" for name, count in found.missing.items()]
    named = f"{', '.join(where[:MOST])}{f' and {len(where) - MOST} more' if len(where) > MOST else ''}"
    return f"{_number(sum(found.missing.values()))} of the run before ({named})"


def lab(found: Overview) -> str:
    """How the lab did, in a few words."""
    total = sum(len(one.checks) for one in found.trouble)
    if not total:
        return "no trouble"
    targets = list(dict.fromkeys(one.target for one in found.trouble))
    return f"{_number(total)} could not be judged, on {', '.join(targets)}"


def fixed_in_all(found: Overview) -> int:
    """Checks, once per target."""
    return sum(one.count for one in found.fixed)


def failed_when(one: Fixed) -> str:
    """``on 2026-07-01 ...``, or from when to when."""
    return f"on {one.since}" if one.since == one.until else f"from {one.since} to {one.until}"


def _number(checks: int) -> str:
    return f"{checks} check{'' if checks == 1 else 's'}"


def _failure(one: Failures) -> str:
    good = f", held on {one.last_good}" if one.last_good else ""
    targets = _on_targets(one.checks)
    cause = escaped(one.cause[:LONGEST]) or "no cause known"
    example = f", such as {escaped(one.example[:LONGEST])}" if one.example else ""
    return f"**{cause}** ({one.verdict.value}{example}): {targets}; since {escaped(one.since)}{escaped(good)}"


def _fixed(one: Fixed) -> str:
    cause = escaped(one.cause[:LONGEST]) or "no cause known"
    return f"**{cause}** ({one.verdict.value}): {_on_targets(one.checks)}; failed {escaped(failed_when(one))}"


def _on_targets(by_target: dict[str, list[str]]) -> str:
    return "; ".join(f"{target}: {_checks(checks)}" for target, checks in by_target.items())


def _checks(checks: list[str]) -> str:
    named = ", ".join(f"`{one}`" for one in checks[:MOST_CHECKS])
    return named + (f" and {len(checks) - MOST_CHECKS} more" if len(checks) > MOST_CHECKS else "")


def escaped(text: str) -> str:
    """Text that Markdown leaves as it is."""
    return "".join(f"\\{letter}" if letter in r"\`*_[]<>|" else letter for letter in text)
