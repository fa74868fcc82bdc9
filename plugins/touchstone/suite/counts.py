"""Counts as ``expect`` writes them: ``1``, ``">=1"``, ``"<=3"``, ``"1..3"``."""

from __future__ import annotations

import re

from yaml.nodes import Node

from touchstone.suite.numeral import number
from touchstone.suite.positions import Document

_COUNT = re.compile(r"(>=|<=)?\s*(\w+)(?:\.\.(\w+))?")


def count(doc: Document, node: Node, what: str) -> tuple[int, int | None] | None:
    """(At least, at most) of a count, at most None if there is no limit; None after a problem."""
    text = doc.scalar(node, what)
    if text is None:
        return None
    parts = _COUNT.fullmatch(text)
    first = number(parts[2]) if parts else None
    last = number(parts[3]) if parts and parts[3] else None
    if parts is None or first is None or (parts[3] and (last is None or parts[1] or last < first)):
        doc.wrong(node, f'{what} must be a count: 1, ">=1", "<=3" or "1..3", not \'{text}\'')
        return None
    if parts[1] == ">=":
        if first == 0:
            doc.wrong(node, f'{what}: ">=0" always holds')
        return first, None
    if parts[1] == "<=":
        return 0, first
    return first, last if last is not None else first
