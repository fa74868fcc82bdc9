"""Small changes of a text, as people and broken wires make them, and some that only enemies make."""

from __future__ import annotations

import random
from collections.abc import Sequence

PIECES = (
    *(
        "'",
        '"',
        "\\",
        "#",
        "&a ",
        "*a",
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "- ",
        "? ",
        "!!int ",
        "|",
        ">",
        "%",
        "@",
        "`",
    ),
    *(
        "\t",
        "\r",
        "\n",
        "\0",
        "\x85",
        "\u2028",
        "\ufeff",
        "\ud800",
        "ä",
        "\U0001d518",
        "-",
        "_",
        "=",
        ".",
        "~",
        "<<: ",
        "---\n",
    ),
    *(
        "9" * 25,
        "9" * 5000,
        "0x" + "f" * 40,
        "-1",
        "1e999",
        "nan",
        "0b",
        "{x}",
        "{x}" * 9,
        "not " * 999,
        "(" * 99,
    ),
    *(
        "[" * 2000,
        "{a: " * 500,
        "- " * 2000,
        "a." * 2000,
        "every-cpu",
        "native",
        "scratch+8",
        "2027-01-01",
        "true",
    ),
)
SEVERAL = 4
"""Changes of one text, at most."""


def mutated_text(generator: random.Random, text: str, words: Sequence[str]) -> str:
    """The text with one to SEVERAL changes."""
    for _ in range(generator.randint(1, SEVERAL)):
        text = _change(generator, text, words)
    return text


def mutated_bytes(generator: random.Random, data: bytes) -> bytes:
    """The bytes with some of them changed, lost, doubled, or others between them."""
    changed = bytearray(data)
    for _ in range(generator.randint(1, SEVERAL)):
        at = generator.randrange(len(changed) + 1)
        end = min(len(changed), at + generator.choice((1, 1, 1, 2, 8, 60)))
        new = generator.choice(
            (
                b"",
                changed[at:end] * 2,
                generator.randbytes(end - at),
                b"9" * 5000,
                b" ",
                b"=",
                b"\n",
                b"#0000",
            )
        )
        changed[at:end] = new
    return bytes(changed)


def _change(generator: random.Random, text: str, words: Sequence[str]) -> str:
    at = generator.randrange(len(text) + 1)
    kind = generator.randrange(6)
    if kind == 0:
        return text[:at] + generator.choice(PIECES) + text[at:]
    if kind == 1:
        return text[:at] + text[at + generator.choice((1, 2, 5, 40)) :]
    if kind == 2:  # a word for another
        start, end = text.rfind(" ", 0, at) + 1, text.find(" ", at)
        return text[:start] + generator.choice(words) + (text[end:] if end >= 0 else "")
    lines = text.split("\n")
    index = generator.randrange(len(lines))
    if kind == 3:
        lines[index : index + 1] = [lines[index]] * generator.choice((0, 2, 2, 50))
    elif kind == 4:
        other = generator.randrange(len(lines))
        lines[index], lines[other] = lines[other], lines[index]
    else:
        lines[index] = " " * generator.choice((0, 1, 2, 9)) + lines[index].lstrip()
    return "\n".join(lines)
