"""Oracles: what the same probe answers on the same machine before any subject is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from touchstone.engine.facts import Facts, Leaf
from touchstone.machine.probe import ProbeRequest, ProbeResult
from touchstone.suite import cpuid, requires
from touchstone.suite.assemble import Code
from touchstone.suite.model import Case, Check
from touchstone.suite.request import probe_request


@dataclass
class Planned:
    """A case that will run, and its oracle once that is measured."""

    check: Check
    case: Case
    code: Code
    answers: Sequence[ProbeResult] | None = None
    refused: str | None = None
    """Why the bare machine would not run it."""
    failed: str | None = None
    """Why there is no oracle: the probe does not survive on the bare machine."""

    _requests: dict[int, ProbeRequest] = field(default_factory=dict)

    def request(self, cpus: int) -> ProbeRequest:
        """What a machine with so many CPUs is asked, bare or not."""
        found = self._requests.get(cpus)
        if found is None:
            found = self._requests[cpus] = probe_request(self.check, self.case, self.code, cpus)
        return found

    @property
    def measured(self) -> bool:
        """Nothing more is to be found out."""
        return self.answers is not None or self.refused is not None or self.failed is not None

    @property
    def needed(self) -> bool:
        """Whether the bare machine is asked: for its answer, or for whether the start state can be had."""
        expect, given = self.case.expect, self.case.given
        return (
            expect.native
            or any(field.kind == "native" for field in expect.fields)
            or bool(given.bits or given.keep or given.debug)
        )


def leaves_for(checks: Iterable[Check]) -> list[Leaf]:
    """The CPUID leaves that the requirements of checks ask for."""
    names: set[str] = set()
    for check in checks:
        for requirement in (*check.requires, *(one for case in check.cases for one in case.requires)):
            names |= requires.names_used(requirement)
    features = cpuid.features()
    found = {
        (feature.leaf, feature.subleaf)
        for name in names
        if name.startswith("cpuid.") and (feature := features.get(name.removeprefix("cpuid.")))
    }
    return sorted(found)


def cpuid_facts(facts: Facts) -> dict[str, requires.Fact]:
    """``cpuid.FEATURE`` of every leaf that was measured."""
    registers = ("eax", "ebx", "ecx", "edx")
    return {
        f"cpuid.{name}": facts.read((feature.leaf, feature.subleaf))[registers.index(feature.register)]
        >> feature.low
        & ((1 << feature.width) - 1)
        for name, feature in cpuid.features().items()
        if (feature.leaf, feature.subleaf) in facts.leaves
    }
