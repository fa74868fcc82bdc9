"""Progress of what takes over a second: a line per step, again while it lasts; of what is quicker, none."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

QUIET = 1.0
"""Seconds after which a stage shows its steps."""
AGAIN = 15.0
"""Seconds after which a step is shown again: that it still lasts, and how far it is, is to be seen in a log
as well."""


class StageProgress:
    """Takes a sentence per step, and shows it once its stage has lasted for ``QUIET`` seconds.

    Args:
        write: Writes a line; None shows nothing.
    """

    def __init__(self, write: Callable[[str], None] | None) -> None:
        self._write = write
        self._lock = threading.Lock()
        self._name = ""
        self._began: float | None = None
        self._text = ""
        self._shown = ""
        """The step that was shown last."""
        self._timer: threading.Timer | None = None

    def __call__(self, text: str) -> None:
        """Say what is being done now."""
        with self._lock:
            self._text = text
            late = self._began is not None and time.monotonic() - self._began >= QUIET
            if late and _step(text) != self._shown:
                self._show()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Within it, steps are taken on the target ``name``, which may take long."""
        if self._write is None or self._began is not None:
            yield
            return
        self._name, self._text, self._shown, self._began = name, "", "", time.monotonic()
        self._wait(QUIET)
        try:
            yield
        finally:
            with self._lock:
                if self._timer is not None:
                    self._timer.cancel()
                self._began = None

    def _wait(self, seconds: float) -> None:
        self._timer = threading.Timer(seconds, self._late)
        self._timer.daemon = True
        self._timer.start()

    def _late(self) -> None:
        with self._lock:
            if self._began is None:
                return
            if self._text:
                self._show()
            self._wait(AGAIN)

    def _show(self) -> None:
        assert self._write is not None
        assert self._began is not None
        self._shown = _step(self._text)
        self._write(f"{self._name}: {self._text} ({time.monotonic() - self._began:.0f} s)")


def _step(text: str) -> str:
    """A sentence without its numbers: ``50 of 200`` and ``100 of 200`` are one step."""
    return re.sub(r"\d+", "#", text)
