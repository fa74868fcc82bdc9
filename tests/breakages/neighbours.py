"""What stands beside a name in a header: the constants and fields that it may be mistaken for."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import tree_sitter_c
from tree_sitter import Language, Node, Parser

PARSER = Parser(Language(tree_sitter_c.language()))
Neighbours = dict[str, tuple[str, ...]]


def walk(node: Node) -> Iterator[Node]:
    """The node and all below it, in the order of the text."""
    yield node
    for child in node.children:
        yield from walk(child)


def text_of(node: Node) -> str:
    """Its source."""
    assert node.text is not None
    return node.text.decode()


@functools.cache
def neighbours_below(hypervisor: Path) -> Neighbours:
    """For each name of a header: those before and behind it, in the same list or with the same type."""
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for header in sorted(hypervisor.rglob("*.h")):
        for names in _sequences(PARSER.parse(header.read_bytes()).root_node):
            for one, other in pairwise(names):
                found[one][other] = None
                found[other][one] = None
    return {name: tuple(others) for name, others in found.items()}


def _sequences(root: Node) -> Iterator[list[str]]:
    """Names that follow each other: macros of a header, enumerators of an enum, fields of a struct."""
    nodes = list(walk(root))
    for kind in ("preproc_def", "preproc_function_def"):
        # A guard against double inclusion has no value.
        macros = [node for node in nodes if node.type == kind and node.child_by_field_name("value")]
        yield [text_of(name) for node in macros if (name := node.child_by_field_name("name"))]
    for node in nodes:
        if node.type == "enumerator_list":
            enumerators = (child for child in node.children if child.type == "enumerator")
            yield [text_of(name) for one in enumerators if (name := one.child_by_field_name("name"))]
        elif node.type == "field_declaration_list":
            yield from _fields(node)


def _fields(body: Node) -> Iterator[list[str]]:
    """A struct's fields, apart by type: what has another one hardly compiles."""
    by_type: dict[str, list[str]] = defaultdict(list)
    for declaration in body.children:
        kind = declaration.child_by_field_name("type")
        if declaration.type != "field_declaration" or kind is None:
            continue
        for field in declaration.children_by_field_name("declarator"):
            if field.type == "field_identifier" and not text_of(field).startswith("reserved"):
                by_type[text_of(kind)].append(text_of(field))
    yield from by_type.values()
