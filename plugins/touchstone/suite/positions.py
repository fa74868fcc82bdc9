"""YAML text as a tree of nodes with positions, and functions that read them without guessing types.

YAML 1.1 turns ``no`` into a boolean, ``012`` into ten and ``26.10`` into a float. Nothing of that happens
here: a scalar stays the text that a person wrote until a reader asks for a number, a boolean or a word.

One thing differs from YAML: in ``VMXON raises #UD`` the ``#`` starts no comment. A ``#`` in front of an
exception's mnemonic is text, unless it is the first thing in its line.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from touchstone.suite import limits
from touchstone.suite.exceptions import VECTORS
from touchstone.suite.files import read_limited
from touchstone.suite.model import Body, Source
from touchstone.suite.numeral import number
from touchstone.suite.problems import Problem, Problems, SuiteErrors, did_you_mean, one_of

_HASH = "\ue000"  # replaces a # that starts no comment, until YAML is parsed
_MNEMONIC = re.compile(rf"(?<=[ \t])#({'|'.join(name[1:] for name in VECTORS)})(?![A-Za-z0-9_])")
_BRACKETS = re.compile(r"[{,]\s*\w+\[[\w:]+\]\s*:")
_BRACED = re.compile(r"\{[A-Za-z_][\w-]*\}")
_LINE_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")  # as libyaml breaks lines
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})


class _Composer(yaml.CSafeLoader):
    """Composes nodes without resolving their types: an implicit tag is the empty string.

    libyaml calls these three for every node. ``"".format`` returns "" for any arguments, and being a
    builtin it takes a tenth of the time of a Python function.
    """

    resolve = descend_resolver = ascend_resolver = staticmethod("".format)  # type: ignore[assignment]


class Document:
    """One YAML file: its nodes, its lines, and the problems found so far."""

    def __init__(self, path: Path, text: str, problems: Problems) -> None:
        self.path = path
        self.lines = _LINE_BREAK.split(text)
        self.problems = problems
        self.braced = {index for index, line in enumerate(self.lines) if _BRACED.search(line)}
        self.root = self._compose(text)

    def _compose(self, text: str) -> Node | None:
        if len(text) > limits.MAX_BYTES:
            what = f"the file has {len(text)} characters; a suite has {limits.MAX_BYTES} at most: split it"
            self.problems.add(Source(self.path, 1, 1), what)
            return None
        text = _hide_hashes(text)
        if place := limits.too_deep(text):
            what = f"lists and mappings are nested more than {limits.MAX_DEPTH} times"
            self.problems.add(Source(self.path, place[0] + 1, place[1] + 1), what)
            return None
        composer = _Composer(text)
        try:
            root: Node | None = composer.get_single_node()
            # Without an alias, the tree is as long as the text.
            if root is not None and "*" in text and (found := limits.unfolded(root)):
                self.wrong(*found)
                return None
            return root
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line, column = (mark.line, mark.column) if mark else (0, 0)
            what = ", ".join(part for part in (error.context, error.problem) if part)
            written = self.lines[line] if line < len(self.lines) else ""
            if "\t" in written:
                what += "; the line contains a tab: YAML indents with spaces"
            elif _BRACKETS.search(written):
                what += '; between { and } a key with brackets is written in quotes: "rax[63:32]"'
            self.problems.add(Source(self.path, line + 1, column + 1), f"not YAML: {what}")
        except yaml.reader.ReaderError as error:
            before = text[: error.position] if isinstance(error.position, int) else ""
            line = len(_LINE_BREAK.split(before))
            self.problems.add(Source(self.path, line, 1), f"not YAML: {error.reason}")
        finally:
            composer.dispose()
        return None

    def at(self, node: Node) -> Source:
        """The position of a node."""
        mark = node.start_mark
        return Source(self.path, mark.line + 1, mark.column + 1)

    def uses_variables(self, node: Node) -> bool:
        """Whether a line of the node has something like ``{name}`` in it."""
        if not self.braced:
            return False
        return not self.braced.isdisjoint(range(node.start_mark.line, node.end_mark.line + 1))

    def wrong(self, node: Node, text: str) -> None:
        """Remember a problem at a node."""
        self.problems.add(self.at(node), text)

    def entries(self, node: Node, what: str) -> Iterator[tuple[str, ScalarNode, Node]]:
        """Key, key node and value node of a mapping; problems for anything else and for keys given twice."""
        if type(node) is not MappingNode or node.tag:
            self.wrong(node, f"{what} must be a mapping (`key: value` lines), not {kind_of(node)}")
            return
        seen: dict[str, ScalarNode] = {}
        for key, value in node.value:
            if type(key) is not ScalarNode or key.tag:
                self.wrong(key, f"a key of {what} must be a word, not {kind_of(key)}")
                continue
            name = plain(key.value)
            if name in seen:
                first = seen[name].start_mark.line + 1
                self.wrong(key, f"'{name}' is given twice in {what}; the first one is in line {first}")
                continue
            seen[name] = key
            yield name, key, value

    def take(self, node: Node, what: str, keys: Iterable[str]) -> dict[str, tuple[ScalarNode, Node]]:
        """A mapping whose keys must be among ``keys``."""
        taken = {}
        for name, key, value in self.entries(node, what):
            if name in keys:
                taken[name] = (key, value)
            elif name == "<<":
                self.wrong(
                    key, f"merge keys (`<<`) are not part of the language; write the keys of {what} out"
                )
            else:
                known = list(keys)
                hint = did_you_mean(name, known) or f"; it takes {one_of(known)}"
                self.wrong(key, f"unknown key '{name}' in {what}{hint}")
        return taken

    def items(self, node: Node, what: str) -> list[Node]:
        """The nodes of a list; a single value counts as a list of one."""
        if type(node) is SequenceNode and not node.tag:
            if not node.value:
                self.wrong(node, f"{what} is an empty list")
            return list(node.value)
        return [node]

    def scalar(self, node: Node, what: str) -> str | None:
        """The text of a scalar, never empty; None after a problem."""
        if type(node) is ScalarNode and not node.tag:
            text = plain(node.value)
            if not node.style and text in _NULLS:
                row = node.start_mark.line
                line = self.lines[row] if row < len(self.lines) else ""
                comment = re.search(r"\s(#\S+)", line)
                hint = (
                    f'; YAML takes {comment[1]} for a comment, so quote it: "{comment[1]}"' if comment else ""
                )
                self.wrong(node, f"{what} has no value{hint}")
                return None
            return text
        if type(node) is MappingNode and node.flow_style and len(node.value) == 1:
            key, value = node.value[0]
            if type(key) is ScalarNode and type(value) is ScalarNode and not value.style and not value.value:
                name = key.value
                self.wrong(
                    node, f'YAML takes {{{name}}} for a mapping; to use the variable, quote it: "{{{name}}}"'
                )
                return None
        self.wrong(node, f"{what} must be a single value, not {kind_of(node)}")
        return None

    def text(self, node: Node, what: str) -> str | None:
        """A sentence or a name: a scalar with a visible character, of which YAML has not cut off the end."""
        text = self.scalar(node, what)
        if text is None:
            return None
        if not text.strip():
            self.wrong(node, f"{what} is empty")
            return None
        if isinstance(node, ScalarNode) and not node.style:
            rest = self.lines[node.end_mark.line][node.end_mark.column :]
            lost = re.match(r"\s+(#\S+)", rest)
            if lost:
                self.wrong(
                    node, f"YAML takes '{lost[1]}' and what follows for a comment; put {what} in quotes"
                )
        return text.strip()

    def choice(self, node: Node, what: str, words: Iterable[str]) -> str | None:
        """One word of several."""
        text = self.scalar(node, what)
        if text is None or text in words:
            return text
        known = list(words)
        self.wrong(node, f"{what} must be {one_of(known)}, not '{text}'{did_you_mean(text, known)}")
        return None

    def number(self, node: Node, what: str, low: int = 0, high: int = 2**64 - 1) -> int | None:
        """A number in a range: decimal, ``0x...`` or ``0b...``, ``_`` between digits allowed."""
        text = self.scalar(node, what)
        if text is None:
            return None
        value = number(text)
        if value is None:
            self.wrong(
                node, f"{what} must be a number (12, 0xc0000080, 0b101), not '{text}'{octal_hint(text)}"
            )
        elif not low <= value <= high:
            self.wrong(node, f"{what} must be from {low:#x} to {high:#x}, not {text}")
            return None
        return value

    def boolean(self, node: Node, what: str) -> bool | None:
        """``true`` or ``false``, and no other spelling."""
        text = self.scalar(node, what)
        if text is None:
            return None
        if text not in ("true", "false"):
            self.wrong(node, f"{what} must be true or false, not '{text}'")
            return None
        return text == "true"

    def body(self, node: Node) -> Body | None:
        """Assembly lines, each with its position; blank lines are left out."""
        text = self.scalar(node, "run")
        if text is None:
            return None
        assert isinstance(node, ScalarNode)
        start = node.start_mark
        if node.style == ">" or (node.style != "|" and node.end_mark.line != start.line):
            self.wrong(
                node, "YAML joins the lines of this text into one; write `run: |` and the lines below it"
            )
            return None
        lines, sources = [], []
        for index, line in enumerate(text.split("\n")):
            stripped = line.strip()
            if not stripped:
                continue
            if node.style == "|":
                row = start.line + 1 + index
                written = self.lines[row] if row < len(self.lines) else ""
                sources.append(Source(self.path, row + 1, len(written) - len(written.lstrip()) + 1))
            else:
                sources.append(Source(self.path, start.line + 1, start.column + 1 + bool(node.style)))
            lines.append(stripped)
        if not lines:
            self.wrong(node, "run has no instruction")
            return None
        return Body(tuple(lines), tuple(sources))


def _hide_hashes(text: str) -> str:
    """The text with _HASH for every # in front of an exception's mnemonic, which starts no comment."""
    if "#" not in text:
        return text
    lines = text.split("\n")
    for index, line in enumerate(lines):
        if "#" in line:
            first = len(line) - len(line.lstrip())
            lines[index] = line[: first + 1] + _MNEMONIC.sub(rf"{_HASH}\1", line)[first + 1 :]
    return "\n".join(lines)


