"""What files name that does not exist: targets and drivers in requirements, checks in known deviations."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from touchstone.config.inventory import Inventory, Target
from touchstone.config.subjects import Subject
from touchstone.config.tomlfile import did_you_mean
from touchstone.drivers import registry
from touchstone.suite import requires
from touchstone.suite.model import Requirement

PAYLOADS = "payload."
"""With what the ids of payloads begin, which are no checks of a suite."""


def unknown_words(
    requirements: Iterable[Requirement], inventory: Inventory
) -> Iterator[tuple[Requirement, str]]:
    """Requirements that name a target or a driver which nothing has, and what is wrong."""
    drivers = {*registry.DRIVERS, *(target.settings.driver for target in inventory.targets.values())}
    known: dict[str, Collection[str]] = {"target": inventory.targets, "driver": sorted(drivers)}
    for one in requirements:
        for fact, names in known.items():
            for word in sorted(requires.words_compared(one, fact) - set(names)):
                where = f" in {inventory.shown}" if fact == "target" else ""
                yield one, f"requires: there is no {fact} {word!r}{where}{did_you_mean(word, names)}"


def without_check(targets: Sequence[Target], subject: Subject, checks: Collection[str]) -> Iterator[str]:
    """Entries of the inventory and of a subject's file that are about no check at all, if these are all."""
    entries = [one for target in targets for one in (*target.known_deviations, *target.unsupported)]
    for entry in dict.fromkeys((*entries, *subject.known_deviations)):
        if not entry.check.startswith(PAYLOADS) and not any(entry.covers(check) for check in checks):
            near = did_you_mean(entry.check, checks)
            hint = near if near.startswith(";") else ""
            yield f"{entry.where}: there is no check {entry.check!r}{hint}"
