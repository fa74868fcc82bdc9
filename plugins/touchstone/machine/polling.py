"""poll(2) that Ctrl-C always interrupts."""

from __future__ import annotations

import select
import time

SLICE = 0.25
"""Seconds that one system call waits at most."""


def poll_for(poll: select.poll, seconds: float) -> list[tuple[int, int]]:
    """What ``poll`` has within ``seconds``: (file descriptor, events), nothing when the time is over.

    Python's signal handler only sets a flag, which ends a system call that waits already. A signal that comes
    in the moment before it does would be seen when it returns: hence many short ones and not a long one.
    """
    deadline = time.monotonic() + seconds
    while True:
        left = deadline - time.monotonic()
        events = poll.poll(max(0.0, min(left, SLICE)) * 1000)
        if events or left <= SLICE:
            return events
