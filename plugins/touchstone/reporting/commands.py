"""Commands that are printed for people to run."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pytest

from touchstone.shipped import checkout

NAMED_BY = pytest.StashKey[list[str]]()
"""In the stash of an item that a command line names by options, and not by its node id."""


def command(config: pytest.Config, words: Iterable[str]) -> str:
    """A command line for a shell where this run was started: paths in it are relative to that directory.

    It begins with ``./bootstrap`` in a checkout of Touchstone, where the commands are not on PATH. A project
    that has Touchstone installed has no such script.
    """
    before = _before(str(config.rootpath), str(config.invocation_params.dir))
    return " ".join((*before, *(shlex.quote(word) for word in words)))


def node_path(config: pytest.Config, item: pytest.Item) -> str:
    """The node id of an item for ``command``: pytest's own is relative to the rootdir."""
    _, colons, rest = item.nodeid.partition("::")
    return f"{_shown(str(item.path), str(config.invocation_params.dir))}{colons}{rest}"


# Both are asked for every check of a run.
@cache
def _before(root: str, start: str) -> tuple[str, ...]:
    """What a command begins with."""
    if (directory := checkout()) is None or not (script := directory / "bootstrap").is_file():
        return ()
    if Path(start).is_relative_to(directory):
        script = Path(os.path.relpath(script, start))
        return (str(script) if ".." in script.parts else f"./{script}",)
    return (shlex.quote(str(script)),) if Path(root) == directory else ()


@cache
def _shown(path: str, start: str) -> str:
    return os.path.relpath(path, start) if Path(path).is_relative_to(start) else path
