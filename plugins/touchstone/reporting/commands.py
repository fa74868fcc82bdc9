"""Commands that are printed for people to run."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from functools import cache

import pytest

NAMED_BY = pytest.StashKey[list[str]]()
"""In the stash of an item that a command line names by options, and not by its node id."""


def command(config: pytest.Config, words: Iterable[str]) -> str:
    """A command line for a shell at the rootdir.

    It begins with ``./bootstrap`` in a checkout of Touchstone, where the commands are not on PATH. A project
    that has Touchstone installed has no such script.
    """
    return " ".join((*_before(str(config.rootpath)), *(shlex.quote(word) for word in words)))


@cache
def _before(root: str) -> tuple[str, ...]:
    """What a command begins with. Asked for every check of a run."""
    return ("./bootstrap",) if os.path.isfile(f"{root}/bootstrap") else ()
