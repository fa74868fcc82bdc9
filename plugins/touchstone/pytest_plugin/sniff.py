"""Whether a YAML file is a suite. pytest asks this of every YAML file that it finds, so it must be cheap."""

from __future__ import annotations

import re
from pathlib import Path

_SUITE_LINE = re.compile(rb"^suite\s*:", re.MULTILINE)
_PEEK = 64 * 1024


def is_suite(path: Path) -> bool:
    """Whether a file has a line ``suite:`` near its top."""
    try:
        with path.open("rb") as file:
            return _SUITE_LINE.search(file.read(_PEEK)) is not None
    except OSError:
        return False
