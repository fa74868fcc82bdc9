"""``targets/inventory.toml``: which targets there are, and what each of them legitimately cannot do.

Reading it contacts nothing: the inventory alone decides what is collected.
"""

from __future__ import annotations

import datetime
import difflib
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase, translate
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast

from touchstone.config.tomlfile import Place, TomlFile, describe, did_you_mean
from touchstone.machine.settings import SettingsError, TargetSettings

VENDORS = ("amd", "intel")
MAX_CPUS = 64
_VERSION = re.compile(r"(<|<=|>|>=|==) *([0-9]+(?:\.[0-9]+)*)")
_COMPARE: Mapping[str, Callable[[tuple[int, ...], tuple[int, ...]], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
}
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")
_KEYS = ("driver", "title", "vendor", "cpus", "memory-mib", "cpu-model", "timeout-factor", "deviates-like")
_TABLES = ("known-deviations", "unsupported")


@dataclass(frozen=True)
class Waiver:
    """Checks that do not hold on a target, and why."""

    check: str
    """Id of a check, or a glob."""
    reason: str
    where: str
    """``file:line``."""
    until: datetime.date | None = None
    """From this day on it counts no longer."""
    link: str | None = None
    emulator: str | None = None
    """Versions of the emulator that it is about: ``< 8``, ``>= 10.1``; None: all."""

    def covers(self, check_id: str) -> bool:
        """Whether it is about this check."""
        return fnmatchcase(check_id, self.check)

    def concerns(self, version: tuple[int, ...] | None) -> bool:
        """Whether it is about an emulator of this version; None: a version that is not known."""
        if self.emulator is None:
            return True
        match = _VERSION.fullmatch(self.emulator)
        if version is None or match is None:
            return False
        wanted = tuple(map(int, match[2].split(".")))
        return _COMPARE[match[1]](version[: len(wanted)], wanted)

    def __str__(self) -> str:
        return f"{self.reason} ({self.where})" + (f", {self.link}" if self.link else "")

    def expired(self, today: datetime.date) -> bool:
        """Whether its time is over."""
        return self.until is not None and today >= self.until


def _any_of(waivers: Iterable[Waiver]) -> re.Pattern[str]:
    """Matches the ids that any of them is about."""
    return re.compile("|".join(translate(waiver.check) for waiver in waivers) or "(?!)")


@dataclass(frozen=True)
class Target:
    """One entry of the inventory."""

    settings: TargetSettings
    title: str
    where: str
    """``file:line``."""
    known_deviations: tuple[Waiver, ...] = ()
    unsupported: tuple[Waiver, ...] = ()

    def known_deviation(self, check_id: str, version: tuple[int, ...] | None) -> Waiver | None:
        """What is known of a check, on an emulator of this version."""
        if self._known.match(check_id) is None:
            return None
        found = (one for one in self.known_deviations if one.covers(check_id) and one.concerns(version))
        return next(found, None)

    def cannot(self, check_id: str, version: tuple[int, ...] | None = None) -> str | None:
        """Why it is not asked for a check; before it is reached, no version of its emulator is known."""
        if self._unsupported.match(check_id) is None:
            return None
        found = (one for one in self.unsupported if one.covers(check_id) and one.concerns(version))
        waiver = next(found, None)
        return None if waiver is None else f"{self.settings.name} cannot do this: {waiver}"

    # Nearly every check is in neither list: one match says so, instead of one for each entry.

    @cached_property
    def _known(self) -> re.Pattern[str]:
        return _any_of(self.known_deviations)

    @cached_property
    def _unsupported(self) -> re.Pattern[str]:
        return _any_of(self.unsupported)

    @property
    def name(self) -> str:
        """Its name, as ``--target`` takes it."""
        return self.settings.name


@dataclass(frozen=True)
class Inventory:
    """All targets, in the order of the file."""

    shown: str
    targets: Mapping[str, Target]

    def select(self, patterns: Iterable[str]) -> list[Target]:
        """The targets that names, globs and ``all`` mean, in the order of the file.

        Raises:
            LookupError: A pattern means none; the text says what was meant.
        """
        wanted: set[str] = set()
        for pattern in patterns:
            found = [name for name in self.targets if pattern == "all" or fnmatchcase(name, pattern)]
            if not found:
                hint = did_you_mean(pattern, self.targets)
                raise LookupError(f"no target {pattern!r} in {self.shown}{hint}")
            wanted.update(found)
        return [target for name, target in self.targets.items() if name in wanted]


Validate = Callable[[TargetSettings], None]
"""Raises SettingsError for what a driver cannot work with."""


def read_inventory(path: Path, shown: str | None = None, validate: Validate | None = None) -> Inventory:
    """Read an inventory. TomlError with everything that is wrong in it, each with ``file:line``."""
    file = TomlFile.read(path, shown)
    file.known(file.data, (), ("targets",))
    tables = file.table(file.data.get("targets", {}), ("targets",))
    if not tables and not file.errors:
        file.error((), "there are no targets: an entry begins with [targets.NAME]")
    targets = {name: _read_target(file, name, table, validate) for name, table in tables.items()}
    targets = {
        name: _with_the_others(file, target, tables[name], targets) for name, target in targets.items()
    }
    file.check()
    return Inventory(file.shown, targets)


def _read_target(file: TomlFile, name: str, value: object, validate: Validate | None) -> Target:
    place: Place = ("targets", name)
    table = file.table(value, place)
    errors = len(file.errors)
    if not _NAME.fullmatch(name) or name == "all":
        file.error(place, f"{name!r} cannot be a target's name: use a-z, 0-9, '.', '_' and '-'")
    for key in table:
        near = difflib.get_close_matches(key, (*_KEYS, *_TABLES), n=1, cutoff=0.8)
        if near and near[0] not in table:
            file.error((*place, key), f"unknown key {key!r}; did you mean {near[0]}?")
    vendor = file.text(table, "vendor", place)
    if vendor and vendor not in VENDORS:
        hint = did_you_mean(vendor, VENDORS)
        file.error((*place, "vendor"), f"vendor must be amd or intel, not {vendor!r}{hint}")
    settings = TargetSettings(
        name=name,
        driver=file.text(table, "driver", place),
        vendor=cast(Literal["amd", "intel"], vendor),
        cpus=file.whole(table, "cpus", place, 4, 1, MAX_CPUS),
        memory_mib=file.whole(table, "memory-mib", place, 64, 1, 2**20),
        cpu_model=file.text(table, "cpu-model", place, "") if "cpu-model" in table else "",
        timeout_factor=_factor(file, table, place),
        options={key: value for key, value in table.items() if key not in (*_KEYS, *_TABLES)},
    )
    target = Target(
        settings=settings,
        title=file.text(table, "title", place, name),
        where=file.where(place),
        known_deviations=_waivers(
            file, table, place, "known-deviations", ("check", "reason", "until", "link", "emulator")
        ),
        unsupported=_waivers(file, table, place, "unsupported", ("check", "reason", "link", "emulator")),
    )
    if validate is not None and len(file.errors) == errors:
        try:
            validate(settings)
        except SettingsError as error:
            key = error.key.replace("_", "-")
            here = (*place, error.key) if error.key in table else (*place, key)
            file.error(here, f"{key}: {error.what}")
    return target


def _with_the_others(file: TomlFile, target: Target, table: object, targets: Mapping[str, Target]) -> Target:
    """A target with the waivers of the one that it deviates like, behind its own."""
    like = table.get("deviates-like") if isinstance(table, dict) else None
    if like is None:
        return target
    place: Place = ("targets", target.name, "deviates-like")
    other = targets.get(like) if isinstance(like, str) else None
    if other is None:
        file.error(place, f"there is no target {like!r}{did_you_mean(str(like), targets)}")
        return target
    return replace(
        target,
        known_deviations=(*target.known_deviations, *other.known_deviations),
        unsupported=(*target.unsupported, *other.unsupported),
    )


def _factor(file: TomlFile, table: Mapping[str, Any], place: Place) -> float:
    value = table.get("timeout-factor", 1.0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.01 <= value <= 1000:
        text = f"timeout-factor must be from 0.01 to 1000, not {describe(value)}"
        file.error((*place, "timeout-factor"), text)
        return 1.0
    return float(value)


def _waivers(
    file: TomlFile, table: Mapping[str, Any], place: Place, key: str, keys: tuple[str, ...]
) -> tuple[Waiver, ...]:
    value = table.get(key, [])
    here: Place = (*place, key)
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        file.error(here, f"{key} must be written as [[targets.{place[-1]}.{key}]] tables")
        return ()
    found = []
    for index, one in enumerate(value):
        entry: Place = (*here, index)
        file.known(one, entry, keys)
        until = one.get("until")
        if until is not None and (
            not isinstance(until, datetime.date) or isinstance(until, datetime.datetime)
        ):
            file.error((*entry, "until"), f"until must be a date such as 2027-01-01, not {describe(until)}")
            until = None
        emulator = file.text(one, "emulator", entry) if "emulator" in one else None
        if emulator is not None and not _VERSION.fullmatch(emulator):
            text = f"emulator must be versions such as '>= 10' or '< 8.2', not {describe(emulator)}"
            file.error((*entry, "emulator"), text)
            emulator = None
        found.append(
            Waiver(
                check=file.text(one, "check", entry),
                reason=file.text(one, "reason", entry),
                where=file.where(entry),
                until=until,
                link=file.text(one, "link", entry) if "link" in one else None,
                emulator=emulator,
            )
        )
    return tuple(found)
