"""A wait that is made of short ones."""

from __future__ import annotations

import os
import select
from types import SimpleNamespace

import pytest

from touchstone.machine import polling
from touchstone.machine.polling import SLICE, poll_for


class Counted:
    """A poll object that notes how long it was to wait, and waits for nothing."""

    def __init__(self, clock: list[float]) -> None:
        self.clock = clock
        self.waits: list[float] = []

    def poll(self, milliseconds: float) -> list[tuple[int, int]]:
        self.waits.append(milliseconds / 1000)
        self.clock[0] += milliseconds / 1000
        return []


@pytest.mark.parametrize("seconds", [-1.0, 0.0, SLICE / 2, 600.0])
def test_waits_in_slices_until_the_deadline(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    clock = [1000.0]
    # Its own clock, not everybody's: other threads of this process have deadlines.
    monkeypatch.setattr(polling, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    poll = Counted(clock)
    assert poll_for(poll, seconds) == []  # type: ignore[arg-type]
    assert max(poll.waits) <= SLICE
    assert sum(poll.waits) == pytest.approx(max(0.0, seconds))


def test_a_ready_descriptor_is_reported_at_once() -> None:
    read, write = os.pipe()
    poll = select.poll()
    poll.register(read, select.POLLIN)
    os.write(write, b"x")
    assert poll_for(poll, 600.0) == [(read, select.POLLIN)]
    os.close(read)
    os.close(write)
