"""What a check's ``run`` says: one body for both vendors, one for each, or parts of either kind in a list."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from yaml.nodes import MappingNode, Node, ScalarNode

from touchstone.suite.model import Body
from touchstone.suite.positions import Document
from touchstone.suite.variables import in_body

VENDORS = ("intel", "amd")

_Part = Mapping[str | None, Body]
"""Vendor to its lines; of a part that is for both, None to them."""


def bodies_of_vendors(
    doc: Document, node: Node, scope: Mapping[str, ScalarNode], used: set[str]
) -> Iterator[tuple[str | None, Body]]:
    """The body of each vendor, or None and that of both, with the variables of ``scope`` replaced.

    What is wrong goes to the document's problems, and the names of the variables that are used to ``used``.
    """
    before = len(doc.problems)
    items = doc.items(node, "run")
    parts = [_part(doc, item, scope, used) for item in items]
    own = [vendor for vendor in VENDORS if any(vendor in part for part in parts)]
    vendors: list[str | None] = [*own] or [None]
    complete = len(doc.problems) == before
    for vendor in vendors:
        lines = [part.get(None) or part.get(vendor) for part in parts]
        for item, found in zip(items, lines, strict=True):
            if found is None and complete:
                doc.wrong(item, f"another part of this body is for {vendor}; this one has no '{vendor}:'")
        if items and all(lines):
            yield vendor, _joined([found for found in lines if found is not None])


def _part(doc: Document, node: Node, scope: Mapping[str, ScalarNode], used: set[str]) -> _Part:
    """One text, or one for each vendor; empty after a problem."""
    texts: dict[str | None, Node] = {None: node}
    if isinstance(node, MappingNode):
        texts = {vendor: value for vendor, (_, value) in doc.take(node, "run", VENDORS).items()}
    found = {vendor: doc.body(in_body(doc, text, scope, used)) for vendor, text in texts.items()}
    return {vendor: body for vendor, body in found.items() if body is not None}


def _joined(parts: Sequence[Body]) -> Body:
    """One body of the lines of all, each where it stands."""
    if len(parts) == 1:
        return parts[0]
    return Body(
        tuple(line for part in parts for line in part.lines),
        tuple(source for part in parts for source in part.sources),
    )
