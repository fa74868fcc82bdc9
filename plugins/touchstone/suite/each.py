"""What a check's ``each`` lists: the values of its keys, and rows of values that belong together."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from yaml.nodes import MappingNode, Node, ScalarNode

from touchstone.machine.probe import CodeBits
from touchstone.suite import place
from touchstone.suite.model import CODE_BITS
from touchstone.suite.positions import Document, kind_of

On = Literal["first", "last", "every-cpu", "together"]
ON: tuple[On, ...] = ("first", "last", "every-cpu", "together")
ON_OF: Mapping[str, On] = {word: word for word in ON}
CODE_BITS_OF: Mapping[str, CodeBits] = {str(bits): bits for bits in CODE_BITS}
FIXED = ("cpl", "on", "bits", "mode")
"""Keys of ``each`` that are no variables."""
ROWS = "rows"
"""Key of ``each`` whose values are rows of a table: values of several keys that belong together."""
_AXIS = re.compile(r"[A-Za-z_][\w-]*")

Choice = Mapping[str, ScalarNode]
"""What one value of a key of ``each``, or one of its rows, chooses: key to value."""


@dataclass(frozen=True)
class Axis:
    """One factor of the product that makes the cases."""

    keys: Mapping[str, ScalarNode]
    """The keys that it gives values to, with their positions: one, or those of the rows."""
    choices: Sequence[Choice]


def axes(doc: Document, node: Node) -> list[Axis]:
    """The axes of ``each``, whose product is the cases; what is wrong goes to the document's problems."""
    found: list[Axis] = []
    for name, key, value in doc.entries(node, "each"):
        if name == ROWS:
            axis = _rows(doc, value)
        elif _names_axis(doc, name, key):
            values: dict[str, ScalarNode] = {}
            for item in doc.items(value, f"each.{name}"):
                one = _value(doc, name, item)
                if one is None:
                    continue
                if one.value in values:
                    doc.wrong(item, f"each.{name} lists {one.value} twice")
                values[one.value] = one
            axis = Axis({name: key}, [{name: one} for one in values.values()])
        else:
            continue
        if axis.choices:
            found.append(axis)
    _given_twice(doc, found)
    return found


def _names_axis(doc: Document, name: str, key: Node) -> bool:
    """Whether a key of ``each`` or of a row can be one; a problem if not."""
    if _AXIS.fullmatch(name) and name not in ("vendor", ROWS):
        return True
    hint = {"vendor": "; bodies per vendor go into run", ROWS: "; rows do not hold rows"}.get(name, "")
    doc.wrong(key, f"'{name}' cannot be a variable of each{hint}")
    return False


def _value(doc: Document, name: str, item: Node) -> ScalarNode | None:
    """One value of a key of ``each`` or of a row; None after a problem."""
    if name == "cpl":
        text = doc.choice(item, "cpl", ("0", "3"))
    elif name == "on":
        text = doc.choice(item, "on", ON)
    elif name == "bits":
        text = bits(doc, item, "; a variable needs another name")
    elif name == "mode":
        text = place.mode(doc, item, "; a variable needs another name")
    else:
        text = doc.scalar(item, f"each.{name}")
    return item if text is not None and isinstance(item, ScalarNode) else None


def _rows(doc: Document, node: Node) -> Axis:
    """``rows: [{insn: cpuid, length: 2}, {insn: rdtscp, length: 3}]``: a table, one choice per row."""
    columns: dict[str, ScalarNode] = {}
    rows: list[tuple[Node, dict[str, ScalarNode]]] = []
    for item in doc.items(node, f"each.{ROWS}"):
        if not isinstance(item, MappingNode):
            doc.wrong(
                item,
                "a row gives values to several variables: rows: [{insn: cpuid, length: 2}, ...]"
                f", not {kind_of(item)}",
            )
            continue
        row: dict[str, ScalarNode] = {}
        whole = True
        for name, key, value in doc.entries(item, f"a row of each.{ROWS}"):
            one = _value(doc, name, value) if _names_axis(doc, name, key) else None
            if one is None:
                whole = False
                continue
            columns.setdefault(name, key)
            row[name] = one
        if whole:
            rows.append((item, row))
    choices: dict[tuple[str, ...], Choice] = {}
    for item, row in rows:
        missing = [name for name in columns if name not in row]
        if missing:
            doc.wrong(item, f"this row has no {' and no '.join(missing)}, which other rows have")
            continue
        texts = tuple([row[name].value for name in columns])
        if texts in choices:
            doc.wrong(item, f"each.{ROWS} lists this row twice")
        choices[texts] = {name: row[name] for name in columns}
    return Axis(columns, list(choices.values()))


def _given_twice(doc: Document, found: Sequence[Axis]) -> None:
    seen: set[str] = set()
    for axis in found:
        for name, key in axis.keys.items():
            if name in seen:
                doc.wrong(key, f"'{name}' is a key of each and of its rows; keep one of the two")
            seen.add(name)


def bits(doc: Document, node: Node, hint: str = "") -> str | None:
    """The value of a key ``bits``; None after a problem, which ``hint`` ends."""
    text = doc.scalar(node, "bits")
    if text is None or text in CODE_BITS_OF:
        return text
    doc.wrong(node, f"bits must be 64, 32 or 16, the kind of code segment, not '{text}'{hint}")
    return None
