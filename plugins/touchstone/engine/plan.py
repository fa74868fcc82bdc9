"""The plan of a run: every probe that will run, assembled at once before the first one does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from touchstone.engine.oracle import Planned
from touchstone.engine.records import CheckOnTarget
from touchstone.suite.assemble import Assembled, Assembler, AssemblerMissing
from touchstone.suite.code import Code
from touchstone.suite.kept_codes import KeptCodes
from touchstone.suite.model import Body, Case, Check
from touchstone.suite.problems import Problem, SuiteErrors, in_order
from touchstone.suite.request import code_offset
from touchstone.suite.requires import names_used


@dataclass(frozen=True)
class TargetPlan:
    """What will run on one target. Iterating gives the cases of all checks."""

    checks: Sequence[Check] = ()
    """All checks, those that are written in Python included."""
    cases: Mapping[str, Sequence[Planned]] = field(default_factory=dict)
    """Check id to its cases; a check that is written in Python has none."""
    prepared: Mapping[str, Planned] = field(default_factory=dict)
    """Key of a prepared state to the probe that prepares it."""
    assembler: Assembler = field(default_factory=Assembler)
    """Knows what was assembled before; for probes that are made when the target was reached."""

    def facts(self, *prefixes: str) -> Iterator[tuple[str, str]]:
        """Id of a check, and a fact that it requires, whose name begins with one of these."""
        for check in self.checks:
            for requirements in (check.requires, *(case.requires for case in check.cases)):
                for requirement in requirements:
                    for name in names_used(requirement):
                        if name.startswith(prefixes):
                            yield check.id, name

    def __iter__(self) -> Iterator[Planned]:
        """All of them."""
        return (case for cases in self.cases.values() for case in cases)


class Plan:
    """What runs on which target."""

    def __init__(self, kept: KeptCodes | None = None) -> None:
        """``kept``: what was assembled before."""
        self._assembler = Assembler(kept=kept)
        self._checks: dict[str, list[Check]] = {}
        """Target to its checks."""
        self._cases: dict[str, dict[str, Sequence[Planned]]] = {}
        """Target to check id to its cases."""
        self._prepared: dict[str, dict[str, Planned]] = {}
        """Target to key to the probe that prepares a state."""

    def make(self, checks: Iterable[CheckOnTarget]) -> tuple[set[str], dict[str, str]]:
        """Assemble the probes of all checks.

        Returns the ids of those that cannot be run, and for every suite with such checks what is wrong in it.
        """
        checks = list(checks)
        cases = {id(case): case for one in checks for case in one.check.probes}
        try:
            assembled = self._assembler.assemble(dict.fromkeys(case.body for case in cases.values()))
        except AssemblerMissing as error:
            return {one.check.id for one in checks}, {"touchstone": str(error)}
        wrong = {key: found for key, case in cases.items() if (found := _problems(case, assembled))}
        broken = {one.check.id for one in checks if any(id(case) in wrong for case in one.check.probes)}
        for one in checks:
            if one.check.id in broken:
                continue
            check, target = one.check, one.target.name
            self._checks.setdefault(target, []).append(check)
            self._cases.setdefault(target, {})[check.id] = [
                _planned(check, case, assembled.codes) for case in check.cases
            ]
            if check.prepared is not None:
                case = check.prepared.case
                self._prepared.setdefault(target, {}).setdefault(
                    check.prepared.key, Planned(check, case, assembled.codes[case.body], leaves=True)
                )
        return broken, _by_suite(problem for found in wrong.values() for problem in found)

    def of_target(self, name: str) -> TargetPlan:
        """What will run on a target."""
        return TargetPlan(
            self._checks.get(name, ()),
            self._cases.get(name, {}),
            self._prepared.get(name, {}),
            self._assembler,
        )

    def also_wrong(self, errors: SuiteErrors) -> list[Problem]:
        """The problems of a suite that cannot be read, and the assembler's with those bodies that can be."""
        cases = [case for check in errors.checks for case in check.probes]
        try:
            assembled = self._assembler.assemble(dict.fromkeys(case.body for case in cases))
        except AssemblerMissing:
            return errors.problems
        return in_order([*errors.problems, *(one for case in cases for one in _problems(case, assembled))])

    def assemble(self, body: Body) -> Code:
        """Assemble the probe of a Python check. ValueError with the assembler's message."""
        assembled = self._assembler.assemble([body])
        if assembled.problems:
            raise ValueError("\n".join(str(one) for found in assembled.problems.values() for one in found))
        return assembled.codes[body]


def _problems(case: Case, assembled: Assembled) -> Sequence[Problem]:
    code = assembled.codes.get(case.body)
    if code is None:
        return assembled.problems[case.body]
    try:
        code_offset(case, code)
    except SuiteErrors as error:
        return error.problems
    return ()


def _planned(check: Check, case: Case, codes: Mapping[Body, Code]) -> Planned:
    then = [
        step if isinstance(step, str) else Planned(check, step, codes[step.body], leaves=True)
        for step in case.then
    ]
    return Planned(check, case, codes[case.body], then, leaves=bool(then))


def _by_suite(problems: Iterable[Problem]) -> dict[str, str]:
    suites: dict[str, list[Problem]] = {}
    for problem in problems:
        suites.setdefault(str(problem.source.path), []).append(problem)
    return {path: "\n".join(map(str, in_order(found))) for path, found in suites.items()}
