"""The journal of a pytest run: what is planned, started and judged is written down as it happens.

Every process writes what it knows, so nothing is lost with the controller of pytest-xdist: the worker that
collects first begins the journal, each worker writes its verdicts, and the controller those of workers that
died, and the end.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import pytest

from touchstone.config.provenance import of_subject, of_touchstone
from touchstone.engine.records import CheckOnTarget
from touchstone.engine.verdicts import ERRORS
from touchstone.journal.lines import (
    FORMAT,
    EndedLine,
    Key,
    Line,
    PlannedLine,
    RetriedLine,
    RunLine,
    StartedLine,
    TargetLine,
)
from touchstone.journal.read import Journal, JournalError, read_journal
from touchstone.journal.writer import JournalInUse, JournalWriter
from touchstone.pytest_plugin.journal_place import earlier_run, journal_place
from touchstone.pytest_plugin.marks import CHECK
from touchstone.pytest_plugin.options import show_path
from touchstone.reporting.commands import command
from touchstone.reporting.failure import failure_lines, reproduce
from touchstone.reporting.journal import WITHOUT, check_line, evidence_line, judged_check, judged_line
from touchstone.reporting.properties import JudgedCheck
from touchstone.words import Verdict

if TYPE_CHECKING:
    from touchstone.pytest_plugin.run import Run

MOST_RETRIED = 4
"""Checks that a line about them names."""


class RunJournal:
    """The journal, as one process of a run sees it."""

    def __init__(self, run: Run) -> None:
        """UsageError if the journal cannot be what was asked for."""
        self._run = run
        self._config = run.config
        self._place = journal_place(run.config)
        self._writer: JournalWriter | None = None
        self._open_error = ""
        self.before: Journal | None = earlier_run(run.config)
        """What the run says with which this one goes on."""
        self._read: tuple[int, Journal] | None = None
        """What was read last, and how many bytes there were: the end of a run asks several times."""
        self._began = self._reached = 0.0
        if self.before is not None:
            self._demand_same_subject(self.before)
            run.causes.were_written(self.before)
            if not self._is_worker:
                self._open(claim=True)

    @property
    def _is_worker(self) -> bool:
        return hasattr(self._config, "workerinput")

    @property
    def lost(self) -> str:
        """Why lines could not be written; empty if all were."""
        return self._open_error or ("" if self._writer is None else self._writer.lost)

    def key(self, one: CheckOnTarget) -> Key:
        """The identity of a check on a target."""
        return Key(one.name, one.target.name, self._run.subject.name)

    # --- the plan

    def already_judged(self) -> dict[Key, JudgedCheck]:
        """What the run has judged with which this one goes on; what it could not judge is not among it."""
        if self.before is None:
            return {}
        return {
            key: judged_check(line, self.before.checks.get(key.check.partition("[")[0]))
            for key, line in self.before.judged.items()
            if line.verdict not in ERRORS
        }

    def before_as_results(self) -> tuple[dict[str, JudgedCheck], dict[str, str]]:
        """For the summary: what was judged before, by a name for each, and the line of each target."""
        about = (
            {} if self.before is None else {name: line.about for name, line in self.before.targets.items()}
        )
        return {f"before::{key}": judged for key, judged in self.already_judged().items()}, about

    def still_to_judge(self, items: list[pytest.Item]) -> list[pytest.Item]:
        """The items that an earlier run has left; pytest is told of the others. UsageError."""
        if self.before is None:
            return items
        done = self.already_judged()
        left: list[pytest.Item] = []
        dropped: list[pytest.Item] = []
        for item in items:
            one = item.stash.get(CHECK, None)
            (dropped if one is not None and self.key(one) in done else left).append(item)
        if dropped:
            self._config.hook.pytest_deselected(items=dropped)
        return left

    def _demand_same_subject(self, before: Journal) -> None:
        then, now = before.runs[-1].subject, of_subject(self._run.subject)
        if then.name != now.name:
            raise pytest.UsageError(
                f"--resume: {self._shown} is about {then.name}, and this run about {now.name}: "
                f"give --hypervisor={then.name}, or begin a new run"
            )
        if then.content != now.content:
            raise pytest.UsageError(
                f"--resume: {now.name} has changed since {self._shown} was written (content {then.content}, "
                f"now {now.content}): verdicts about two hypervisors are not one run's; begin a new one"
            )

    def begin(self, items: Iterable[pytest.Item]) -> None:
        """Write down what is tested and what is planned, in the one process of a run that does so."""
        only_asks = self._config.option.collectonly or self._config.getoption("touchstone_plan") is not None
        if not self._place.plans or only_asks:
            return
        planned = [one for item in items if (one := item.stash.get(CHECK, None)) is not None]
        if (not planned and self.before is None) or not self._open(claim=not self._is_worker):
            return
        self._write(
            RunLine(
                at=_now(),
                format=FORMAT,
                touchstone=of_touchstone(),
                subject=of_subject(self._run.subject),
                arguments=[str(word) for word in self._config.invocation_params.args],
                host=socket.gethostname(),
                process=os.getppid() if self._is_worker else os.getpid(),
                resumed=self.before is not None,
            )
        )
        known = set() if self.before is None else set(self.before.checks)
        for check in {one.check.id: one.check for one in planned if one.check.id not in known}.values():
            self._write(check_line(check))
        targets: dict[str, list[str]] = {}
        for one in planned:
            targets.setdefault(one.target.name, []).append(one.name)
        for target, names in targets.items():
            self._write(PlannedLine(at=_now(), target=target, subject=self._run.subject.name, checks=names))
        assert self._writer is not None
        self._writer.sync()

    def also_planned(self, found: Sequence[CheckOnTarget]) -> None:
        """Checks of a target of which only another check's end tells that they are there."""
        if not found:
            return
        for one in found:
            self._write(check_line(one.check))
        target, subject = found[0].target.name, self._run.subject.name
        self._write(
            PlannedLine(at=_now(), target=target, subject=subject, checks=[one.name for one in found])
        )

    def planner_has_collected(self) -> None:
        """A worker has begun the journal: this is the controller, which other runs must not write beside."""
        if self._place.path.is_file():
            self._open(claim=True)

    # --- one check

    def started(self, one: CheckOnTarget) -> None:
        """A check begins."""
        self._began = time.time()
        key = self.key(one)
        self._reached = self._run.reaching(key.target)
        self._write(StartedLine(at=_now(), check=key.check, target=key.target, subject=key.subject))

    def target_is(self, target: str, title: str, about: str, facts: dict[str, str]) -> None:
        """A target was reached, or is not what it was."""
        self._write(TargetLine(at=_now(), target=target, title=title, about=about, facts=facts))

    def judged(
        self,
        item: pytest.Item,
        one: CheckOnTarget,
        judged: JudgedCheck,
        outcome: Verdict,
        error: BaseException | None,
        reason: str,
    ) -> None:
        """A check has its verdict."""
        key, record = self.key(one), one.record
        seconds = time.time() - self._began, self._run.reaching(key.target) - self._reached
        self._write(judged_line(key, judged, outcome, reason, seconds, record))
        if (
            judged.verdict in WITHOUT
            or record is None
            or error is None
            or not (record.runs or record.autopsy)
        ):
            return
        same_as = self._run.causes.first_written(key.target, judged.cause, key.check)
        text = "" if same_as else "\n".join(failure_lines(item, record, error))
        self._write(evidence_line(key, record, text, reproduce(item, record), same_as))

    def retried(self, one: CheckOnTarget, reason: str) -> None:
        """The lab failed: the check is judged once more."""
        key = self.key(one)
        self._write(
            RetriedLine(at=_now(), check=key.check, target=key.target, subject=key.subject, reason=reason)
        )

    def worker_died(self, judged: JudgedCheck, reason: str) -> JudgedCheck:
        """The worker that judged a check died. The verdict, with what the journal knows of the check."""
        found = self.read()
        begun = [] if found is None else [key for key in found.interrupted if key.target == judged.target]
        key = Key(judged.check, judged.target, judged.subject)
        # Of a Python check, the node id does not tell the check's.
        if found is not None and begun and key not in begun:
            key = max(begun, key=lambda one: found.started[one].at)
        line = judged_line(key, judged, Verdict.INFRASTRUCTURE, reason, (0.0, 0.0), None)
        self._write(line)
        about = None if found is None else found.checks.get(key.check.partition("[")[0])
        return judged if about is None else judged_check(line, about)

    # --- the end

    def ended(self, status: int, signal: int) -> None:
        """The run ends."""
        if self._writer is not None:
            self._write(EndedLine(at=_now(), status=status, signal=signal))
            self._writer.sync()

    def close(self) -> None:
        """Safe to repeat."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def read(self) -> Journal | None:
        """What the journal says now; None: there is none, or it cannot be read."""
        try:
            size = self._place.path.stat().st_size
            if self._read is None or self._read[0] != size:
                self._read = size, read_journal(self._place.path, size)
            return self._read[1]
        except (OSError, JournalError):
            return None

    def account(self, *, lost: bool = False) -> Iterator[str]:
        """Where the journal is, and what of the plan has no verdict. ``lost``: something was not written."""
        if self._writer is None:
            return
        found = self.read()
        missing = 0 if found is None else len(found.missing)
        if found is not None:
            yield from _tried_again(found)
        if found is not None and self.before is not None:
            before = sum(key in found.planned for key in self.already_judged())
            yield (
                f"{len(found.planned)} planned checks: {before} judged before, "
                f"{len(found.planned) - before - missing} judged now, {missing} not judged"
            )
        if found is not None and missing:
            words = [str(word) for word in self._config.invocation_params.args]
            words = [word for word in words if not word.startswith(("--resume", "--journal"))]
            again = command(self._config, ["pytest", *words, f"--resume={self._shown}"])
            which = f"{missing} of {len(found.planned)} planned checks"
            if lost:  # they may have been judged
                yield f"the journal has no verdict of {which}; when there is room, go on with:"
            else:
                yield f"{which} have no verdict; go on with:"
            yield f"    {again}"
        yield f"journal: {self._shown}"

    def unfinished(self) -> set[str]:
        """Targets on which planned checks have no verdict."""
        found = self.read() if self._writer is not None else None
        return set() if found is None else {key.target for key in found.missing}

    def missing(self) -> int:
        """How many planned checks have no verdict."""
        found = self.read() if self._writer is not None else None
        return 0 if found is None else len(found.missing)

    @property
    def _shown(self) -> str:
        return show_path(self._config, self._place.path)

    def _open(self, *, claim: bool = False) -> bool:
        if self._writer is None and not self._open_error:
            try:
                self._writer = JournalWriter(self._place.path)
                if claim:
                    self._writer.claim()
            except JournalInUse as error:
                raise pytest.UsageError(str(error)) from None
            except OSError as error:
                self._open_error = f"{self._shown}: {error.strerror or error}"
        return self._writer is not None

    def _write(self, line: Line) -> None:
        if self._writer is not None or self._open():
            assert self._writer is not None
            self._writer.write(line)


def _tried_again(found: Journal) -> Iterator[str]:
    """What the lab failed, or a guest, and was tried again: a line per target."""
    targets: dict[str, list[Key]] = {}
    for key in found.retried:
        targets.setdefault(key.target, []).append(key)
    for target, keys in targets.items():
        held = sum(found.judged[key].verdict not in ERRORS for key in keys if key in found.judged)
        why = found.retried[keys[0]][0].reason.splitlines()[0]
        if len(keys) == 1:
            came = "1 check was tried again, and " + ("judged then" if held else "could not be judged")
            yield f"{target}: {came}: {keys[0].check}; the first time: {why}"
            continue
        came = f"{len(keys)} checks were tried again, and {held or 'none'} of them judged then"
        names = ", ".join(key.check for key in keys[:MOST_RETRIED])
        more = f" and {len(keys) - MOST_RETRIED} more" if len(keys) > MOST_RETRIED else ""
        yield f"{target}: {came}: {names}{more}; {keys[0].check} the first time: {why}"


def _now() -> float:
    return round(time.time(), 3)
