"""The verdicts, and what each of them means to pytest."""

from __future__ import annotations

from enum import Enum


class Verdict(Enum):
    """What a check says about one subject on one target. The words are fixed; reports are read by them."""

    CONFORMANT = "conformant"
    DEVIATION = "deviation"
    CRASH = "crash"
    HANG = "hang"
    KNOWN_DEVIATION = "known-deviation"
    IMPROVED = "improved"
    UNSUPPORTED = "unsupported"
    BLOCKED = "blocked"
    INFRASTRUCTURE = "infrastructure"
