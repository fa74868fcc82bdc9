"""Variables of ``each`` in the texts of a check: ``{name}`` becomes the value of its case."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from touchstone.suite.limits import MAX_TEXT
from touchstone.suite.numeral import number
from touchstone.suite.positions import Document
from touchstone.suite.problems import did_you_mean

VARIABLE = re.compile(r"\{([A-Za-z_][\w-]*)\}")


def in_body(doc: Document, node: Node, scope: Mapping[str, ScalarNode], used: set[str]) -> Node:
    """The node of a body with its variables replaced; other braces stay (AVX-512 has some)."""
    if not scope or not isinstance(node, ScalarNode) or "{" not in node.value:
        return node

    def value(found: re.Match[str]) -> str:
        if found[1] not in scope:
            return found[0]
        used.add(found[1])
        text: str = scope[found[1]].value
        return text if number(text) is None else text.replace("_", "")

    text = _substituted(doc, node, value)
    return ScalarNode(node.tag, text, node.start_mark, node.end_mark, node.style)


def replaced(
    doc: Document, node: Node, scope: Mapping[str, ScalarNode], used: set[str], depth: int = 0
) -> Node:
    """A copy of a tree with its variables replaced; one variable alone takes its value's quotes too."""
    if not scope and depth == 0 and not doc.uses_variables(node):
        return node
    if isinstance(node, ScalarNode):
        if "{" not in node.value:
            return node
        style = node.style

        def value(found: re.Match[str]) -> str:
            nonlocal style
            chosen = scope.get(found[1])
            if chosen is None:
                doc.wrong(node, f"'{{{found[1]}}}' is no variable of each{did_you_mean(found[1], scope)}")
                return found[0]
            used.add(found[1])
            style = chosen.style if found[0] == node.value else style
            text: str = chosen.value
            return text

        text = _substituted(doc, node, value)
        return ScalarNode(node.tag, text, node.start_mark, node.end_mark, style)
    if depth > 8:
        return node
    if isinstance(node, MappingNode):
        pairs = [
            (replaced(doc, key, scope, used, depth + 1), replaced(doc, value, scope, used, depth + 1))
            for key, value in node.value
        ]
        return MappingNode(node.tag, pairs, node.start_mark, node.end_mark, node.flow_style)
    if isinstance(node, SequenceNode):
        items = [replaced(doc, item, scope, used, depth + 1) for item in node.value]
        return SequenceNode(node.tag, items, node.start_mark, node.end_mark, node.flow_style)
    return node


def _substituted(doc: Document, node: ScalarNode, value: Callable[[re.Match[str]], str]) -> str:
    """The text of a node with its variables replaced, each once: a value is not read again."""
    parts, end, size = [], 0, 0
    for found in VARIABLE.finditer(node.value):
        parts += [node.value[end : found.start()], value(found)]
        end = found.end()
        size += len(parts[-1])
        if size > MAX_TEXT:
            doc.wrong(node, f"with the values of each, this text has more than {MAX_TEXT} characters")
            break
    return "".join([*parts, node.value[end:]])
