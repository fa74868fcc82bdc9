"""Numbers as a suite writes them."""

from __future__ import annotations

import re
from functools import lru_cache

_NUMBER = re.compile(
    r"-?(?:0[xX][0-9a-fA-F]+(?:_[0-9a-fA-F]+)*|0[bB][01]+(?:_[01]+)*|0|[1-9][0-9]*(?:_[0-9]+)*)"
)


@lru_cache(4096)
def number(text: str) -> int | None:
    """Value of ``12``, ``0xff``, ``0b1``, ``1_000`` or the negative of one; None if it is no number."""
    return int(text, 0) if _NUMBER.fullmatch(text) else None
