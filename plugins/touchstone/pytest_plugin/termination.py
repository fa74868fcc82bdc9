"""A run that is asked to end (SIGTERM, SIGHUP) ends as with Ctrl-C: it stops its targets and sums up."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

SIGNALLED = 128
"""Plus the number of the signal: the exit status of a run that one ended, as a shell has it."""
SIGNALS = (signal.SIGTERM, signal.SIGHUP)


class Terminated(KeyboardInterrupt):
    """The run got a signal. pytest takes it for Ctrl-C, which no ``except Exception`` stops."""


class Termination:
    """Raises Terminated at the first of the signals; the second has its usual effect."""

    def __init__(self) -> None:
        self.signal: int | None = None
        """The one that came."""
        self._before: dict[int, Any] = {}
        if threading.current_thread() is not threading.main_thread():
            return
        for number in SIGNALS:
            # Whoever started us may want to ignore it (nohup), or another plugin may handle it.
            if signal.getsignal(number) is signal.SIG_DFL:
                self._before[number] = signal.signal(number, self._came)

    def close(self) -> None:
        """Restore what was there. Safe to repeat."""
        while self._before:
            number, before = self._before.popitem()
            if signal.getsignal(number) == self._came:
                signal.signal(number, before)

    def _came(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        self.close()
        raise Terminated(f"the run was ended by {signal.Signals(number).name}")
