"""Processes that work on a target during a check and verify their own results, as programs of an OS do.

The agent on Linux starts and stops them: see ``work`` in PROTOCOL.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from touchstone.engine.outcomes import Crash, Hang, Infrastructure, Unsupported
from touchstone.machine.driver import AgentRefused, InfrastructureError
from touchstone.machine.protocol import decimal
from touchstone.words import Phase

ROUND_TIMEOUT = 60.0
"""Seconds for a round of every worker, of whatever kind, before the target's factor."""
STOP_TIMEOUT = 30.0
"""Seconds in which every worker ends its round."""
CANNOT = ("EOPNOTSUPP", "verb")
"""The agent's error codes for what it, or the machine, has no means to do."""

Ask = Callable[[Mapping[str, str], float | None], Mapping[str, str]]
"""Sends a request ``work`` with these pairs, and a limit in seconds."""


class Owner(Protocol):
    """The target that the work is done on."""

    @property
    def name(self) -> str:
        """Its name in the inventory."""

    @property
    def phase(self) -> Phase | None:
        """Where it is now."""

    def reset(self) -> None:
        """Make it ``native``."""


@dataclass(frozen=True)
class WorkReport:
    """What workers have done since they were started."""

    rounds: Mapping[str, int]
    """Kind to rounds of the worker that has made the fewest."""
    failures: Mapping[str, int]
    """Kind to rounds that failed, of all its workers; a worker that died counts as one."""
    first: str
    """The first failure: which kind, CPU and round, and what was wrong. Empty if there is none."""


def read_report(fields: Mapping[str, str]) -> WorkReport:
    """The answer to ``work``: ``KIND=ROUNDS:FAILURES``. InfrastructureError for anything else."""
    rounds: dict[str, int] = {}
    failures: dict[str, int] = {}
    for kind, value in fields.items():
        if kind == "text":
            continue
        done, _, failed = value.partition(":")
        try:
            rounds[kind], failures[kind] = decimal(done), decimal(failed)
        except ValueError:
            what = f"{kind}={value[:80]} is not ROUNDS:FAILURES"
            raise InfrastructureError(f"the agent's answer to work breaks the protocol: {what}") from None
    return WorkReport(rounds, failures, fields.get("text", ""))


class Work:
    """Workers on every CPU, from the beginning to the end of a ``with``. A wrong result is a deviation.

    Unsupported if the target cannot do this work.
    """

    def __init__(self, kinds: tuple[str, ...], ask: Ask, target: Owner) -> None:
        """No kinds: all that the target can do."""
        self._kinds = kinds
        self._ask = ask
        self._target = target
        self.workers = 0
        """How many there are."""

    def __enter__(self) -> Work:
        """Start, and wait until every worker has made a round.

        Infrastructure if the work fails on the bare machine as well: that says nothing about the subject.
        """
        __tracebackhide__ = True
        try:
            self._start()
        except AssertionError:
            if self._target.phase != "unloaded":
                raise
            self._target.reset()
            self._start()
            self.__exit__(None, None, None)
            raise
        return self

    def _start(self) -> None:
        __tracebackhide__ = True
        try:
            answer = self._ask({"do": "start", "kinds": ",".join(self._kinds) or "all"}, None)
        except AgentRefused as refusal:
            if refusal.code in CANNOT:
                raise Unsupported(f"{self._target.name} cannot do this work: {refusal.text}") from None
            raise
        try:
            self.workers = decimal(answer.get("workers", "0"))
        except ValueError as error:
            raise InfrastructureError(f"the agent's answer to work breaks the protocol: {error}") from None
        try:
            self.proceed(1)
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        """Stop. Wrong results until then fail the check, unless it has failed already."""
        __tracebackhide__ = True
        if self._target.phase is None or isinstance(error, Crash | Hang):  # the agent is gone
            return
        try:
            report = read_report(self._ask({"do": "stop"}, STOP_TIMEOUT))
        except AgentRefused:
            if error is None:
                raise
            return
        if error is None:
            self._demand(report)

    def proceed(self, rounds: int = 1, timeout: float = ROUND_TIMEOUT) -> WorkReport:
        """Wait until every worker has made so many rounds more. ``timeout`` in seconds, for each of them."""
        __tracebackhide__ = True
        pairs = {"do": "wait", "rounds": str(rounds)}
        try:
            report = read_report(self._ask(pairs, timeout * max(1, rounds)))
        except AgentRefused as refusal:
            if refusal.code != "ETIMEDOUT":
                raise
            return self._complain(refusal.text)
        return self._demand(report)

    def _demand(self, report: WorkReport) -> WorkReport:
        __tracebackhide__ = True
        if any(report.failures.values()):
            return self._complain(report.first or f"failures: {dict(report.failures)}")
        return report

    def _complain(self, what: str) -> WorkReport:
        __tracebackhide__ = True
        if self._target.phase == "native":  # the subject has not been here
            raise Infrastructure(f"the work fails on the bare machine already: {what}")
        raise AssertionError(what)
