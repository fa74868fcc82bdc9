"""A payload: a program that gets a target's machine to itself, under the subject or without it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from touchstone.machine.driver import Autopsy, Say


@dataclass(frozen=True)
class Payload:
    """A Multiboot program, and what its loader gives to it."""

    program: Path
    arguments: str = ""
    """Behind the program's name in its command line."""
    modules: tuple[Path, ...] = ()
    """Files that are loaded as its boot modules."""


@dataclass(frozen=True)
class PayloadEnd:
    """How a payload has ended."""

    how: Literal["exit", "died", "said", "time"]
    """It switched the machine off, or killed it; it said that it had ended; or its time was over, or it
    had printed more than it may."""
    text: str
    """The same in a few words: ``it ended the machine with code 1``."""


class PayloadMachine(Protocol):
    """A machine that a payload has been put into. It is good for one run. Calls raise what Driver's do."""

    emulator_version: tuple[int, ...] | None
    """See Driver."""

    def start(self, progress: Say) -> object:
        """Switch it on and reach its agent."""

    def load(self, option: str | None = None) -> None:
        """Load the subject."""

    def run_payload(self, over: Callable[[str], bool], timeout: float) -> tuple[str, PayloadEnd]:
        """Hand the machine over: what the payload said on its serial port, and how it ended.

        ``over``: whether it has said that it has ended. ``timeout`` in seconds, not stretched yet.
        """

    def facts(self) -> Mapping[str, str]:
        """See Driver."""

    def autopsy(self) -> Autopsy:
        """Evidence of how it is now. Does not raise."""

    def stop(self) -> None:
        """Leave nothing behind."""
