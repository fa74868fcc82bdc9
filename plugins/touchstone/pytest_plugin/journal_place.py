"""Which file is the journal of a run: a new one, or the one of a run that was broken off (``--resume``)."""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from touchstone.journal.durations import Durations
from touchstone.journal.read import Journal, JournalError, read_journal
from touchstone.pytest_plugin.options import home, show_path

if TYPE_CHECKING:
    from xdist.workermanage import WorkerController  # type: ignore[import-untyped]

KEPT = 30
"""Journals of earlier runs that are kept in the default place."""
NEWEST = ""
"""Value of ``--resume`` without a file."""
_INPUT = "touchstone_journal"
"""Key of a worker's input."""
_NAME = re.compile(r"\d{8}-\d{6}-\d+(-\d+)?\.jsonl")


@dataclass(frozen=True)
class JournalPlace:
    """Where a process of a run writes."""

    path: Path
    size: int
    """Bytes that an earlier run has written, with which this one goes on; 0: it begins anew."""
    plans: bool
    """This process writes down what is planned: the only one of a run, or one of xdist's workers."""


_PLACE = pytest.StashKey[JournalPlace]()
_PLANNER = pytest.StashKey[list[Any]]()
"""The worker that plans, and True once it has."""


def journal_place(config: pytest.Config) -> JournalPlace:
    """The file, chosen when it is first asked for. UsageError if it cannot be what was asked for."""
    found = config.stash.get(_PLACE, None)
    if found is None:
        sent = getattr(config, "workerinput", {}).get(_INPUT)
        if sent is not None:
            found = JournalPlace(Path(sent["path"]), sent["size"], sent["plans"])
        else:
            found = _choose(config)
        config.stash[_PLACE] = found
    return found


def earlier_run(config: pytest.Config) -> Journal | None:
    """What the run has judged with which this one goes on; None: this one begins anew. UsageError."""
    place = journal_place(config)
    return _read(config, place.path, place.size) if place.size else None


def _read(config: pytest.Config, path: Path, size: int | None = None, option: str = "--resume") -> Journal:
    shown = show_path(config, path)
    file = Path(str(path).split("::", 1)[0])
    if file.is_dir() or file.suffix in (".py", ".yaml", ".yml"):
        raise pytest.UsageError(
            f"{option}: {shown} is no journal, but what is behind {option} is taken for one: "
            f"to choose the checks, name {shown} before {option}"
        )
    try:
        return read_journal(path, size)
    except OSError as error:
        text = f"{option}: {shown}: {error.strerror or error}"
        raise pytest.UsageError(f"{text}; the file is named as {option}=FILE") from None
    except JournalError as error:
        raise pytest.UsageError(f"{option}: {error}; the file is named as {option}=FILE") from None


def _choose(config: pytest.Config) -> JournalPlace:
    named, resume = config.getoption("touchstone_journal"), config.getoption("touchstone_resume")
    if named is not None and resume is not None:
        raise pytest.UsageError(
            "--resume=FILE goes on with a journal, --journal=FILE begins one: give one of them"
        )
    if resume is not None:
        path = _newest(config) if resume == NEWEST else _absolute(config, resume)
        _read(config, path)
        return JournalPlace(path, path.stat().st_size, True)
    if named is None:
        return JournalPlace(_unused(config), 0, True)
    path = _absolute(config, named)
    if path.is_file() and path.stat().st_size:
        shown = show_path(config, path)
        raise pytest.UsageError(
            f"--journal: {shown} exists: --resume={shown} goes on with it; or name another file, or remove it"
        )
    return JournalPlace(path, 0, True)


def plan_by(config: pytest.Config, subject: str, targets: Iterable[str]) -> Durations | None:
    """How long checks take: by the journal of ``--plan``, else by those about a subject and the targets."""
    durations = Durations()
    named = config.getoption("touchstone_plan") or None
    if named is not None:
        durations.take(_read(config, _absolute(config, named), option="--plan"))
        return durations
    build = home(config) / "build"
    places = ("journals/*.jsonl", "nights/*/*.jsonl", "last-night/*.jsonl")
    found_there = [path for place in places for path in build.glob(place)]
    own = journal_place(config).path
    for path in sorted(found_there, key=_written, reverse=True):
        if path == own:
            continue
        try:
            found = read_journal(path)
        except (OSError, JournalError):
            continue
        if found.runs[0].subject.name == subject and not found.seconds.keys().isdisjoint(targets):
            durations.take(found)
            if len(durations.paths) == KEPT:
                break
    return durations if durations.paths else None


def _written(path: Path) -> float:
    """When a file was written last; 0 if another run has just removed it, as each does with the oldest."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _absolute(config: pytest.Config, name: str) -> Path:
    return config.invocation_params.dir / os.path.expanduser(name)


def _directory(config: pytest.Config) -> Path:
    return home(config) / "build" / "journals"


def _newest(config: pytest.Config) -> Path:
    directory = _directory(config)
    found = sorted(path for path in directory.glob("*.jsonl") if _NAME.fullmatch(path.name))
    if not found:
        raise pytest.UsageError(
            f"--resume: there is no journal in {show_path(config, directory)}: name one, --resume=FILE"
        )
    return found[-1]


def _unused(config: pytest.Config) -> Path:
    """A name that no run has, in a directory that can be written to."""
    directory = _directory(config)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for old in sorted(path for path in directory.iterdir() if _NAME.fullmatch(path.name))[: -KEPT + 1]:
            old.unlink(missing_ok=True)
    except OSError:
        pass
    if not os.access(directory, os.W_OK):  # the checkout is read-only for this user
        directory = Path(tempfile.mkdtemp(prefix="touchstone-journal-"))
    stem = time.strftime("%Y%m%d-%H%M%S-") + str(os.getpid())
    names = (f"{stem}.jsonl", *(f"{stem}-{number}.jsonl" for number in range(2, 1000)))
    return next(path for name in names if not (path := directory / name).exists())


def place_for(node: WorkerController) -> None:
    """Tell a worker where the journal is, and one of them to write down what is planned."""
    config = node.config
    planner = config.stash.setdefault(_PLANNER, [])
    if not planner:
        planner.append(node)
    place = journal_place(config)
    node.workerinput[_INPUT] = {"path": str(place.path), "size": place.size, "plans": planner[0] is node}


def has_collected(node: WorkerController) -> bool:
    """Whether the worker that has collected is the one that plans: the journal has begun then."""
    planner = node.config.stash.get(_PLANNER, [])
    if planner and planner[0] is node:
        planner[:] = [node, True]
        return True
    return False


def is_down(node: WorkerController) -> None:
    """A worker has ended: if it was to plan and did not come so far, the next one does."""
    planner = node.config.stash.get(_PLANNER, [])
    if planner == [node]:
        planner.clear()
