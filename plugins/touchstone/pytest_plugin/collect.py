"""Collection: a suite is a ``pytest.File``, each of its checks an item per target. Nothing is contacted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from touchstone.config.inventory import Target
from touchstone.engine.facts import static_facts
from touchstone.engine.judge_check import judge_check
from touchstone.engine.outcomes import NotJudged
from touchstone.engine.records import CheckOnTarget
from touchstone.pytest_plugin.marks import CHECK, mark_item, register_words
from touchstone.pytest_plugin.run import Run, run_of
from touchstone.reporting.failure import failure_repr
from touchstone.suite import requires
from touchstone.suite.load import load, uncollected
from touchstone.suite.model import Check, Suite
from touchstone.suite.problems import SuiteErrors


class SuiteFile(pytest.File):
    """One YAML suite."""

    def collect(self) -> Iterator[CheckItem]:
        """One item per check and target; CollectError with everything that is wrong in the file."""
        try:
            run = run_of(self.config)
            targets, subject, _ = run.targets, run.subject, run.requirements
        except pytest.UsageError as error:
            raise self.CollectError(str(error)) from None
        suite = self._load(run)
        for check in suite.checks:
            register_words(self.config, check)
        with uncollected():
            items = [
                CheckItem.from_parent(
                    self,
                    name=f"{check.id}[{target.name}]",
                    callobj=judged_by_touchstone,
                    place=CheckOnTarget(check, target),
                    skip=reason_to_skip(check, target, facts),
                )
                for target, facts in [(target, static_facts(target, subject)) for target in targets]
                for check in suite.checks
            ]
        yield from items

    def _load(self, run: Run) -> Suite:
        try:
            suite = load(self._shown(), self.path.read_text(encoding="utf-8"), run.requirements)
        except SuiteErrors as error:
            raise self.CollectError("\n".join(map(str, error.problems))) from None
        except (OSError, UnicodeDecodeError) as error:
            raise self.CollectError(f"{self._shown()}: cannot be read: {error}") from None
        errors = []
        for check in suite.checks:
            try:
                run.register(check)
            except ValueError as twice:
                errors.append(str(twice))
        if errors:
            raise self.CollectError("\n".join(errors))
        return suite

    def _shown(self) -> Path:
        """The path as messages name it: as short as the node id has it."""
        try:
            return self.path.relative_to(self.config.invocation_params.dir)
        except ValueError:
            return self.path


def judged_by_touchstone() -> None:
    """What pytest thinks a check calls; CheckItem.runtest does the work."""


class CheckItem(pytest.Function):
    """One check on one target. A Function, so that fixtures, marks, ``-k`` and ``--lf`` work as ever."""

    def __init__(self, *, place: CheckOnTarget, skip: str | None, **arguments: Any) -> None:
        super().__init__(**arguments)
        check = place.check
        # Not an argument of the constructor: pytest 9.2 would take the target out of the node id.
        self.originalname = check.id
        whole = getattr(self.parent, "id", None)
        self._structured = None if whole is None else whole.child(check.id).with_params(place.target.name)
        self.stash[CHECK] = place
        mark_item(self, check, skip)

    @property
    def id(self) -> Any:
        """The node id as pytest 9.2 takes it apart, so that ``--lf`` and ``--sw`` know it again."""
        return self._structured if self._structured is not None else super().id

    def runtest(self) -> None:
        """Judge the check."""
        judge_check(run_of(self.config), self.stash[CHECK])

    def reportinfo(self) -> tuple[Path, int, str]:
        """The check's place in the suite."""
        check = self.stash[CHECK].check
        return self.path, check.source.line - 1, f"{check.id} [{self.stash[CHECK].target.name}]"

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """What a person needs to see, instead of a traceback through this plugin."""
        place = self.stash[CHECK]
        if isinstance(excinfo.value, AssertionError | NotJudged) and place.record is not None:
            return failure_repr(self, place.record, excinfo)
        return super().repr_failure(excinfo)


def reason_to_skip(check: Check, target: Target, facts: requires.Facts) -> str | None:
    """Why a check cannot be judged on a target, as far as the inventory and the subject's file tell."""
    if (reason := target.cannot(check.id)) is not None:
        return reason
    outcome = requires.evaluate_all(check.requires, facts)
    if outcome.result is False:
        return outcome.reason
    reasons = [requires.evaluate_all(case.requires, facts) for case in check.cases]
    if reasons and all(one.result is False for one in reasons):
        return reasons[0].reason
    return None
