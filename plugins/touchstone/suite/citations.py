"""Reads ``cite``: where a check or a requirement comes from."""

from __future__ import annotations

import re

from yaml.nodes import MappingNode, Node

from touchstone.suite.model import Citation
from touchstone.suite.positions import Document

CITE_KEYS = ("doc", "title", "says", "section")

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def citations(doc: Document, node: Node) -> tuple[Citation, ...]:
    """The citations of ``cite``, one or a list; problems for those that lack something."""
    found = []
    for item in doc.items(node, "cite"):
        keys = doc.take(item, "cite", CITE_KEYS)
        missing = [name for name in ("doc", "title", "says") if name not in keys]
        if isinstance(item, MappingNode) and missing:
            doc.wrong(
                item,
                f"cite has no {' and no '.join(missing)}: name the document, the title and the sentence",
            )
        word, title, says, section = (
            doc.text(keys[name][1], name) if name in keys else None for name in CITE_KEYS
        )
        if word and not _WORD.fullmatch(word):
            doc.wrong(keys["doc"][1], f"doc is a short name like intel-sdm or amd-apm, not '{word}'")
        if word and title and says:
            found.append(Citation(word, title, says, section))
    return tuple(found)
