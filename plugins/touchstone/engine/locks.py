"""A machine that exists only once is driven by one run at a time. The lock goes with its process."""

from __future__ import annotations

import json
import os
import socket
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock, Timeout

from touchstone.machine.driver import HostError

PATIENCE = 3600.0
"""Seconds to wait for another run."""


class TargetLock:
    """Keeps other processes from driving a machine.

    Args:
        key: Name of the machine, the same in every run: ``ssh-amd-box-22``.
        directory: Where lock files are; the default is the same for all users of this host.
    """

    def __init__(self, key: str, directory: Path | None = None) -> None:
        directory = directory or Path(tempfile.gettempdir()) / "touchstone-locks"
        directory.mkdir(parents=True, exist_ok=True)
        if directory.stat().st_uid == os.getuid():
            directory.chmod(0o1777)
        self._lock = FileLock(directory / f"{key}.lock", mode=0o666)
        self._owner = directory / f"{key}.json"
        self.key = key

    def acquire(self, progress: Callable[[str], None], patience: float = PATIENCE) -> None:
        """Wait for the lock, and say who holds it. HostError after ``patience`` seconds."""
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            progress(f"waiting for {self.owner()}")
            try:
                self._lock.acquire(timeout=patience, poll_interval=0.2)
            except Timeout:
                raise HostError(f"{self.key} is held by {self.owner()}") from None
        text = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()})
        new = self._owner.with_suffix(f".{os.getpid()}.new")
        new.write_text(text, encoding="utf-8")
        new.replace(self._owner)

    def release(self) -> None:
        """Release the lock. Safe to repeat."""
        if self._lock.is_locked:
            self._owner.unlink(missing_ok=True)
            self._lock.release()

    def owner(self) -> str:
        """Who holds the lock, since when: ``process 4711 on lab-host, since 14:03:20``."""
        try:
            found = json.loads(self._owner.read_text(encoding="utf-8"))
            since = time.strftime("%H:%M:%S", time.localtime(found["since"]))
            return f"process {found['pid']} on {found['host']}, since {since}"
        except (OSError, ValueError, KeyError, TypeError):
            return "another run"
