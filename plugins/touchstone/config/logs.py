"""Where a run keeps its serial logs: in its own directory, so that two runs never write to one file."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from functools import cache
from pathlib import Path

KEPT = 10
"""Directories of earlier runs that are kept."""


@cache
def log_directory(root: Path) -> Path:
    """The directory of this process under ``build/logs``, made at its first use."""
    logs = root / "build" / "logs"
    name = time.strftime("%Y%m%d-%H%M%S-") + str(os.getpid())
    try:
        logs.mkdir(parents=True, exist_ok=True)
        _prune(logs)
        directory = logs / name
        directory.mkdir(exist_ok=True)
    except OSError:  # the checkout is read-only for this user
        return Path(tempfile.mkdtemp(prefix="touchstone-logs-"))
    return directory


def _prune(logs: Path) -> None:
    runs = sorted(path for path in logs.iterdir() if path.is_dir())
    for old in runs[: -KEPT + 1 or None]:
        if not _alive(old.name):
            shutil.rmtree(old, ignore_errors=True)


def _alive(name: str) -> bool:
    """Whether the process that made a directory still exists."""
    try:
        os.kill(int(name.rsplit("-", 1)[1]), 0)
    except (ValueError, IndexError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True
