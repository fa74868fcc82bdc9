"""``--plan``: what a run would judge where, what not and why, and how long it takes. Contacts nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from touchstone.config.inventory import Target
from touchstone.drivers import registry
from touchstone.journal.durations import Durations
from touchstone.journal.lines import Key
from touchstone.pytest_plugin.marks import CHECK

if TYPE_CHECKING:
    from touchstone.pytest_plugin.run import Run


@dataclass
class TargetOutlook:
    """What is in store for one target."""

    target: Target
    unavailable: str = ""
    """Why it is not judged at all: this host cannot run it, or the lab has to see to it first."""
    judged: list[Key] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    """Reason to number of checks."""
    seconds: float | None = None
    """By earlier journals; None: they do not know the target."""


def outlook(run: Run, items: Iterable[pytest.Item], before: Durations | None) -> list[TargetOutlook]:
    """What is in store for each target, in their order."""
    found = {target.name: TargetOutlook(target, _unavailable(target)) for target in run.targets}
    for about in found.values():
        if (sick := run.sick.get(about.target.inventory_name)) is not None:
            about.unavailable = str(sick)
    for item in items:
        one = item.stash.get(CHECK, None)
        if one is None:
            continue
        about = found[one.target.name]
        mark = item.get_closest_marker("skip")
        if about.unavailable:
            about.skipped[about.unavailable] += 1
        elif mark is not None:
            about.skipped[str(mark.kwargs.get("reason", "skipped"))] += 1
        else:
            about.judged.append(Key(one.name, one.target.name, run.subject.name))
    for about in found.values():
        if before is not None:
            about.seconds = before.expected(about.target.name, about.judged)
    return list(found.values())


def _unavailable(target: Target) -> str:
    if target.settings.driver not in registry.DRIVERS:
        return ""
    reason = registry.unavailable(target.settings)
    return f"this host cannot run it: {reason}" if reason else ""


def lines_of(
    run: Run, found: Sequence[TargetOutlook], elsewhere: int, before: Durations | None, shown: str
) -> Iterator[str]:
    """The plan as people read it. ``elsewhere``: checks of other parts of a run that is shared out."""
    matrix = run.matrix
    judged = sum(len(one.judged) for one in found)
    of = f" of the matrix {matrix.name}" if matrix is not None else ""
    shard = f", part {run.options.shard} ({elsewhere} checks are in others)" if run.options.shard else ""
    targets = f"{len(found)} target{'s' if len(found) != 1 else ''}"
    yield f"{run.subject.title} on {targets}{of}: {judged} checks to judge{shard}"
    known = [one.seconds for one in found if one.seconds is not None]
    if before is not None and known:
        left = [one.target.name for one in found if one.seconds is None]
        without = f", without {', '.join(left)}, which nothing is known of" if left else ""
        yield (
            f"by {shown}: {duration(sum(known))} in all, {duration(max(known))} with a worker for each target"
            f"{without}"
        )
    else:
        yield "how long it takes is not known: there is no journal of such a run (--plan=JOURNAL names one)"
    for one in found:
        took = "" if one.seconds is None or not one.judged else f", {duration(one.seconds)}"
        yield f"{one.target.name}: {len(one.judged)} checks{took} ({one.target.title})"
        for reason, count in _folded(one, run.config.get_verbosity() > 0).most_common():
            yield f"    {count} not: {reason}"
    if matrix is None:
        return
    for cell in matrix.excluded:
        subject = f" with {cell.cell.subject}" if len(matrix.subjects) > 1 else ""
        yield f"{cell.cell.target.name}{subject}: left out: {cell.reason} ({cell.where})"
    for subject in (one for one in matrix.subjects if one != run.options.hypervisor):
        names = [target.name for target in matrix.targets(subject)]
        yield f"another run (--hypervisor={subject}): {', '.join(names)}"


def _folded(one: TargetOutlook, everything: bool) -> Counter[str]:
    """Reasons and their checks; what the inventory lists is one of them, unless ``everything`` is asked."""
    found: Counter[str] = Counter()
    for reason, count in one.skipped.items():
        listed = reason.startswith(f"{one.target.name} cannot do this: ") and not everything
        found["the inventory lists what the target cannot do (-v says what)" if listed else reason] += count
    return found


def duration(seconds: float) -> str:
    """``2 h 3 min``, ``4 min 5 s``, ``0.3 s``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if minutes else f"{rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
