"""Loading and unloading are judged by the same bodies, in two suites: an id is of one area, in one file."""

from __future__ import annotations

from tests.support.checkout import ROOT
from touchstone.suite.load import load

OWN = ("- id:", "proves:", "requires:")
"""What a check has for itself."""


def bodies(area: str, suite: str) -> dict[str, list[str]]:
    """The lines of each check but its own, by what its id ends with."""
    return {
        check.id.removeprefix(f"{area}."): [
            line for line in check.text.splitlines() if not line.strip().startswith(OWN)
        ]
        for check in load(ROOT / "conformance" / area / suite).checks
    }


def test_unloading_is_asked_for_the_registers_that_loading_is_asked_for() -> None:
    loading, unloading = (bodies(area, "state-registers.yaml") for area in ("broadcast", "teardown"))
    assert len(loading) >= 10
    assert unloading == loading
