"""docs/writing-a-check.md and the three pages that belong to it name every word of the suite language."""

from __future__ import annotations

import re

import pytest

from tests.support.checkout import ROOT
from touchstone.suite import citations, each, gdt_copy, given, handle, load, raising, requires, statements
from touchstone.suite.registers import TABLES
from touchstone.words import STATEMENT_LEVELS

PAGES = "\n".join(
    (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    for page in ("writing-a-check", "what-a-check-requires", "modes-places-events", "loading-within-a-check")
)

REQUIREMENTS = (ROOT / "docs" / "requirements.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("word", [*statements.CHAPTER_KEYS, *statements.STATEMENT_KEYS, *STATEMENT_LEVELS])
def test_every_word_of_a_requirement_is_there(word: str) -> None:
    assert f"`{word}`" in REQUIREMENTS


@pytest.mark.parametrize(
    "word",
    sorted({
        *load.SUITE_KEYS, *load.CHECK_KEYS, *citations.CITE_KEYS, *given.CONTROL, "gprs", "at", "keep",
        "page-end", *each.ON, each.ROWS, *handle.KINDS, *raising.WORDS, gdt_copy.WORD, "native",
        "exception", "rip", "memory", "exits", "events", *requires.NAMES, *TABLES,
    }),
)  # fmt: skip
def test_every_word_of_the_language_is_there(word: str) -> None:
    assert re.search(rf"`{re.escape(word)}\b|\{{{re.escape(word)}:|, {re.escape(word)}:", PAGES)
