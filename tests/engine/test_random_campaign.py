"""Which random probes a subject is held to, for as long as somebody likes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from touchstone.engine.random_campaign import _Runner
from touchstone.suite.random_probes import RandomProbe
from touchstone.suite.random_units import Unit


def is_fair(line: str, cpl: Any = 0, **claims: object) -> bool:
    runner = _Runner.__new__(_Runner)
    session: Any = SimpleNamespace(subject=SimpleNamespace(claims=claims))
    runner._session = session
    return runner.is_fair(RandomProbe((Unit((line,)),), cpl))


@pytest.mark.parametrize(
    ("line", "claim", "value", "others"),
    [
        ("vmrun", "nested", "hidden", ("emulated", None)),
        ("vmxoff", "nested", "hidden", ("emulated", None)),
        ("vmmcall", "control-closed", True, (False, None)),
    ],
)
def test_what_rests_on_a_claim_is_asked_of_those_that_claim_it(
    line: str, claim: str, value: object, others: tuple[object, ...]
) -> None:
    assert is_fair(line, **{claim: value})
    assert not any(is_fair(line, **{claim: other}) for other in others)
    assert not is_fair(line)
    assert is_fair("cpuid")


def test_what_emulated_processors_let_exit_too_early_is_asked_of_those_that_fault_first() -> None:
    assert is_fair("xsetbv", cpl=0)
    assert not is_fair("xsetbv", cpl=3)
    assert is_fair("xsetbv", cpl=3, **{"faults-before-exits": True})
