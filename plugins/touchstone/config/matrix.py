"""``targets/matrix.toml``: what a night runs, as products of targets, CPUs, CPU models, kernels and subjects.

::

    [[matrix.nightly.include]]      # each of these is a product; a night runs all of them
    target = ["qemu-amd", "bochs-*"]
    cpus = [1, 4, 16]
    subject = ["veneer", "none"]

    [[matrix.nightly.exclude]]      # cells that all of this fits are left out, for a reason
    target = "bochs-*"
    cpus = 16
    reason = "an hour on our runners"

A cell is a target of the inventory with other values: it has everything else of it, its known deviations too.
Reading contacts nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from itertools import product
from pathlib import Path

from touchstone.config.inventory import CPUS, MEMORY_MIB, Inventory, Target, Validate, memory_for
from touchstone.config.tomlfile import KeyPath, TomlFile, describe, did_you_mean
from touchstone.machine.settings import SettingsError

NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")
AXES = ("target", "cpus", "memory-mib", "cpu-model", "kernel", "subject")
"""Keys of ``include``; ``exclude`` has ``reason`` besides."""
NUMBERS = {"cpus": CPUS, "memory-mib": MEMORY_MIB}
"""Axes whose values are whole numbers, and their bounds."""
_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]+")

Value = str | int


@dataclass(frozen=True)
class Cell:
    """One target with certain values, and the subject that is judged on it."""

    target: Target
    subject: str
    """As ``--hypervisor`` takes it."""
    where: str
    """``file:line`` of what includes it."""


@dataclass(frozen=True)
class Excluded:
    """A cell that is left out."""

    cell: Cell
    reason: str
    where: str


@dataclass
class Matrix:
    """The cells of one name."""

    name: str
    cells: list[Cell] = field(default_factory=list)
    excluded: list[Excluded] = field(default_factory=list)

    @property
    def subjects(self) -> list[str]:
        """In the order of the file."""
        return list(dict.fromkeys(cell.subject for cell in self.cells))

    def targets(self, subject: str) -> list[Target]:
        """What is judged with a subject."""
        return [cell.target for cell in self.cells if cell.subject == subject]


@dataclass(frozen=True)
class _Rule:
    """A table of ``include`` or ``exclude``."""

    key_path: KeyPath
    values: Mapping[str, Sequence[Value]]
    """Axis to values, of those that it names."""
    reason: str = ""

    def fits(self, cell: Cell) -> bool:
        """Whether all that it names is the cell's."""
        return all(_fits(axis, values, cell) for axis, values in self.values.items())


def read_matrix(
    path: Path, name: str, inventory: Inventory, shown: str | None = None, validate: Validate | None = None
) -> Matrix:
    """The matrix of a name. TomlError with everything that is wrong in the file, each with ``file:line``."""
    file = TomlFile.read(path, shown)
    file.known(file.data, (), ("matrix",))
    tables = file.table(file.data.get("matrix", {}), ("matrix",))
    found = {one: _read(file, one, table, inventory, validate) for one, table in tables.items()}
    if name not in found:
        file.error(("matrix",), f"there is no matrix {name!r}{did_you_mean(name, found)}")
    file.check()
    return found[name]


def _read(
    file: TomlFile, name: str, value: object, inventory: Inventory, validate: Validate | None
) -> Matrix:
    key_path: KeyPath = ("matrix", name)
    table = file.table(value, key_path)
    file.known(table, key_path, ("include", "exclude"))
    if not NAME.fullmatch(name):
        file.error(key_path, f"{name!r} cannot be a matrix's name: use a-z, 0-9, '.', '_' and '-'")
    included = list(_rules(file, table, key_path, "include", inventory))
    excluded = list(_rules(file, table, key_path, "exclude", inventory))
    if not included and not file.errors:
        file.error(key_path, f"nothing is included: write [[matrix.{name}.include]] tables")
    matrix, used = Matrix(name), set()
    known: dict[tuple[str, str], Target] = {}
    for rule in included:
        for cell in _cells(file, rule, inventory, validate):
            identity = (cell.target.name, cell.subject)
            if identity in known:
                if known[identity].settings != cell.target.settings:
                    text = f"two cells would be called {cell.target.name}: their values differ in signs only"
                    file.error(rule.key_path, text)
                continue
            known[identity] = cell.target
            out = next((one for one in excluded if one.fits(cell)), None)
            if out is None:
                matrix.cells.append(cell)
            else:
                used.add(out.key_path)
                matrix.excluded.append(Excluded(cell, out.reason, file.where(out.key_path)))
    for rule in excluded:
        if rule.key_path not in used and not file.errors:
            file.error(rule.key_path, "this excludes no cell: none fits all of it")
    return matrix


