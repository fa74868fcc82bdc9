"""The steps that bring a target to a phase: what each does, and whose doing it is if it kills the target."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum


class Party(Enum):
    """Whose doing a step is."""

    LAB = "lab"
    """The framework, the emulator, the link, the machine: no subject runs on it."""
    SUBJECT = "subject"


@dataclass(frozen=True)
class Step:
    """One step towards a phase."""

    text: str
    """What it does: ``loading Veneer on qemu-amd``."""
    party: Party
    """Whose doing it is if the target does not survive the step."""
    take: Callable[[], object]
    """Does it. Raises Autopsied, AgentRefused, InfrastructureError, Unavailable."""

    def __str__(self) -> str:
        return self.text
