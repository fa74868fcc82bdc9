"""``--shard=2/5``: the part of a run that one of several machines does.

The unit is a check on a target: a hash of its identity says which part it belongs to. So every check is in
exactly one part, parts are about equally long, and a check that is added or removed moves no other one. Each
part starts each target; a target of which no check is in a part is not started there.
"""

from __future__ import annotations

import argparse
import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Shard:
    """One part of several."""

    number: int
    """From 1."""
    count: int

    def has(self, identity: str) -> bool:
        """Whether it is this part's."""
        digest = hashlib.sha256(identity.encode()).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.number - 1

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


def parse_shard(text: str) -> Shard:
    """``2/5``. ArgumentTypeError for what is none."""
    number, slash, count = text.partition("/")
    if slash and all(one.isdecimal() and len(one) < 6 for one in (number, count)):
        shard = Shard(int(number), int(count))
        if 1 <= shard.number <= shard.count:
            return shard
    raise argparse.ArgumentTypeError(f"{text!r} is no part such as 2/5, from 1/5 to 5/5")
