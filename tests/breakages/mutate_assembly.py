"""Mutations of assembly: GNU as with Intel syntax, one instruction in a line, as Veneer has it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.breakages.mutate_c import Mutation, off_by_one
from tests.breakages.neighbours import Neighbours

_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
_INSTRUCTION = re.compile(r"^[ \t]+([a-z][a-z0-9]*)\b([^\n;\\]*)$", re.MULTILINE)
_NAME = re.compile(r"\b[A-Z][A-Z0-9_]+\b")
_NUMBER = re.compile(r"(?<![\w.])(?:0x[0-9a-f]+|[0-9]+)(?![\w.])")
_PAIRS = (
    ("z", "nz"),
    ("e", "ne"),
    ("c", "nc"),
    ("b", "ae"),
    ("a", "be"),
    ("s", "ns"),
    ("l", "ge"),
    ("g", "le"),
)
_JUMPS = {f"j{a}": f"j{b}" for one in _PAIRS for a, b in (one, one[::-1])}
OPERATORS = ("drop-instruction", "negate-jump", "neighbour", "off-by-one")


def mutations_of(source: bytes, neighbours: Neighbours) -> Iterator[Mutation]:
    """All that there are of a file's instructions; offsets count bytes, and the files are ASCII."""
    # Comments become blanks, so that places stay what they are.
    text = _COMMENT.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), source.decode("ascii"))
    for line in _INSTRUCTION.finditer(text):
        end = line.end(2) - (len(line[2]) - len(line[2].rstrip()))
        yield Mutation("drop-instruction", line.start(1), end, "")
        if line[1] in _JUMPS:
            yield Mutation("negate-jump", line.start(1), line.end(1), _JUMPS[line[1]])
        for name in _NAME.finditer(text, line.start(2), end):
            for other in neighbours.get(name[0], ()):
                yield Mutation("neighbour", name.start(), name.end(), other)
        if line[1].startswith(("j", "call")):
            continue  # numbers are labels there
        for number in _NUMBER.finditer(text, line.start(2), end):
            for other in off_by_one(number[0]):
                yield Mutation("off-by-one", number.start(), number.end(), other)
