"""The fixed words: areas, levels, phases and verdicts. Imports nothing of the package."""

from __future__ import annotations

from enum import Enum
from typing import Literal

Area = Literal["broadcast", "exits", "teardown", "nested"]
Level = Literal["must", "should", "may"]
Phase = Literal["native", "loaded", "unloaded"]

AREAS: tuple[Area, ...] = ("broadcast", "exits", "teardown", "nested")
"""What a check is about; the folders of ``conformance/``."""
LEVELS: tuple[Level, ...] = ("must", "should", "may")
"""How binding it is, as in RFC 2119."""
STATEMENT_LEVELS = ("must", "should", "claimed")
"""How binding a requirement of ``conformance/requirements`` is: ``must`` and ``should`` as in RFC 2119;
``claimed``: only of subjects that claim it."""
STATEMENT_VENDORS = ("both", "intel", "amd")
"""Whose processors a requirement is about."""
PHASES: tuple[Phase, ...] = ("native", "loaded", "unloaded")
"""The life of a target in one run, in this order."""


class Verdict(Enum):
    """What a check says about one subject on one target."""

    CONFORMANT = "conformant"
    DEVIATION = "deviation"
    CRASH = "crash"
    HANG = "hang"
    MACHINE = "machine"
    KNOWN_DEVIATION = "known-deviation"
    IMPROVED = "improved"
    UNSUPPORTED = "unsupported"
    BLOCKED = "blocked"
    INFRASTRUCTURE = "infrastructure"


HERE = "here"
"""The target that no inventory has, the machine that we run on; and its subject, what it runs under."""
DEFAULT_HYPERVISOR = "veneer"
"""The subject of other targets, if none is named."""
