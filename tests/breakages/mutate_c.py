"""Mutations of C: the operators of the literature on mutation testing, and the mistakes of a hypervisor.

Each yields places of a syntax tree, and the text that takes their place. Whether that compiles, the
compiler says.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from tree_sitter import Node

from tests.breakages.neighbours import PARSER, Neighbours, text_of, walk

OPPOSITE = {
    "<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "==",
    "+": "-", "-": "+", "<<": ">>", ">>": "<<", "&": "|", "|": "&", "^": "|",
    "+=": "-=", "-=": "+=", "|=": "&=", "&=": "|=", "^=": "|=", "<<=": ">>=", ">>=": "<<=",
}  # fmt: skip
"""An operator and the one that it is mistaken for."""
RELATIONS = ("<", "<=", ">", ">=", "==", "!=")
NUMBER = re.compile(r"(0[xX])?([0-9a-fA-F]+)([uUlL]*)")


@dataclass(frozen=True)
class Mutation:
    """A place of a text, in bytes, and what takes its place."""

    operator: str
    start: int
    end: int
    new: str


def mutations_of(source: bytes, neighbours: Neighbours) -> Iterator[Mutation]:
    """All that there are of a C file's functions and tables."""
    for node in walk(PARSER.parse(source).root_node):
        if node.has_error or not _counts(node):
            continue
        for name, operator in OPERATORS.items():
            for place, new in operator(node, neighbours):
                if new != text_of(place):
                    yield Mutation(name, place.start_byte, place.end_byte, new)


Found = Iterator[tuple[Node, str]]


def _counts(node: Node) -> bool:
    """Whether it is in a function's body or a table, and in nothing that only the compiler evaluates."""
    inside = node.type == "initializer_list"
    above = node.parent
    while above is not None:
        if above.type in ("static_assert_declaration", "gnu_asm_expression", "string_literal"):
            return False
        if above.type == "call_expression" and "_Static_assert" in text_of(above)[:14]:
            return False
        inside = inside or above.type in ("compound_statement", "initializer_list")
        above = above.parent
    return inside


def _drop_statement(node: Node, _: Neighbours) -> Found:
    jumps = node.type in ("break_statement", "continue_statement", "goto_statement")
    if jumps or (node.type == "expression_statement" and not _is_call(node)):
        yield node, "{}"


def _is_call(statement: Node) -> bool:
    """Whether a statement is a call and nothing else; one of a semicolon alone has nothing to drop either."""
    return not statement.named_children or statement.named_children[0].type == "call_expression"


def _drop_call(node: Node, _: Neighbours) -> Found:
    if node.type == "call_expression" and node.parent is not None:
        if node.parent.type == "expression_statement":
            yield node.parent, "{}"
        else:
            yield node, "0"


def _drop_entry(node: Node, _: Neighbours) -> Found:
    """An entry of a table, with the value that an entry has which is not there: zero."""
    if node.type == "initializer_list" and len(node.named_children) > 1:
        for child in node.named_children:
            value = child.child_by_field_name("value") if child.type == "initializer_pair" else child
            if value is not None and child.type != "comment":
                yield value, "{0}" if value.type == "initializer_list" else "0"


def _conditions(node: Node) -> Iterator[Node]:
    condition = node.child_by_field_name("condition")
    if condition is not None:
        inner = condition.named_children
        yield inner[0] if condition.type == "parenthesized_expression" and inner else condition


def _negate_condition(node: Node, _: Neighbours) -> Found:
    for condition in _conditions(node):
        yield condition, f"!({text_of(condition)})"


def _fix_condition(node: Node, _: Neighbours) -> Found:
    if node.type in ("if_statement", "conditional_expression"):
        for condition in _conditions(node):
            yield condition, "1"
            yield condition, "0"
    elif node.type == "while_statement":
        for condition in _conditions(node):
            yield condition, "0"


def _drop_operand(node: Node, _: Neighbours) -> Found:
    """One side of a condition with && or ||, a term of a mask, a summand."""
    if node.type == "binary_expression" and _sign(node) in ("&&", "||", "|", "&", "+", "-", "^"):
        left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
        if left is not None and right is not None:
            yield node, f"({text_of(left)})"
            yield node, f"({text_of(right)})"