def _rules(
    file: TomlFile, table: Mapping[str, object], key_path: KeyPath, key: str, inventory: Inventory
) -> Iterator[_Rule]:
    here: KeyPath = (*key_path, key)
    entries = table.get(key, [])
    if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
        file.error(here, f"{key} must be written as [[{'.'.join(map(str, here))}]] tables")
        return
    for index, entry in enumerate(entries):
        where: KeyPath = (*here, index)
        file.known(entry, where, AXES if key == "include" else (*AXES, "reason"))
        reason = file.text(entry, "reason", where) if key == "exclude" else ""
        if key == "include" and "target" not in entry:
            file.error(where, "target is missing")
        values = {
            axis: list(_values(file, axis, entry[axis], (*where, axis))) for axis in AXES if axis in entry
        }
        for pattern in values.get("target", ()):
            if not any(_means(str(pattern), name) for name in inventory.targets):
                hint = did_you_mean(str(pattern), inventory.targets)
                file.error((*where, "target"), f"no target {pattern!r} in {inventory.shown}{hint}")
        yield _Rule(where, values, reason)


def _values(file: TomlFile, axis: str, value: object, key_path: KeyPath) -> Iterator[Value]:
    """One value, or a list of them."""
    several = value if isinstance(value, list) else [value]
    if not several:
        file.error(key_path, f"{axis} is an empty list")
    for one in several:
        if axis in NUMBERS:
            low, high = NUMBERS[axis]
            if not isinstance(one, int) or isinstance(one, bool) or not low <= one <= high:
                text = f"{axis} must be whole numbers, {low} to {high}, not {describe(one)}"
                file.error(key_path, text)
                continue
        elif not isinstance(one, str) or not one:
            file.error(key_path, f"{axis} must be texts, not {describe(one)}")
            continue
        yield one


def _cells(file: TomlFile, rule: _Rule, inventory: Inventory, validate: Validate | None) -> Iterator[Cell]:
    where = file.where(rule.key_path)
    patterns = [str(one) for one in rule.values.get("target", ())]
    axes = [axis for axis in AXES if axis in rule.values and axis not in ("target", "subject")]
    for base in inventory.targets.values():
        if not any(_means(pattern, base.name) for pattern in patterns):
            continue
        ours = [axis for axis in axes if axis != "kernel" or "image" in base.settings.options]
        for values in product(*(rule.values[axis] for axis in ours)):
            target = _derived(base, dict(zip(ours, values, strict=True)), where)
            if validate is not None and not file.errors:
                try:
                    validate(target.settings)
                except SettingsError as error:
                    file.error(rule.key_path, f"{target.name}: {error}")
            for subject in rule.values.get("subject", ("veneer",)):
                yield Cell(target, str(subject), where)


_SETTINGS: Mapping[str, Callable[[Target], Value]] = {
    "cpus": lambda target: target.settings.cpus,
    "memory-mib": lambda target: target.settings.memory_mib,
    "cpu-model": lambda target: target.settings.cpu_model,
    "kernel": lambda target: str(target.settings.options.get("image", "")),
}
_SHORT = {"cpu-model": "model", "memory-mib": "mib"}


def _derived(base: Target, values: Mapping[str, Value], where: str) -> Target:
    """The target with other values. Its name says those that the inventory does not have for it."""
    other = {axis: value for axis, value in values.items() if value != _SETTINGS[axis](base)}
    if not other:
        return base
    settings = base.settings
    parts = [f"{_SHORT.get(axis, axis)}={_UNSAFE.sub('_', str(value))}" for axis, value in other.items()]
    options = {**settings.options, **({"image": other["kernel"]} if "kernel" in other else {})}
    cpus = int(other.get("cpus", settings.cpus))
    changed = replace(
        settings,
        name="+".join((base.name, *parts)),
        cpus=cpus,
        memory_mib=int(values.get("memory-mib", memory_for(cpus, settings.memory_mib))),
        cpu_model=str(other.get("cpu-model", settings.cpu_model)),
        options=options,
    )
    said = ", ".join(f"{axis} {value}" for axis, value in other.items())
    return replace(base, settings=changed, title=f"{base.title}; {said}", where=where, base=base.name)


def _means(pattern: str, name: str) -> bool:
    return pattern == "all" or fnmatchcase(name, pattern)


def _fits(axis: str, values: Sequence[Value], cell: Cell) -> bool:
    if axis == "target":
        names = (cell.target.name, cell.target.inventory_name)
        return any(_means(str(pattern), name) for pattern in values for name in names)
    return (cell.subject if axis == "subject" else _SETTINGS[axis](cell.target)) in values
