"""How a check ends, if it does not hold: exceptions that carry a verdict."""

from __future__ import annotations

from dataclasses import dataclass

from touchstone.machine.driver import Autopsy, HostError, TargetDied, TargetError, TargetHung
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


class MachineDeviates(Finding):
    """The bare machine does not hold it either, and in the same way: nobody above it is accused."""

    verdict = Verdict.MACHINE


class Improved(Finding):
    """A check holds that a known deviation says does not."""

    verdict = Verdict.IMPROVED


class NotJudged(Exception):
    """The check could not be judged, and not because of the subject; an error, never a failure."""

    verdict = Verdict.INFRASTRUCTURE


class Infrastructure(NotJudged):
    """The framework, the emulator, the link or the check itself is broken."""


class NoStatement(Infrastructure):
    """A case could not be judged, or its judgement says nothing."""


class LabFailed(Infrastructure):
    """Emulator, link, power or machine failed: it may work once it was switched off and on."""


class NotRepeated(NotJudged):
    """A guest of the subject hung, or deviated, and the next one did not, or hung at another place.

    The subject, its host's kernel, processor or load may have done it, and it cannot be made to happen again.
    """


class Blocked(NotJudged):
    """Something earlier makes it impossible to judge this check."""

    verdict = Verdict.BLOCKED


class Unsupported(Exception):
    """The check does not apply to the target, or the target cannot do what the check needs; a skip."""

    verdict = Verdict.UNSUPPORTED


class Unavailable(Unsupported):
    """This host cannot run the target, and no installation would change that."""


@dataclass
class Autopsied(Exception):
    """The target died or hangs; the evidence was taken. Whose doing it is, the one who catches this knows."""

    error: TargetDied | TargetHung
    autopsy: Autopsy

    @property
    def finding(self) -> type[Crash] | type[Hang]:
        """What it means when it was the subject's doing."""
        return Crash if isinstance(self.error, TargetDied) else Hang


def infrastructure(error: TargetError, text: str = "") -> Infrastructure:
    """What an error means for a check if it says nothing about the subject."""
    return (Infrastructure if isinstance(error, HostError) else LabFailed)(text or str(error))
