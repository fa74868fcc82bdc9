"""The fenced blocks of README.md and docs/, and what each of them says it is.

The info string of a fence has the language first, which is all that a Markdown viewer looks at, then words:

    ```sh                               commands; each of them ends with status 0
    ```sh status=1                      commands; the last one ends with status 1
    ```console                          commands behind `$ `, with what each of them prints; `...` is anything
    ```yaml append=conformance/exits/tsc.yaml on=bochs-amd,qemu-amd
                                        lines for the end of a file; its checks are run on the targets
    ```toml file=mine/mine.toml         a new file of the checkout
    ```yaml file=PATH broken            a file with mistakes, which the command below it shows
    ```text requires                    an expression of `requires`

A page is read from top to bottom: a block finds the files of all blocks above it, on the same page.
"""

from __future__ import annotations

import functools
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from tests.support.checkout import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LANGUAGES = ("sh", "console", "yaml", "toml", "python", "make", "c", "text")


@dataclass(frozen=True)
class Block:
    """One fenced block of a page, or one command in the running text (language ``inline``)."""

    page: Path
    line: int
    """Line of the opening fence, from 1."""
    language: str
    words: tuple[str, ...]
    """What stands behind the language in the info string."""
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    def value(self, key: str) -> str | None:
        """VALUE of the word ``key=VALUE``; None without it."""
        return next((word.partition("=")[2] for word in self.words if word.startswith(f"{key}=")), None)

    @property
    def targets(self) -> list[str]:
        """The targets that the block is run on."""
        return (self.value("on") or "").split(",") if self.value("on") else []

    @property
    def path(self) -> str | None:
        """The file of the checkout that the block makes or extends, relative to its root."""
        return self.value("file") or self.value("append")

    @property
    def status(self) -> int:
        """The exit status of the last command."""
        return int(self.value("status") or 0)


def blocks(page: Path) -> Iterator[Block]:
    """All fenced and indented blocks of a page, in order."""
    for token in tokens(page):
        if token.type in ("fence", "code_block"):
            language, *words = shlex.split(token.info) or [""]
            yield Block(page, first_line(token), language, tuple(words), token.content)


def inline_code(page: Path) -> Iterator[Block]:
    """Everything between backquotes in a page's running text and tables."""
    for token in tokens(page):
        for child in token.children or ():
            if child.type == "code_inline":
                yield Block(page, first_line(token), "inline", (), child.content)


def links(page: Path) -> Iterator[tuple[int, str]]:
    """Line and destination of every link of a page."""
    for token in tokens(page):
        for child in token.children or ():
            if child.type == "link_open":
                yield first_line(token), str(child.attrs["href"])


def tables(page: Path) -> list[list[list[str]]]:
    """The cells of a page's tables, as Markdown: tables, rows (the head first), cells."""
    found: list[list[list[str]]] = []
    in_cell = False
    for token in tokens(page):
        if token.type == "table_open":
            found.append([])
        elif token.type == "tr_open":
            found[-1].append([])
        elif token.type == "inline" and in_cell:
            found[-1][-1].append(token.content)
        in_cell = token.type in ("th_open", "td_open")
    return found


@functools.cache
def tokens(page: Path) -> list[Token]:
    """A page as markdown-it-py reads it: CommonMark and tables."""
    return MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8"))


def first_line(token: Token) -> int:
    """Line on which a token begins, from 1."""
    return token.map[0] + 1 if token.map else 0


def has_home(block: Block) -> bool:
    """Whether the tests know what to do with a block of this kind."""
    if block.language not in LANGUAGES:
        return False
    if block.language in ("sh", "console"):
        return all(word.startswith("status=") for word in block.words)
    if block.language == "text":
        return block.words == ("requires",)
    return block.path is not None and all(
        word.split("=")[0] in ("file", "append", "on", "broken") for word in block.words
    )
