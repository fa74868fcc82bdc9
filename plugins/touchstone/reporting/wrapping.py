"""Lines for people, as wide as their terminal at most."""

from __future__ import annotations

import shutil
import textwrap


def terminal_width() -> int:
    """Columns of the terminal, as pytest counts them: COLUMNS, or 80 where there is none."""
    return shutil.get_terminal_size().columns


def wrapped(text: str, width: int | None, indent: str = "    ") -> list[str]:
    """A text's lines, each in as many as a width needs; None: the width does not matter.

    What goes on has an indentation. A word is never broken: it may be a path or a node id to be copied.
    """
    lines = text.split("\n")
    if width is None:
        return lines
    return [
        part
        for line in lines
        for part in textwrap.wrap(
            line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
        )
        or [""]
    ]
