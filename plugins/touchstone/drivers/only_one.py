"""What only one run at a time makes on this host: another one waits, says so, and not for ever."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from touchstone.machine.driver import HostError, Say


@contextlib.contextmanager
def only_one(lock: Path, does: str, timeout: float, progress: Say) -> Iterator[None]:
    """Hold a lock. HostError after ``timeout`` seconds.

    ``does``: what whoever holds it does, behind "another run that".
    """
    held = FileLock(lock)
    try:
        held.acquire(timeout=0)
    except Timeout:
        progress(f"waiting for another run that {does}")
        try:
            held.acquire(timeout=timeout)
        except Timeout:
            raise HostError(
                f"waited {timeout:g} s for another run that {does}, and it still holds {lock}"
            ) from None
    try:
        yield
    finally:
        held.release()
