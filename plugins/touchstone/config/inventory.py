"""``targets/inventory.toml``: the targets, and the checks that each of them cannot pass or cannot run.

Reading it contacts nothing: the inventory alone decides what is collected.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase, translate
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast

from touchstone.config.includes import KEY as INCLUDE
from touchstone.config.includes import check_all, read_with_includes
from touchstone.config.tomlfile import KeyPath, TomlFile, describe, did_you_mean
from touchstone.config.waivers import Waiver, read_waivers
from touchstone.machine.probe_lines import MOST_CPUS
from touchstone.machine.settings import SettingsError, TargetSettings
from touchstone.suite import requires
from touchstone.words import HERE

VENDORS = ("amd", "intel")
CPUS = (1, MOST_CPUS)
MORE_CPUS = (
    f"a probe names at most {MOST_CPUS} CPUs: "
    f"boot a larger machine with the kernel argument nr_cpus={MOST_CPUS}"
)
MEMORY_MIB = (1, 2**20)
MEMORY, CPUS_PER_MIB = 64, 2
"""MiB of a target of which nobody says how many, and the CPUs that want another one."""
INSTANCES = (1, 64)
FACTORS = (0.01, 1000.0)
"""Bounds of ``timeout-factor``."""
NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")
_KEYS = (
    *("driver", "title", "vendor", "cpus", "memory-mib", "cpu-model", "timeout-factor", "deviates-like"),
    "instances",
)
WAIVERS: Mapping[str, tuple[str, ...]] = {
    "known-deviations": ("check", "reason", "until", "link", "emulator", "when"),
    "unsupported": ("check", "reason", "link", "emulator", "when"),
}
"""Tables of checks that do not hold on a target, and their keys."""


def memory_for(cpus: int, least: int) -> int:
    """MiB for a machine with so many CPUs, whose agent and hypervisor have some 400 KiB for each."""
    return max(least, -(-cpus // CPUS_PER_MIB))


def _any_of(waivers: Iterable[Waiver]) -> re.Pattern[str]:
    """Matches the ids of checks that any of them applies to."""
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
    base: str = ""
    """Of a cell of a matrix: the entry that it is made of."""
    instances: int = 1
    """How many of it there may be at once, each with a worker of its own and a part of the checks."""

    def known_deviation(
        self, check_id: str, version: tuple[int, ...] | None, facts: requires.Facts
    ) -> Waiver | None:
        """The known deviation of a check, on an emulator of this version; None if it should hold."""
        if self._known.match(check_id) is None:
            return None
        return next((one for one in self.known_deviations if one.applies(check_id, version, facts)), None)

    def cannot(
        self, check_id: str, facts: requires.Facts, version: tuple[int, ...] | None = None
    ) -> str | None:
        """Why a check cannot be run on it; the emulator's version is not known before it is reached."""
        if self._unsupported.match(check_id) is None:
            return None
        found = (one for one in self.unsupported if one.applies(check_id, version, facts))
        waiver = next(found, None)
        return None if waiver is None else f"{self.settings.name} cannot do this: {waiver}"

    # Most checks are in neither list: one regular expression for all entries is faster than one for each.

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

    @property
    def inventory_name(self) -> str:
        """The name of its entry, which requirements know it by."""
        return self.base or self.name


@dataclass(frozen=True)
class Inventory:
    """All targets: those of the file in its order, then those of the files that it includes."""

    shown: str
    targets: Mapping[str, Target]

    def select(self, patterns: Iterable[str]) -> list[Target]:
        """The targets that names, globs and ``all`` mean, in the order of the file.

        Raises:
            LookupError: A pattern means none; the text says what was meant.
        """
        return select(self.targets, patterns, self.shown)


def select(targets: Mapping[str, Target], patterns: Iterable[str], shown: str) -> list[Target]:
    """The targets that names, globs and ``all`` mean, in their order. LookupError; ``shown``: their file."""
    wanted: set[str] = set()
    for pattern in patterns:
        found = [name for name in targets if pattern == "all" or fnmatchcase(name, pattern)]
        if not found:
            raise LookupError(f"no target {pattern!r} in {shown}{did_you_mean(pattern, targets)}")
        wanted.update(found)
    return [target for name, target in targets.items() if name in wanted]


Validate = Callable[[TargetSettings], None]
"""Raises SettingsError for what a driver cannot work with."""


