"""Runs that share a host: each machine waits for its turn, and who takes longest is first.

The runs know each other by a directory. Who waits has a file there and holds its lock, and so does who has a
place: both go with their process.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

from filelock import FileLock, Timeout

_POLL = 0.1
"""Seconds between two looks whether a place is free."""


class Turns:
    """The turns of one process, which has one at a time.

    Args:
        directory: The same for all runs that share the host.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._mutex = FileLock(directory / "mutex")
        """Whoever looks at the other files, or makes one, holds it."""
        self._place: FileLock | None = None

    def take(self, kind: str, places: int, seconds: float) -> None:
        """Wait for one of the places of a kind.

        ``seconds``: how long it will be kept, as far as known: of those that wait, the longest is first.
        Returns at once if this process has a place.
        """
        if self._place is not None:
            return
        rank = f"{min(seconds, 1e9):014.3f}"
        mine = FileLock(self._directory / f"{kind}.waits.{rank}.{os.getpid()}-{uuid4().hex}")
        with self._mutex:
            mine.acquire()
        try:
            while not self._seated(kind, places, mine):
                time.sleep(_POLL)
        finally:
            with self._mutex:
                mine.release()
                Path(mine.lock_file).unlink(missing_ok=True)

    def leave(self) -> None:
        """Give the place back. Safe to repeat."""
        if self._place is not None:
            self._place.release()
            self._place = None

    def _seated(self, kind: str, places: int, mine: FileLock) -> bool:
        """Take a place if more are free than others are before us."""
        with self._mutex:
            free = [
                lock
                for number in range(places)
                if _taken(lock := FileLock(self._directory / f"{kind}.{number}"))
            ]
            before = sum(map(self._is_before(mine), self._directory.glob(f"{kind}.waits.*")))
            if len(free) > before:
                self._place = free.pop()
            for lock in free:
                lock.release()
            return self._place is not None

    @staticmethod
    def _is_before(mine: FileLock) -> Callable[[Path], bool]:
        own = Path(mine.lock_file).name

        def is_before(other: Path) -> bool:
            if other.name <= own:
                return False
            lock = FileLock(other)
            if not _taken(lock):
                return True
            lock.release()  # its process has died
            other.unlink(missing_ok=True)
            return False

        return is_before


def _taken(lock: FileLock) -> bool:
    """Whether the lock could be taken; it is ours then."""
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    return True
