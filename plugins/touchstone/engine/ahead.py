"""The check that runs next, and the probes of it that were sent before it begins."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from touchstone.engine.oracle import Planned
from touchstone.engine.records import CheckOnTarget
from touchstone.machine.driver import AgentRefused, Answer
from touchstone.machine.probe import ProbeResult

Outcomes = Iterator[list[ProbeResult] | AgentRefused]
"""Of each probe its results, one per CPU, or why the agent refused it."""
Answers = Iterator[Answer]
"""To probes, and to questions for exit counters."""


def results_in(answer: Answer) -> list[ProbeResult] | AgentRefused:
    """The answer to a probe."""
    assert isinstance(answer, list | AgentRefused)
    return answer


@dataclass
class Attempt:
    """The cases of a check, in the order in which they run."""

    check: str
    """Its id."""
    planned: Sequence[Planned]
    """Those that apply to the target."""
    serial_position: int
    """Where the serial log ended before it."""
    as_found: bool = False
    """There is no bare machine that could be asked, and no case among them compares with it."""
    counting: bool = False
    """Each case runs between two readings of the exit counters of its CPUs."""
    answers: Answers = field(default_factory=lambda: iter(()))
    """To the questions of the ready cases that are no sequences."""

    @property
    def possible(self) -> Sequence[Planned]:
        """Those that the bare machine does not refuse."""
        return [one for one in self.planned if one.refused is None]

    @cached_property
    def ready(self) -> Sequence[Planned]:
        """Those that have their oracle, or need none. What a bare machine is asked for is measured before."""
        return [one for one in self.possible if self._is_ready(one)]

    @property
    def lacking(self) -> Sequence[Planned]:
        """Those that cannot be judged, because they have no oracle."""
        return [one for one in self.possible if not self._is_ready(one)]

    def _is_ready(self, one: Planned) -> bool:
        return self.as_found or one.lacks_oracle is None


class Ahead:
    """What follows the running check, and what was sent of it already."""

    def __init__(self) -> None:
        self._following: CheckOnTarget | None = None
        self._sent: Attempt | None = None

    @property
    def following(self) -> CheckOnTarget | None:
        """The check that follows the running one at once; None: none does, or something happens before it."""
        return self._following

    def expect(self, following: CheckOnTarget | None) -> None:
        """A check begins, and this one follows it."""
        self._following = following

    def sent(self, attempt: Attempt) -> None:
        """The probes of the check that follows were sent."""
        self._sent = attempt

    def take(self, check: str) -> Attempt | None:
        """What was sent of this check, once; None if nothing was, or the target was asked something since."""
        found, self._sent = self._sent, None
        return found if found is not None and found.check == check else None

    def forget(self) -> None:
        """Somebody else asks the target: what was sent is sent again when its check begins."""
        self._sent = None
