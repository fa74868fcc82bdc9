"""Boxes that are of no use until somebody has looked at them: a file for each, with the reason."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from touchstone.whole_file import write_whole


@dataclass(frozen=True)
class Sick:
    """A box that was found to be of no use."""

    name: str
    reason: str
    since: float
    """Seconds since the epoch."""

    def __str__(self) -> str:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(self.since))
        return f"{self.name} is marked as sick since {when}: {self.reason}"


def directory(home: Path) -> Path:
    """Where a project keeps its marks."""
    return home / "build" / "sick"


def sick_boxes(home: Path) -> Mapping[str, Sick]:
    """Name to mark. A file that cannot be read is a mark without a reason."""
    found = {}
    for path in sorted(directory(home).glob("*.json")):
        name = path.name.removesuffix(".json")
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
            found[name] = Sick(name, str(said["reason"]), float(said["since"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            found[name] = Sick(name, f"its mark {path} cannot be read: {error}", _changed(path))
    return found


def mark(home: Path, name: str, reason: str) -> None:
    """Mark a box, unless it is marked. OSError if that cannot be written down."""
    path = directory(home) / f"{name}.json"
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"reason": reason.split("\n", maxsplit=1)[0], "since": time.time()})
    write_whole(path, f"{text}\n".encode())


def clear(home: Path, name: str) -> bool:
    """Take a mark away. False if there is none."""
    try:
        (directory(home) / f"{name}.json").unlink()
    except FileNotFoundError:
        return False
    return True


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
