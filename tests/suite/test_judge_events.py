from __future__ import annotations

from typing import Any

import pytest

from tests.support.judged import differences, of
from tests.support.suite_texts import SLOT
from touchstone.machine.probe import ProbeEvent

NOTING = 'handle: {"#DB": return, nmi: return}\nrun: |\n  nop\n  here: nop\nexpect: '


def arrived(*events: tuple[int, int, int | None]) -> dict[str, Any]:
    found = tuple(ProbeEvent(vector, SLOT + offset, dr6) for vector, offset, dr6 in events)
    return {"events": found, "noted": len(found)}


@pytest.mark.parametrize(
    ("wanted", "events", "ok"),
    [
        ("[nmi: here]", [(2, 1, None)], True),
        ("[nmi: here]", [(2, 2, None)], False),
        ("[nmi: here]", [(1, 1, 0xFFFF4FF0)], False),
        ("[nmi: here]", [], False),
        ("[nmi: here]", [(2, 1, None), (2, 1, None)], False),
        ("[]", [], True),
        ("[]", [(2, 1, None)], False),
        ("[nmi: any, {'#DB': end, dr6: {bs: 1, b0: 0}}]", [(2, 0, None), (1, 2, 0xFFFF4FF0)], True),
        ("[nmi: any, {'#DB': end, dr6: {bs: 1, b0: 0}}]", [(2, 0, None), (1, 2, 0xFFFF4FF1)], False),
        ("[nmi: any, '#DB': end]", [(1, 2, 0xFFFF4FF1), (2, 0, None)], False),
        ("{nmi: 2, '#DB': 0}", [(2, 0, None), (2, 1, None)], True),
        ("{nmi: 2}", [(2, 0, None)], False),
        ('{nmi: ">=1"}', [(2, 0, None), (2, 1, None)], True),
    ],
)
def test_events(wanted: str, events: list[tuple[int, int, int | None]], ok: bool) -> None:
    assert of(f"{NOTING}{{events: {wanted}}}", **arrived(*events)).ok is ok


@pytest.mark.parametrize(
    "wanted", ["{events: native}", "{native: true}", "{events: {nmi: native, '#DB': native}}"]
)
def test_events_as_in_the_native_phase(wanted: str) -> None:
    one, two = (2, 1, None), (1, 2, 0xFFFF4FF0)
    assert of(NOTING + wanted, oracle=arrived(one, two), **arrived(one, two)).ok
    assert not of(NOTING + wanted, oracle=arrived(one, two), **arrived(one)).ok
    assert not of(NOTING + wanted, **arrived(one, two)).ok
    moved = of(NOTING + wanted, oracle=arrived(one, two), **arrived((2, 2, None), two))
    assert moved.ok is ("{nmi" in wanted)


def test_what_a_report_says_of_events() -> None:
    assert differences(f"{NOTING}{{events: [nmi: here]}}", **arrived((2, 2, None), (1, 1, 0xFFFF4FF0))) == [
        (
            "events",
            "nmi at here",
            f"nmi at {SLOT + 2:#x} (end), #DB at {SLOT + 1:#x} (start+0x1) (0xffff4ff0 (bld bs rtm))",
        )
    ]


def test_more_events_than_the_agent_notes() -> None:
    many = arrived(*[(2, 1, None)] * 32) | {"noted": 40}
    listed = ", ".join(["nmi: here"] * 32)
    assert not of(f"{NOTING}{{events: [{listed}]}}", **many).ok
