"""Commands that are printed for people to run."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


def command(config: pytest.Config, words: Iterable[str]) -> str:
    """A command line for a shell at the rootdir.

    It begins with ``./bootstrap`` in a checkout of Touchstone, where the commands are not on PATH. A project
    that has Touchstone installed has no such script.
    """
    words = list(words)
    if (config.rootpath / "bootstrap").is_file():
        words.insert(0, "./bootstrap")
    return " ".join(shlex.quote(word) for word in words)
