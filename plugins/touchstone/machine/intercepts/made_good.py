"""What a subject can do for its guest where the processor does not, and how a guest tells that it does."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MadeGood:
    """Machine code that leaves in RAX bits that are all set where the subject does it."""

    code: bytes
    bits: int


MADE_GOOD = {
    # MOV RAX, DR6: bits 31:16 and 11:4, which are always 1 (SDM 3B "Debug Status Register", APM2 13.1.1.3).
    "loads.dr6-fixed": MadeGood(bytes.fromhex("0f21f0"), 0xFFFF_0FF0),
}
"""By the self-test's name of what the processor does not."""
