"""How large and how deep a suite may be. Whatever is beyond is an error with a position, found in time.

libyaml's composer recurses in C: some ten thousand nested brackets overrun its stack, and end the process.
"""

from __future__ import annotations

import re

import yaml
from yaml.nodes import CollectionNode, MappingNode, Node

MAX_BYTES = 1 << 20
"""Of a suite. The longest of ours has 25,000."""
MAX_DEPTH = 100
"""Lists and mappings inside of each other. The language needs eight."""
MAX_NODES = 200_000
"""Nodes of a suite, those of an anchor counted at each alias again."""
MAX_TEXT = 1 << 16
"""Characters of a text in which the variables of ``each`` are replaced."""

_HARMLESS = 1000
"""Levels that libyaml's composer takes on every stack that Python runs on."""
_COMPACT = re.compile(r"[-?:][ \t]")


def too_deep(text: str) -> tuple[int, int] | None:
    """Line and column, from 0, where lists and mappings are nested more than MAX_DEPTH times.

    May leave out what is nested fewer than _HARMLESS times.
    """
    if _most_levels(text) < _HARMLESS:
        return None
    depth = 0
    try:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
                if depth > MAX_DEPTH and (mark := event.start_mark):
                    return mark.line, mark.column
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
    except yaml.YAMLError:
        pass  # found again, and reported, where the text is read
    return None


def _most_levels(text: str) -> int:
    """No text is nested deeper than this; found without parsing it."""
    flow = text.count("[") + text.count("{")
    # A column of indentation can hold a list inside of a mapping, and `- - x` is a list inside of a list.
    block = max(
        2 * (len(line) - len(line.lstrip())) + 2 * len(_COMPACT.findall(line)) for line in text.split("\n")
    )
    return flow + block


def unfolded(root: Node) -> tuple[Node, str] | None:
    """The node at which a tree becomes endless, or too large, by its aliases, and what is wrong there."""
    sizes: dict[int, int] = {}
    inside: set[int] = set()
    stack: list[tuple[Node, bool]] = [(root, False)]
    while stack:
        node, done = stack.pop()
        if done:
            inside.discard(id(node))
            size = 1 + sum(sizes[id(child)] for child in _children(node))
            if size > MAX_NODES:
                return node, f"this has more than {MAX_NODES} values, counting what aliases (`*name`) repeat"
            sizes[id(node)] = size
        elif id(node) in inside:
            return node, "this contains itself: an alias (`*name`) inside of its own anchor (`&name`)"
        elif id(node) not in sizes:
            inside.add(id(node))
            stack.append((node, True))
            stack += [(child, False) for child in _children(node)]
    return None


def _children(node: Node) -> list[Node]:
    if isinstance(node, MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, CollectionNode) else []
