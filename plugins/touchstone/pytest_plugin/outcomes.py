"""What the engine's exceptions mean to pytest, and pytest's to the engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from touchstone.engine import verdicts
from touchstone.engine.outcomes import Unsupported
from touchstone.words import Verdict


@contextmanager
def translated() -> Iterator[None]:
    """A check that a target cannot be asked is skipped, wherever in the check the engine says so."""
    try:
        yield
    except Unsupported as unsupported:
        raise pytest.skip.Exception(str(unsupported)) from None


def verdict_of(error: BaseException | None) -> Verdict:
    """The verdict that an exception stands for, the engine's or pytest's, before waivers."""
    match error:
        case pytest.skip.Exception():
            return Verdict.UNSUPPORTED
        case pytest.fail.Exception():
            return Verdict.DEVIATION
    return verdicts.verdict_of(error)
