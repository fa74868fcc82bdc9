"""What the documentation shows must work."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import indent

import pytest

from tests.support.suite_texts import ASSEMBLER, HEAD, loaded
from touchstone.suite import each, given, load, requires
from touchstone.suite.registers import TABLES

PAGE = (Path(__file__).parents[2] / "docs" / "writing-a-check.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 6


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_load_and_assemble(example: str) -> None:
    suite = loaded(example if example.startswith("suite:") else HEAD + indent(example, "  "))
    for check in suite.checks:
        assembled = ASSEMBLER.assemble([case.body for case in check.cases])
        assert not assembled.problems


def test_the_example_of_requires_parses() -> None:
    (example,) = re.findall(r"```\n(vendor .*?)\n```", PAGE)
    assert requires.parse(example)


@pytest.mark.parametrize(
    "word",
    sorted({
        *load.SUITE_KEYS, *load.CHECK_KEYS, *load.CITE_KEYS, *given.CONTROL, "gprs", "at", "keep", "page-end",
        *each.ON, each.ROWS, "native", "exception", "rip", "memory", "exits", *requires.NAMES, *TABLES,
    }),
)  # fmt: skip
def test_every_word_of_the_language_is_there(word: str) -> None:
    assert re.search(rf"`{re.escape(word)}\b|\{{{re.escape(word)}:|, {re.escape(word)}:", PAGE)