def plain(text: str) -> str:
    """The text of a node as it was written."""
    return text.replace(_HASH, "#") if _HASH in text else text


def kind_of(node: Node) -> str:
    """What a node is, for a message."""
    if node.tag:
        return f"something with the tag {node.tag}"
    if isinstance(node, MappingNode):
        return "a mapping"
    if isinstance(node, SequenceNode):
        return "a list"
    assert isinstance(node, ScalarNode)
    return "nothing" if not node.style and node.value in _NULLS else f"'{plain(node.value)}'"


def octal_hint(text: str) -> str:
    """What to write instead of a number with a leading zero."""
    return (
        "; a leading zero is ambiguous, write it without, or in hex"
        if re.fullmatch(r"-?0o?[0-9_]+", text)
        else ""
    )


def read_text(path: Path, shown: Path | None = None) -> str:
    """Text of a UTF-8 file. SuiteErrors if it cannot be read, with the position of the first bad byte.

    ``shown``: the path as messages name it.
    """
    shown = shown or path
    try:
        data = read_limited(path, limits.MAX_BYTES)
    except OSError as error:
        raise SuiteErrors([Problem(Source(shown, 1, 1), f"cannot be read: {error.strerror}")]) from error
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise SuiteErrors([Problem(Source(shown, 1, 1), "not UTF-8 but UTF-16; save the file as UTF-8")])
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        column = len(before[before.rfind(b"\n") + 1 :].decode("utf-8", "replace")) + 1
        source = Source(shown, before.count(b"\n") + 1, column)
        raise SuiteErrors(
            [Problem(source, f"not UTF-8: byte {data[error.start]:#04x}; save the file as UTF-8")]
        ) from error
