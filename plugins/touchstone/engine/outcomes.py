"""How a check ends, if it does not hold: exceptions that carry a verdict."""

from __future__ import annotations

from touchstone.words import Verdict


class Finding(AssertionError):
    """The subject did not do what the check demands; a failure."""

    verdict = Verdict.DEVIATION


class Deviation(Finding):
    """Something was measured, and it is not what was expected."""


class Crash(Finding):
    """The target died."""

    verdict = Verdict.CRASH


class Hang(Finding):
    """The target did not answer in time."""

    verdict = Verdict.HANG


class Improved(Finding):
    """A check holds that the inventory says does not."""

    verdict = Verdict.IMPROVED


class NotJudged(Exception):
    """The check could not be judged, and not because of the subject; an error, never a failure."""

    verdict = Verdict.INFRASTRUCTURE


class Infrastructure(NotJudged):
    """The framework, the emulator, the link or the check itself is broken."""


class Blocked(NotJudged):
    """Something earlier makes it impossible to judge this check."""

    verdict = Verdict.BLOCKED


class Unavailable(Exception):
    """This host cannot run the target, and no installation would change that: its checks are unsupported."""
