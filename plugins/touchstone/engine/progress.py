"""Progress of what takes over a second: a line per step, and none for what is quicker."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PATIENCE = 1.0
"""Seconds after which a stage shows its steps."""


class StageProgress:
    """Takes a sentence per step, and shows it once its stage has lasted for ``PATIENCE`` seconds.

    Args:
        write: Writes a line; None shows nothing.
    """

    def __init__(self, write: Callable[[str], None] | None) -> None:
        self._write = write
        self._lock = threading.Lock()
        self._name = ""
        self._began: float | None = None
        self._text = ""
        self._timer: threading.Timer | None = None

    def __call__(self, text: str) -> None:
        """Say what is being done now."""
        with self._lock:
            self._text = text
            if self._began is not None and time.monotonic() - self._began >= PATIENCE:
                self._show()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Within it, steps are taken on the target ``name``, which may take long."""
        if self._write is None or self._began is not None:
            yield
            return
        self._name, self._text, self._began = name, "", time.monotonic()
        self._timer = threading.Timer(PATIENCE, self._late)
        self._timer.daemon = True
        self._timer.start()
        try:
            yield
        finally:
            self._timer.cancel()
            with self._lock:
                self._began = None

    def _late(self) -> None:
        with self._lock:
            if self._began is not None and self._text:
                self._show()

    def _show(self) -> None:
        assert self._write is not None
        assert self._began is not None
        self._write(f"{self._name}: {self._text} ({time.monotonic() - self._began:.0f} s)")