def read_inventory(path: Path, shown: str | None = None, validate: Validate | None = None) -> Inventory:
    """Read an inventory. TomlError with everything that is wrong in it, each with ``file:line``."""
    files = read_with_includes(path, shown)
    read: dict[str, tuple[TomlFile, object, Target]] = {}
    for file in files:
        file.known(file.data, (), (INCLUDE, "targets"))
        tables = file.table(file.data.get("targets", {}), ("targets",))
        for name, table in tables.items():
            target = _read_target(file, name, table, validate)
            if name not in read:
                read[name] = file, table, target
                continue
            before, _, other = read[name]  # the file that includes gives way, or nobody could repair it
            text = f"there is a target {name!r} already ({target.where}): give this one another name"
            before.error(("targets", other.name), text)
    if not read and not any(file.errors for file in files):
        files[0].error((), "there are no targets: an entry begins with [targets.NAME]")
    targets = {name: target for name, (_, _, target) in read.items()}
    targets = {
        name: _with_inherited_waivers(file, target, table, targets)
        for name, (file, table, target) in read.items()
    }
    check_all(files)
    return Inventory(files[0].shown, targets)


def _read_target(file: TomlFile, name: str, value: object, validate: Validate | None) -> Target:
    key_path: KeyPath = ("targets", name)
    table = file.table(value, key_path)
    errors = len(file.errors)
    if not NAME.fullmatch(name) or name == "all":
        file.error(key_path, f"{name!r} cannot be a target's name: use a-z, 0-9, '.', '_' and '-'")
    if name == HERE:
        file.error(key_path, f"{HERE!r} is the machine that pytest runs on: give this target another name")
    for key in table:
        near = difflib.get_close_matches(key, (*_KEYS, *WAIVERS), n=1, cutoff=0.8)
        if near and near[0] not in table:
            file.error((*key_path, key), f"unknown key {key!r}; did you mean {near[0]}?")
    vendor = file.text(table, "vendor", key_path)
    if vendor and vendor not in VENDORS:
        hint = did_you_mean(vendor, VENDORS)
        file.error((*key_path, "vendor"), f"vendor must be amd or intel, not {vendor!r}{hint}")
    cpus = file.whole(table, "cpus", key_path, 4, *CPUS, beyond=MORE_CPUS)
    settings = TargetSettings(
        name=name,
        driver=file.text(table, "driver", key_path),
        vendor=cast(Literal["amd", "intel"], vendor),
        cpus=cpus,
        memory_mib=file.whole(table, "memory-mib", key_path, memory_for(cpus, MEMORY), *MEMORY_MIB),
        cpu_model=file.text(table, "cpu-model", key_path, "") if "cpu-model" in table else "",
        timeout_factor=_factor(file, table, key_path),
        options={key: value for key, value in table.items() if key not in (*_KEYS, *WAIVERS)},
    )
    target = Target(
        settings=settings,
        title=file.text(table, "title", key_path, name),
        where=file.where(key_path),
        known_deviations=read_waivers(file, table, key_path, "known-deviations", WAIVERS["known-deviations"]),
        unsupported=read_waivers(file, table, key_path, "unsupported", WAIVERS["unsupported"]),
        instances=file.whole(table, "instances", key_path, 1, *INSTANCES),
    )
    if target.instances > 1 and settings.driver == "ssh":
        text = "instances: there is one box, with one address; only a bare emulated machine can exist twice"
        file.error((*key_path, "instances"), text)
    if validate is not None and len(file.errors) == errors:
        try:
            validate(settings)
        except SettingsError as error:
            key = error.key.replace("_", "-")
            here = (*key_path, error.key) if error.key in table else (*key_path, key)
            file.error(here, f"{key}: {error.what}")
    return target


def _with_inherited_waivers(
    file: TomlFile, target: Target, table: object, targets: Mapping[str, Target]
) -> Target:
    """A target with its own waivers, followed by those of the target that ``deviates-like`` names."""
    like = table.get("deviates-like") if isinstance(table, dict) else None
    if like is None:
        return target
    key_path: KeyPath = ("targets", target.name, "deviates-like")
    other = targets.get(like) if isinstance(like, str) else None
    if other is None:
        file.error(key_path, f"there is no target {like!r}{did_you_mean(str(like), targets)}")
        return target
    return replace(
        target,
        known_deviations=(*target.known_deviations, *other.known_deviations),
        unsupported=(*target.unsupported, *other.unsupported),
    )


def _factor(file: TomlFile, table: Mapping[str, Any], key_path: KeyPath) -> float:
    value = table.get("timeout-factor", 1.0)
    low, high = FACTORS
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        text = f"timeout-factor must be from {low:g} to {high:g}, not {describe(value)}"
        file.error((*key_path, "timeout-factor"), text)
        return 1.0
    return float(value)
