"""docs/writing-a-check.md names every word of the suite language."""

from __future__ import annotations

import re

import pytest

from tests.support.checkout import ROOT
from touchstone.suite import each, given, handle, load, raising, requires
from touchstone.suite.registers import TABLES

PAGE = (ROOT / "docs" / "writing-a-check.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "word",
    sorted({
        *load.SUITE_KEYS, *load.CHECK_KEYS, *load.CITE_KEYS, *given.CONTROL, "gprs", "at", "keep", "page-end",
        *each.ON, each.ROWS, *handle.KINDS, *raising.WORDS, "native", "exception", "rip", "memory", "exits",
        "events", *requires.NAMES, *TABLES,
    }),
)  # fmt: skip
def test_every_word_of_the_language_is_there(word: str) -> None:
    assert re.search(rf"`{re.escape(word)}\b|\{{{re.escape(word)}:|, {re.escape(word)}:", PAGE)
