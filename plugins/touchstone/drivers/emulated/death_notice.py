"""Tells the thread that waits for an agent what another thread learnt: the target died, and of what."""

from __future__ import annotations

import contextlib
import os
import threading


class DeathNotice:
    """Given in one thread (QEMU's events), seen in another.

    ``fd`` is readable from the notice on, so that whoever waits for the agent wakes up.
    """

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._lock = threading.Lock()
        self._armed = False
        self.reason = ""
        self.from_outside = False
        """The death was the doing of somebody on this host, and of nothing in the machine."""

    def arm(self) -> None:
        """From now on, a notice counts; earlier ones are forgotten."""
        with self._lock:
            self._clear()
            self._armed = True

    def disarm(self) -> None:
        """We are about to stop the target ourselves. The reason stays readable."""
        with self._lock:
            self._armed = False

    def give(self, reason: str, *, from_outside: bool = False) -> None:
        """The target died of ``reason``. The first notice counts."""
        with self._lock:
            if self._armed and not self.reason:
                self.reason, self.from_outside = reason, from_outside
                os.eventfd_write(self.fd, 1)

    def close(self) -> None:
        """Close the descriptor; later notices are ignored."""
        with self._lock:
            self._armed = False
            if self.fd >= 0:
                os.close(self.fd)
                self.fd = -1

    def _clear(self) -> None:
        self.reason, self.from_outside = "", False
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self.fd)
