"""The names of all that is tested, and of the facts that come of it."""

from __future__ import annotations

from touchstone.machine.intercepts import svm, vmx

NAMES = tuple(sorted({one.name for one in (*svm.ROWS, *vmx.ROWS)}))
"""The controls: ``xsetbv``."""
STATE_NAMES = tuple(sorted({one.name for one in (*svm.STATE, *vmx.STATE)}))
"""What becomes of a guest's state and of events: ``stores.pat``."""
_CONTROLS = frozenset(NAMES)
INTERCEPTS, MACHINE = "intercepts.", "machine."
"""What the facts about them begin with."""


def fact(name: str) -> str:
    """What requirements call it."""
    return (INTERCEPTS if name in _CONTROLS else MACHINE) + name
