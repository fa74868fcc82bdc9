"""A target is asked, and its death or its silence ends what was asked."""

from __future__ import annotations

from typing import Protocol

from touchstone.engine.ahead import Ahead
from touchstone.engine.outcomes import Autopsied, infrastructure
from touchstone.engine.records import CheckRecord
from touchstone.machine.driver import AgentRefused, Driver, TargetDied, TargetError, TargetHung


class Owner(Protocol):
    """What is needed of the session of the target."""

    @property
    def ahead(self) -> Ahead:
        """What was sent before it was asked for."""

    def perform_autopsy(self, error: TargetDied | TargetHung) -> Autopsied:
        """See ``TargetSession.perform_autopsy``."""

    def lose(self) -> None:
        """See ``TargetSession.lose``."""


class Asking:
    """See ``TargetSession.asking``. A class, because a generator costs every probe five times as much."""

    __slots__ = ("_driver", "_owner", "_record")

    def __init__(self, owner: Owner, driver: Driver, record: CheckRecord | None) -> None:
        self._owner = owner
        self._driver = driver
        self._record = record

    def __enter__(self) -> Driver:
        self._owner.ahead.forget()
        return self._driver

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        __tracebackhide__ = True
        if isinstance(error, AgentRefused) and self._record is not None:
            # An answer of the target: where in a driver it was read tells nothing.
            raise error.with_traceback(None)
        if isinstance(error, AgentRefused) or not isinstance(error, TargetError | Autopsied):
            return
        found: TargetError | Autopsied = error
        if isinstance(error, TargetDied | TargetHung):
            found = self._owner.perform_autopsy(error)
        elif isinstance(error, TargetError):
            self._owner.lose()
        if self._record is None:
            if found is not error:
                raise found from error
        elif isinstance(found, Autopsied):
            self._record.target_failed(found.autopsy)
            raise found.finding(found.autopsy.reason) from None
        else:
            raise infrastructure(found) from None
