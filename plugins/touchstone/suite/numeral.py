"""Numbers as a suite writes them."""

from __future__ import annotations

import re
from functools import lru_cache

_NUMBER = re.compile(
    r"-?(?:0[xX][0-9a-fA-F]+(?:_[0-9a-fA-F]+)*|0[bB][01]+(?:_[01]+)*|0|[1-9][0-9]*(?:_[0-9]+)*)"
)


_LONGEST = 1000
_BEYOND = 1 << 4096


def number(text: str) -> int | None:
    """Value of ``12``, ``0xff``, ``0b1``, ``1_000`` or the negative of one; None if it is no number.

    One of more than 1,000 characters counts as plus or minus 2**4096, which is out of every range: Python
    refuses to read or to write more than 4,300 decimal digits.
    """
    if len(text) > _LONGEST:
        return None if not _NUMBER.fullmatch(text) else -_BEYOND if text[0] == "-" else _BEYOND
    return _number(text)


@lru_cache(4096)
def _number(text: str) -> int | None:
    return int(text, 0) if _NUMBER.fullmatch(text) else None
