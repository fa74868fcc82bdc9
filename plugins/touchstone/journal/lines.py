"""The lines of a journal: one JSON object each, whose key ``line`` says which of these it is.

``docs/journal.md`` says what each means. A reader ignores kinds and keys that it does not know; what a reader
must know to read the rest right raises FORMAT.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from touchstone.words import Verdict

FORMAT = 1
"""Of the journals that this Touchstone writes, and the newest that it reads."""


class Key(NamedTuple):
    """The identity of a check on a target: nothing else tells two of them apart, or makes them the same."""

    check: str
    """Its id; ``id[parameters]`` where a Python check runs once per parameter."""
    target: str
    subject: str
    """The subject's name."""

    def __str__(self) -> str:
        return f"{self.check}[{self.target}]"


class Software(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Touchstone, or a subject. Empty: not known."""

    name: str
    version: str = ""
    commit: str = ""
    """Of the git repository that it lies in; ends in ``-dirty`` if files differ from that commit."""
    content: str = ""
    """Hash of its sources, and of what its file says except for known deviations."""


class _Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="line"):
    at: float
    """When it was written: seconds since the epoch."""


class RunLine(_Line, frozen=True, kw_only=True, tag="run"):
    """A pytest run begins, or goes on with what an earlier one has left. The first line of a journal."""

    format: int
    touchstone: Software
    subject: Software
    arguments: list[str] = []
    """Of pytest."""
    host: str = ""
    process: int = 0
    resumed: bool = False


class CheckLine(_Line, frozen=True, kw_only=True, tag="check"):
    """What the suites say of a check that is planned on some target."""

    check: str
    title: str
    area: str
    level: str
    phase: str
    claims: bool = True
    proves: list[str] = []
    source: str = ""
    """``file:line``."""


class PlannedLine(_Line, frozen=True, kw_only=True, tag="planned"):
    """Checks that are to be judged on a target."""

    target: str
    subject: str
    checks: list[str]


class TargetLine(_Line, frozen=True, kw_only=True, tag="target"):
    """What a target turned out to be when it was reached. Written again if that changes."""

    target: str
    title: str = ""
    about: str = ""
    """The line of the summary."""
    facts: dict[str, str] = {}
    """``driver``, ``vendor``, ``cpus``, ``os``, ``cpu``, ``stepping``, ``microcode``, ``emulator``,
    ``accelerator``, ``firmware``, ``kernel``, ``subject`` (the version that is loaded), ``intercepts``
    (which controls the processor heeds), ``state`` (what becomes of a guest's state). Absent: not known.
    """


class StartedLine(_Line, frozen=True, kw_only=True, tag="started"):
    """A check begins. Without a later ``judged``, whoever judged it ended first."""

    check: str
    target: str
    subject: str


class JudgedLine(_Line, frozen=True, kw_only=True, tag="judged"):
    """A check has its verdict."""

    check: str
    target: str
    subject: str
    outcome: Verdict
    """The verdict as if nothing was known to deviate."""
    verdict: Verdict
    """With the known deviations of target and subject taken into account."""
    seconds: float = 0.0
    """Since it was started."""
    reaching: float = 0.0
    """Of these, in which its target was started, asked as a bare machine, and brought to its phase."""
    reason: str = ""
    """In a sentence; empty for what is conformant."""
    cause: str = ""
    """What it shares with other checks that are not conformant: first difference, what blocks it."""
    deviation: str = ""
    """``file:line`` of the known deviation that covers it, or that says wrongly that it does not hold."""
    listed: bool | None = None
    """Of the verdict machine: whether the inventory expects it."""
    exits: dict[str, int] = {}
    """By how much the exit counters rose, over all its probes and CPUs, where they were read."""


class Difference(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A demand that is not met."""

    case: str = ""
    cpu: int = 0
    what: str = ""
    expected: str = ""
    measured: str = ""
    bits: str = ""
    """The names of the bits that differ."""
    accused: bool = True
    """False: the bare machine does the same."""


class EvidenceLine(_Line, frozen=True, kw_only=True, tag="evidence"):
    """What is known of a check that is not conformant. Follows its ``judged``."""

    check: str
    target: str
    subject: str
    differences: list[Difference] = []
    """The first ones."""
    more: int = 0
    """How many there are beyond these."""
    same_as: str = ""
    """The check whose evidence has the text, since both have the same cause."""
    text: str = ""
    """As a terminal shows it."""
    again: str = ""
    """The command that judges it again."""


class RetriedLine(_Line, frozen=True, kw_only=True, tag="retried"):
    """An infrastructure error: the target was switched off and on, and the check is judged again."""

    check: str
    target: str
    subject: str
    reason: str


class CostLine(_Line, frozen=True, kw_only=True, tag="cost"):
    """Something that was measured, such as the instructions of an exit."""

    target: str
    subject: str
    what: str
    value: float
    unit: str


class EndedLine(_Line, frozen=True, kw_only=True, tag="ended"):
    """The run has ended by itself, or was asked to. A journal without it was broken off."""

    status: int
    """The exit status of pytest."""
    signal: int = 0
    """Number of the signal that ended it."""


Line = (
    RunLine
    | CheckLine
    | PlannedLine
    | TargetLine
    | StartedLine
    | JudgedLine
    | EvidenceLine
    | RetriedLine
    | CostLine
    | EndedLine
)


def key_of(line: StartedLine | JudgedLine | EvidenceLine | RetriedLine) -> Key:
    """Which check on which target a line is about."""
    return Key(line.check, line.target, line.subject)
