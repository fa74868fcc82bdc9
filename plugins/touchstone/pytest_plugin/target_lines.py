"""A line for each target while a run takes long: how far it is, and what has failed."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping

import pytest

from touchstone.engine.verdicts import ERRORS, FAILURES
from touchstone.journal.read import Journal
from touchstone.pytest_plugin.progress import progress_writer
from touchstone.reporting.properties import JudgedCheck

EVERY = 60.0
"""Seconds between the lines of a run."""


class TargetLines:
    """Shows the lines, in the process that writes to the terminal. ``read`` returns the journal."""

    def __init__(self, config: pytest.Config, read: Callable[[], Journal | None]) -> None:
        self._config, self._read = config, read
        self._shown = time.monotonic()
        self._done: set[str] = set()

    def judged(self, judged: Iterable[JudgedCheck]) -> None:
        """One more check has its verdict; these have one so far."""
        if time.monotonic() - self._shown < EVERY:
            return
        self._shown = time.monotonic()
        write, journal = progress_writer(self._config), self._read()
        if write is None or journal is None:
            return
        planned = Counter(key.target for key in journal.planned)
        for target, line in target_lines(judged, planned):
            if target not in self._done:
                write(line)
            if line.startswith(f"{target}: all "):
                self._done.add(target)


def target_lines(judged: Iterable[JudgedCheck], planned: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """Target and line: ``qemu-amd: 412 of 890 checks, 3 failed, 1 could not be judged``."""
    counts: dict[str, Counter[str]] = {target: Counter() for target in planned}
    for one in judged:
        row = counts.setdefault(one.target, Counter())
        row["all"] += 1
        row["failed"] += one.verdict in FAILURES
        row["could not be judged"] += one.verdict in ERRORS
    for target, row in counts.items():
        number, of = row["all"], planned.get(target, 0)
        far = f"all {number}" if number >= of else f"{number} of {of}"
        more = "".join(f", {row[what]} {what}" for what in ("failed", "could not be judged") if row[what])
        yield target, f"{target}: {far} checks{more}"
