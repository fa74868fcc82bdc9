"""Tests side by side in processes of pytest-xdist: which of them belong together, and who begins.

A unit is what one worker runs in one go: a file, unless ``tests/units.toml`` says otherwise. The longest
begin, so that none is left at the end. A conftest imports the hooks.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from tests.support.checkout import ROOT
from touchstone.pytest_plugin.scheduling import TargetScheduling
from touchstone.pytest_plugin.xdist import is_worker


@dataclass(frozen=True)
class Unit:
    """One entry of the file."""

    tests: tuple[str, ...]
    """Patterns of node ids, in which only ``*`` is special."""
    seconds: float
    """What it takes on an idle machine, roughly: it decides on the order and on nothing else."""
    each: bool
    """Every test is a unit of its own, and takes so long."""

    def has(self, nodeid: str) -> bool:
        """Whether a test belongs to it."""
        return any(fnmatchcase(nodeid, pattern.replace("[", "[[]")) for pattern in self.tests)


@dataclass(frozen=True)
class Units:
    """All of them."""

    entries: tuple[Unit, ...]

    def of(self, nodeid: str) -> tuple[str, float]:
        """The name of a test's unit, and its seconds. The first entry that has the test decides."""
        for entry in self.entries:
            if entry.has(nodeid):
                return (nodeid if entry.each else " ".join(entry.tests)), entry.seconds
        return nodeid.split("::", 1)[0], 0.0

    def sort(self, items: list[pytest.Item]) -> None:
        """Put the longest units first; within a unit, and among equals, the order stays."""
        items.sort(key=lambda item: -self.of(item.nodeid)[1])


def read_units(file: Path) -> Units:
    """The file's entries, in its order."""
    entries = tomllib.loads(file.read_text(encoding="utf-8"))["unit"]
    return Units(
        tuple(Unit(tuple(one["tests"]), float(one["seconds"]), one.get("each", False)) for one in entries)
    )


def wants_workers(config: pytest.Config) -> bool:
    """Whether this run should have workers without having been asked: it has a folder, and no debugger."""
    option = config.option
    return (
        not is_worker(config)
        and getattr(option, "numprocesses", 0) is None  # xdist is there, and nobody has said -n
        and not (option.usepdb or option.collectonly or option.capture == "no")
        and not _asks_for_targets(config)
        and any(Path(argument.split("::", 1)[0]).is_dir() for argument in config.args)
    )


def number_of_workers() -> int:
    """One more than there are CPUs: there is always a test that waits for an emulator or for a timeout."""
    return len(os.sched_getaffinity(0)) + 1


def _asks_for_targets(config: pytest.Config) -> bool:
    options: Iterable[str] = ("touchstone_targets", "touchstone_inventory")
    return any(config.getoption(option, None) for option in options)


UNITS = read_units(ROOT / "tests" / "units.toml")


@pytest.hookimpl(tryfirst=True)  # before xdist's own, which reads the option
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Have workers."""
    if wants_workers(config):
        config.option.numprocesses = number_of_workers()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Have the longest first, in every worker."""
    if is_worker(config):
        UNITS.sort(items)


@pytest.hookimpl(tryfirst=True, optionalhook=True)  # before the plugin's, which distributes by targets
def pytest_xdist_make_scheduler(config: pytest.Config, log: Callable[[str], None]) -> TargetScheduling | None:
    """Distribute by units, unless the run has targets or another way of its own."""
    if _asks_for_targets(config) or config.option.dist != "load":
        return None
    return TargetScheduling(len(config.option.tx), lambda nodeid: UNITS.of(nodeid)[0], log)
