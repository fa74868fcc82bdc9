"""Where suites, Veneer, targets and the report's settings lie: around the package, or in it.

In a checkout they are used where they are edited. The wheel carries the same folders in
``touchstone/shipped/`` (``tool.hatch.build`` of pyproject.toml). Imports nothing of the package.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


@cache
def checkout() -> Path | None:
    """The checkout that this package is used from, or None if it is installed."""
    root = _PACKAGE.parent.parent
    return root if (root / "targets" / "bare" / "Makefile").is_file() else None


def source_root() -> Path:
    """The folder with ``conformance/``, ``hypervisor/``, ``targets/`` and ``report/``."""
    return checkout() or _PACKAGE / "shipped"


def build_directory(root: Path | None = None) -> Path:
    """Where what is built and fetched is kept between runs: ``build`` in a checkout, else the user's cache.

    ``root``: a checkout other than the one that this package is used from.
    FileNotFoundError, which says what to do, if the user has no home directory.
    """
    if (root := root or checkout()) is not None:
        return root / "build"
    # As the XDG Base Directory Specification says: a path that is not absolute is ignored.
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if named.is_absolute():
        return named / "touchstone"
    try:
        return Path.home() / ".cache" / "touchstone"
    except RuntimeError:
        raise FileNotFoundError(
            f"user {os.getuid()} has no home directory to keep what is built in: set XDG_CACHE_HOME to an "
            "absolute path"
        ) from None