def _sign(node: Node) -> str:
    operator = node.child_by_field_name("operator")
    return "" if operator is None else text_of(operator)


def _swap_relation(node: Node, _: Neighbours) -> Found:
    operator = node.child_by_field_name("operator")
    if node.type == "binary_expression" and operator is not None and _sign(node) in RELATIONS:
        yield operator, OPPOSITE[_sign(node)]


def _swap_arithmetic(node: Node, _: Neighbours) -> Found:
    operator = node.child_by_field_name("operator")
    both = node.type in ("binary_expression", "assignment_expression")
    if both and operator is not None and _sign(node) in OPPOSITE and _sign(node) not in RELATIONS:
        yield operator, OPPOSITE[_sign(node)]


def _drop_sign(node: Node, _: Neighbours) -> Found:
    argument = node.child_by_field_name("argument")
    if node.type == "unary_expression" and argument is not None and _sign(node) in ("!", "~", "-"):
        yield node, f"({text_of(argument)})"


def off_by_one(number: str) -> Iterator[str]:
    """A number as it is written, one more and one less."""
    if match := NUMBER.fullmatch(number):
        prefix, digits, suffix = match.groups()
        if prefix or digits.isdecimal():
            value = int(digits, 16 if prefix else 10 if digits == "0" or digits[0] != "0" else 8)
            for other in (value + 1, value - 1):
                if other >= 0:
                    yield (f"{other:#x}" if prefix else str(other)) + suffix


def _off_by_one(node: Node, _: Neighbours) -> Found:
    if node.type == "number_literal":
        for other in off_by_one(text_of(node)):
            yield node, other
    elif node.type in ("true", "false"):
        yield node, "false" if node.type == "true" else "true"


def _neighbour(node: Node, neighbours: Neighbours) -> Found:
    """A register, a field, a bit or a reason in the place of the one beside it."""
    if node.type == "field_identifier" or (node.type == "identifier" and text_of(node).isupper()):
        for other in neighbours.get(text_of(node), ()):
            yield node, other


def _swap_cases(node: Node, _: Neighbours) -> Found:
    """What is done in one case of a switch is done in the next one; the arms of ?: change places."""
    if node.type == "conditional_expression":
        then, other = node.child_by_field_name("consequence"), node.child_by_field_name("alternative")
        condition = node.child_by_field_name("condition")
        if then is not None and other is not None and condition is not None:
            yield node, f"{text_of(condition)} ? {text_of(other)} : {text_of(then)}"
    elif node.type == "compound_statement":
        cases = [child for child in node.named_children if child.type == "case_statement"]
        values = [value for case in cases if (value := case.child_by_field_name("value"))]
        source = text_of(node)
        for one, other in pairwise(values):
            a, b, c, d = (
                byte - node.start_byte
                for byte in (one.start_byte, one.end_byte, other.start_byte, other.end_byte)
            )
            raw = source.encode()
            swapped = raw[:a] + raw[c:d] + raw[b:c] + raw[a:b] + raw[d:]
            yield node, swapped.decode()


def _return_other(node: Node, _: Neighbours) -> Found:
    if node.type == "return_statement" and node.named_children:
        value = text_of(node.named_children[0])
        for other in ("0", "1"):
            if value != other and (value, other) not in (("false", "0"), ("true", "1"), ("NULL", "0")):
                yield node, f"return {other};"


OPERATORS: dict[str, Callable[[Node, Neighbours], Found]] = {
    "drop-statement": _drop_statement,
    "drop-call": _drop_call,
    "drop-entry": _drop_entry,
    "negate-condition": _negate_condition,
    "fix-condition": _fix_condition,
    "drop-operand": _drop_operand,
    "drop-sign": _drop_sign,
    "swap-relation": _swap_relation,
    "swap-arithmetic": _swap_arithmetic,
    "off-by-one": _off_by_one,
    "neighbour": _neighbour,
    "swap-cases": _swap_cases,
    "return-other": _return_other,
}
