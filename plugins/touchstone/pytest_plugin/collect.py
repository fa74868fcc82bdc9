"""Collection: a suite is a ``pytest.File``, each of its checks an item per target. Nothing is contacted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from touchstone.config.inventory import Target
from touchstone.config.references import unknown_words
from touchstone.engine.as_found import cannot_judge, has_ring0, is_as_found
from touchstone.engine.facts import static_facts
from touchstone.engine.judge_check import judge_check
from touchstone.engine.outcomes import NotJudged
from touchstone.engine.records import CheckOnTarget, CheckRecord
from touchstone.engine.verdicts import FAILURES, verdict_of, with_waiver
from touchstone.pytest_plugin.marks import CHECK, mark_item, register_words
from touchstone.pytest_plugin.run import Run, run_of
from touchstone.reporting.causes import cause_of
from touchstone.reporting.failure import failure_repr
from touchstone.suite import requires
from touchstone.suite.claims import undeclared
from touchstone.suite.kept import load_kept
from touchstone.suite.model import Check, Suite
from touchstone.suite.positions import read_text
from touchstone.suite.problems import SuiteErrors


class SuiteFile(pytest.File):
    """One YAML suite."""

    def collect(self) -> Iterator[CheckItem]:
        """One item per check and target; CollectError with everything that is wrong in the file."""
        try:
            run = run_of(self.config)
            targets, subject, _, _ = run.targets, run.subject, run.built, run.requirements
        except pytest.UsageError as error:
            raise self.CollectError(str(error)) from None
        suite = self._load(run)
        for check in suite.checks:
            register_words(self.config, check)
        for target in targets:
            facts = static_facts(target, subject)
            for check in suite.checks:
                yield CheckItem.from_parent(
                    self,
                    name=f"{check.id}[{target.name}]",
                    callobj=judged_by_touchstone,
                    check_on_target=CheckOnTarget(check, target),
                    skip=reason_to_skip(check, target, facts),
                )

    def _load(self, run: Run) -> Suite:
        try:
            text = read_text(self.path, self._shown())
            suite = load_kept(run.built / "suites", self._shown(), text, run.requirements)
        except SuiteErrors as error:
            raise self.CollectError("\n".join(map(str, run.plan.also_wrong(error)))) from None
        errors = [str(problem) for check in suite.checks for problem in undeclared(check)]
        needs = dict.fromkeys(
            one
            for check in suite.checks
            for one in (*check.requires, *(one for case in check.cases for one in case.requires))
        )
        errors += [f"{one.source}: {text}" for one, text in unknown_words(needs, run.inventory)]
        for check in suite.checks:
            try:
                run.register(check)
            except ValueError as twice:
                errors.append(str(twice))
        if errors:
            raise self.CollectError("\n".join(dict.fromkeys(errors)))
        return suite

    def _shown(self) -> Path:
        """The path as messages name it: as short as the node id has it."""
        try:
            return self.path.relative_to(self.config.invocation_params.dir)
        except ValueError:
            return self.path


def judged_by_touchstone() -> None:
    """The function that a pytest.Function must have; CheckItem.runtest judges the check instead."""


class CheckItem(pytest.Function):
    """One check on one target. A Function, so that fixtures, marks, ``-k`` and ``--lf`` work as for tests."""

    def __init__(self, *, check_on_target: CheckOnTarget, skip: str | None, **arguments: Any) -> None:
        super().__init__(**arguments)
        check, target = check_on_target.check, check_on_target.target
        # Not an argument of the constructor: pytest 9.2 would take the target out of the node id.
        self.originalname = check.id
        whole = getattr(self.parent, "id", None)
        self._structured = None if whole is None else whole.child(check.id).with_params(target.name)
        self.stash[CHECK] = check_on_target
        mark_item(self, check, skip)

    @property
    def id(self) -> Any:
        """The node id, with the target as its parameter: pytest 9.2 needs that for ``--lf`` and ``--sw``."""
        return self._structured if self._structured is not None else super().id

    def runtest(self) -> None:
        """Judge the check."""
        check_on_target = self.stash[CHECK]
        judge_check(run_of(self.config).session(check_on_target.target), check_on_target)

    def reportinfo(self) -> tuple[Path, int, str]:
        """File, line from 0, and what reports call the check."""
        check, target = self.stash[CHECK].check, self.stash[CHECK].target
        return self.path, check.source.line - 1, f"{check.id} [{target.name}]"

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Expected against measured and the evidence, instead of a traceback through this plugin."""
        record = self.stash[CHECK].record
        if isinstance(excinfo.value, AssertionError | NotJudged) and record is not None:
            return failure_repr(self, record, excinfo, self._same_as(record, excinfo.value))
        return super().repr_failure(excinfo)

    def _same_as(self, record: CheckRecord, error: BaseException) -> str:
        """The check of this target that is shown in full for the same cause; empty: this one is."""
        verdict = with_waiver(record, verdict_of(error))
        if verdict not in FAILURES:
            return ""
        cause = cause_of(record, verdict, error)
        return run_of(self.config).causes.first_shown(record.target.name, cause, record.check.id)


def reason_to_skip(check: Check, target: Target, facts: requires.Facts) -> str | None:
    """Why a check cannot be judged on a target, as far as the inventory and the subject's file tell."""
    if (reason := target.cannot(check.id, facts)) is not None:
        return reason
    outcome = requires.evaluate_all(check.requires, facts)
    if outcome.result is False:
        return outcome.reason
    reasons = [requires.evaluate_all(case.requires, facts) for case in check.cases]
    if reasons and all(one.result is False for one in reasons):
        return reasons[0].reason
    return cannot_judge(check, ring0=has_ring0(facts)) if is_as_found(facts) else None
