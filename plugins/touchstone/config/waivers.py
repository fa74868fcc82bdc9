"""Known deviations: which checks do not hold, where, and why. The inventory has a machine's."""

from __future__ import annotations

import datetime
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from touchstone.config.tomlfile import KeyPath, TomlFile, describe
from touchstone.suite import requires

VERSION = re.compile(r"(<|<=|>|>=|==) *([0-9]{1,9}(?:\.[0-9]{1,9}){0,9})")
_COMPARE: Mapping[str, Callable[[tuple[int, ...], tuple[int, ...]], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
}


@dataclass(frozen=True)
class Waiver:
    """Checks that do not hold on a target, and why."""

    check: str
    """Id of a check, or a glob."""
    reason: str
    where: str
    """``file:line``: of the entry, or of this name in its list."""
    until: datetime.date | None = None
    """The first day on which it no longer applies."""
    link: str | None = None
    emulator: str | None = None
    """Versions of the emulator that it applies to: ``< 8``, ``>= 10.1``; None: all."""
    owner: str | None = None
    """Who takes care of it."""
    when: str | None = None
    """A requirement of the target: ``vendor == amd and driver == qemu``; None: all targets."""
    alone: bool = True
    """Whether its entry names no other check."""

    def covers(self, check_id: str) -> bool:
        """Whether it applies to this check."""
        return fnmatchcase(check_id, self.check)

    def concerns(self, version: tuple[int, ...] | None) -> bool:
        """Whether it applies to an emulator of this version; None: the version is not known."""
        if self.emulator is None:
            return True
        match = VERSION.fullmatch(self.emulator)
        if version is None or match is None:
            return False
        wanted = tuple(map(int, match[2].split(".")))
        return _COMPARE[match[1]](version[: len(wanted)], wanted)

    def applies(self, check_id: str, version: tuple[int, ...] | None, facts: requires.Facts) -> bool:
        """Whether it applies to this check on a target of which this is known."""
        return (
            self.covers(check_id)
            and self.concerns(version)
            and (self.when is None or requires.evaluate(self.when, facts).result is True)
        )

    def __str__(self) -> str:
        more = [self.link] if self.link else []
        more += [f"owner {self.owner}"] if self.owner else []
        return ", ".join([f"{self.reason} ({self.where})", *more])

    def expired(self, today: datetime.date) -> bool:
        """Whether the day ``until`` has come."""
        return self.until is not None and today >= self.until


def read_waivers(
    file: TomlFile, table: Mapping[str, Any], key_path: KeyPath, key: str, keys: tuple[str, ...]
) -> tuple[Waiver, ...]:
    """The tables of a list, one for each check that they name. What is wrong in them is noted in the file."""
    value = table.get(key, [])
    here: KeyPath = (*key_path, key)
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        name = ".".join(map(str, here))
        file.error(here, f"{key} must be written as [[{name}]] tables")
        return ()
    found = []
    for index, one in enumerate(value):
        entry: KeyPath = (*here, index)
        file.known(one, entry, keys)
        until = one.get("until")
        if until is not None and (
            not isinstance(until, datetime.date) or isinstance(until, datetime.datetime)
        ):
            file.error((*entry, "until"), f"until must be a date such as 2027-01-01, not {describe(until)}")
            until = None
        emulator = file.text(one, "emulator", entry) if "emulator" in one else None
        if emulator is not None and not VERSION.fullmatch(emulator):
            text = f"emulator must be versions such as '>= 10' or '< 8.2', not {describe(emulator)}"
            file.error((*entry, "emulator"), text)
            emulator = None
        when = file.text(one, "when", entry) if "when" in one else None
        if when is not None and (problem := _problem_with(when)) is not None:
            file.error((*entry, "when"), f"when: {problem}")
            when = None
        names = _names(file, one, entry)
        waiver = Waiver(
            check="",
            reason=file.text(one, "reason", entry),
            where="",
            until=until,
            link=file.text(one, "link", entry) if "link" in one else None,
            emulator=emulator,
            owner=file.text(one, "owner", entry) if "owner" in one else None,
            when=when,
            alone=len(names) == 1,
        )
        found += [replace(waiver, check=name, where=file.where(place)) for name, place in names]
    return tuple(found)


def _names(file: TomlFile, table: Mapping[str, Any], entry: KeyPath) -> list[tuple[str, KeyPath]]:
    """The checks that an entry names, one or a list of them, each with where it is named."""
    value = table.get("check")
    if not isinstance(value, list):
        return [(file.text(table, "check", entry), entry)]
    here: KeyPath = (*entry, "check")
    if not value:
        file.error(here, "check must be a text or a list of texts, and this list is empty")
    found: dict[str, KeyPath] = {}
    for index, name in enumerate(value):
        if not isinstance(name, str) or not name:
            file.error((*here, index), f"check must be a list of texts, and has {describe(name)} in it")
        elif name in found:
            file.error((*here, index), f"check names {name} twice")
        else:
            found[name] = (*here, index)
    return [(name, place if len(found) > 1 else entry) for name, place in found.items()]


def _problem_with(when: str) -> str | None:
    try:
        requires.parse(when)
    except requires.ExpressionError as error:
        return error.text
    return None
