"""The lines of a body before they are assembled: labels, and what a body must not contain.

All bodies of a session are assembled in one run, so a body must not be able to touch its neighbours: no
directive that goes on behind it (a macro, a comment, an included file), no section, no global symbol.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass

from touchstone.machine.probe import CodeBits
from touchstone.suite import gdt_copy, raising
from touchstone.suite.constants import CONSTANTS
from touchstone.suite.model import Body
from touchstone.suite.numeral import number
from touchstone.suite.problems import Problem
from touchstone.suite.registers import SUB_REGISTERS
from touchstone.suite.variables import VARIABLE

DIRECTIVES = (
    ".byte", ".word", ".short", ".hword", ".2byte", ".long", ".int", ".4byte", ".quad", ".8byte", ".octa",
    ".ascii", ".asciz", ".string", ".zero", ".skip", ".space", ".fill", ".align", ".balign", ".p2align",
    ".nops", ".code16", ".code32", ".code64",
)  # fmt: skip
"""The directives that a body may use."""

_SIZED = frozenset({".zero", ".skip", ".space", ".fill", ".align", ".balign", ".p2align", ".nops"})
_TOKEN = re.compile(
    r'"(?:[^"\\]|\\.)*"|\'\\?.\'?|#.*|//.*|/\*|;|"|[A-Za-z_.$][\w.$]*|0[xX][0-9a-fA-F]+|\d\w*|\s+|.'
)
_NAME = re.compile(r"[A-Za-z_.$][\w.$]*")
_RESERVED = {
    *SUB_REGISTERS, "cs", "ds", "es", "fs", "gs", "ss", "rip", "eip", "start", "end", "scratch", "stack",
    "unchanged", "native", "any", "in", "not", "return", "no-gate", "not-present", *raising.WORDS,
    gdt_copy.WORD,
    *(f"{kind}{index}" for kind in ("cr", "dr", "st", "mm", "xmm", "ymm", "zmm", "k") for index in range(16)),
}  # fmt: skip
_DECORATION = re.compile(
    r"\{(?:k[0-7]|z|[rsu][nudz]?-?sae|sae|1to\d+|evex|vex[23]?|disp\d+|load|store|rex2?|nooptimize)\}"
)
_NOT_PLAIN = re.compile("|".join(['[.:="{/]', *raising.WORDS, gdt_copy.WORD]), re.IGNORECASE)


@dataclass(frozen=True)
class Statement:
    """One statement of a body, as tokens; comments are gone."""

    line: int
    """Index of its line in the body."""
    tokens: tuple[str, ...]
    label: str | None
    """A label that it defines, or a symbol that it sets."""
    assigns: bool
    """``name = value``: the symbol is a number and no address."""
    broken: str | None = None
    """Why the rest of the line cannot be read: a comment or a string that does not end."""


def statements(body: Body) -> tuple[Statement, ...]:
    """The statements of a body: ``a: b: mov eax, 1; ret`` are four."""
    return _statements(body.lines)


@functools.lru_cache(maxsize=4096)  # each body is read at least twice, and many have the same text
def _statements(lines: tuple[str, ...]) -> tuple[Statement, ...]:
    return tuple(_parsed(lines))


def _parsed(lines: tuple[str, ...]) -> Iterator[Statement]:
    for line, text in enumerate(lines):
        tokens: list[str] = []
        for token in _TOKEN.findall(text):
            if token[0] == "#" or token.startswith("//"):
                break
            if token in ("/*", '"'):
                what = "a /* comment; use #" if token == "/*" else "a string that does not end"
                yield Statement(line, (), None, False, what)
                tokens = []
                break
            if token == ";":
                yield from _split(line, tokens)
                tokens = []
            else:
                tokens.append(token)
        yield from _split(line, tokens)


def _split(line: int, tokens: list[str]) -> Iterator[Statement]:
    while True:
        while tokens and tokens[0].isspace():
            tokens = tokens[1:]
        if not tokens:
            return
        sign = next((index for index in range(1, len(tokens)) if not tokens[index].isspace()), None)
        if sign is not None and tokens[sign] == ":" and (_NAME.fullmatch(tokens[0]) or tokens[0].isdigit()):
            yield Statement(line, (tokens[0], ":"), tokens[0], False)
            tokens = tokens[sign + 1 :]
            continue
        assigns = sign is not None and tokens[sign] == "=" and bool(_NAME.fullmatch(tokens[0]))
        yield Statement(line, tuple(tokens), tokens[0] if assigns else None, assigns)
        return


def is_plain(body: Body) -> bool:
    """Whether a body has nothing but instructions and comments: no label, no symbol, no directive."""
    return not any(_NOT_PLAIN.search(line) for line in body.lines)


def labels(body: Body) -> list[str]:
    """Names of the addresses that a body defines, in order."""
    if not any(":" in line for line in body.lines):
        return []
    return [
        item.label
        for item in statements(body)
        if item.label and not item.assigns and not item.label.isdigit()
    ]


def check(body: Body) -> list[Problem]:
    """Problems with labels, directives and braces. The assembler checks the instructions."""
    problems = []
    if is_plain(body):
        return []
    seen: set[str] = set()
    for item in statements(body):
        text = _refused(item, seen, body.code_bits)
        if text:
            problems.append(Problem(body.sources[item.line], text))
    for line, text in enumerate(body.lines):
        for found in VARIABLE.finditer(text):
            if not _DECORATION.fullmatch(found[0]):
                problems.append(
                    Problem(
                        body.sources[line],
                        f"{found[0]} is no variable of `each` and nothing that the assembler knows",
                    )
                )
    return problems


def _refused(item: Statement, seen: set[str], bits: CodeBits) -> str | None:
    if item.broken:
        return f"a body must not contain {item.broken}"
    if item.label and not item.label.isdigit():
        name = item.label
        if name == ".":
            return "a body must not move the location counter"
        if name.lower() in _RESERVED:
            return f"'{name}' is a word of the language or a register and cannot be a label"
        if name in CONSTANTS:
            return f"'{name}' is a constant of the language ({CONSTANTS[name]:#x}) and cannot be a label"
        if name in seen:
            return f"the label '{name}' is defined twice"
        seen.add(name)
        return None
    if raising.is_raising(item.tokens):
        return raising.refused(item.tokens)
    if gdt_copy.is_copying(item.tokens):
        return gdt_copy.refused(item.tokens, bits)
    word = item.tokens[0].lower()
    if not word.startswith(".") or word == ".":
        return None
    if word not in DIRECTIVES:
        return (
            f"the directive {word} is not allowed in a body, which is code and data (.byte to .octa, .align)"
        )
    if word in _SIZED:
        for argument in "".join(item.tokens[1:]).split(","):
            value = number(argument.strip())
            if value is None or not 0 <= value <= 4096:
                return f"{word} takes plain numbers up to 4096 here, not '{argument.strip()}'"
    return None


def rename(item: Statement, names: dict[str, str], bits: CodeBits) -> str:
    """The statement's text with symbols replaced; a mnemonic is kept, even if a label has its name."""
    if gdt_copy.is_copying(item.tokens):
        return gdt_copy.instructions(item.tokens, bits)
    if raising.is_raising(item.tokens):
        return "".join(item.tokens)
    tokens = [
        names.get(token, token) if index or item.label else token for index, token in enumerate(item.tokens)
    ]
    return "".join(tokens)


def raises(body: Body) -> tuple[Statement, ...]:
    """The statements of a body that raise events."""
    if not any(word in line for line in body.lines for word in raising.WORDS):
        return ()
    return tuple(item for item in statements(body) if raising.is_raising(item.tokens))
