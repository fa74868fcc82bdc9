"""``conformance/requirements``: what must hold of a hypervisor, independent of the checks that prove it.

A file is a list of chapters, and a chapter a list of requirements::

    - chapter: CPUID
      requirements:
        - id: cpuid-upper-halves
          statement: CPUID clears bits 63:32 of RAX, RBX, RCX and RDX, whatever the leaf.
          cite: {doc: intel-sdm, title: CPUID—CPU Identification, says: "... in all modes."}

Requirements may also stand in the list themselves, without a chapter. They are called statements in the code,
because ``touchstone.suite.model.Requirement`` is a condition of a check.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from yaml.nodes import MappingNode, Node, SequenceNode

from touchstone.shipped import source_root
from touchstone.suite.citations import citations
from touchstone.suite.model import Citation, Source
from touchstone.suite.positions import Document, read_text
from touchstone.suite.problems import Problem, Problems, SuiteErrors, TooManyProblems
from touchstone.suite.statement_files import statement_files
from touchstone.words import STATEMENT_LEVELS, STATEMENT_VENDORS

CHAPTER_KEYS = ("chapter", "requirements")
STATEMENT_KEYS = ("id", "statement", "cite", "level", "vendor")

_ID = re.compile(r"[a-z0-9]+(?:[.-][a-z0-9]+)*")


@dataclass(frozen=True)
class Statement:
    """One sentence that is true or false of a subject on a target."""

    id: str
    text: str
    chapter: str
    """Empty: it stands in no chapter."""
    level: str
    """One of ``STATEMENT_LEVELS``."""
    vendor: str
    """One of ``STATEMENT_VENDORS``."""
    cite: tuple[Citation, ...]
    source: Source

    def is_about(self, vendor: str) -> bool:
        """Whether it says something about processors of this vendor; of an unknown one, it does."""
        return self.vendor == "both" or vendor in ("", self.vendor)


def load_statements(path: Path, text: str | None = None, shown: Path | None = None) -> list[Statement]:
    """The requirements of a file, in its order. SuiteErrors with every problem of the file.

    ``text`` stands for the content of the file, ``shown`` for its path in messages.
    """
    problems = Problems()
    found: list[Statement] = []
    content = read_text(path, shown) if text is None else text
    try:
        doc = Document(shown or path, content, problems)
        found = list(_statements(doc))
    except TooManyProblems:
        pass
    if problems:
        raise SuiteErrors(problems.sorted())
    return found


def _statements(doc: Document) -> Iterator[Statement]:
    if doc.root is None:
        if not doc.problems:
            doc.problems.add(Source(doc.path, 1, 1), "the file is empty; it is a list of requirements")
        return
    lines: dict[str, int] = {}
    for entry in _list(doc, doc.root, "the file"):
        if isinstance(entry, MappingNode) and any(
            getattr(key, "value", "") in CHAPTER_KEYS for key, _ in entry.value
        ):
            keys = doc.take(entry, "a chapter", CHAPTER_KEYS)
            for name in CHAPTER_KEYS:
                if name not in keys:
                    doc.wrong(entry, f"the chapter has no '{name}'")
            chapter = doc.text(keys["chapter"][1], "chapter") if "chapter" in keys else None
            entries = _list(doc, keys["requirements"][1], "requirements") if "requirements" in keys else []
        else:
            chapter, entries = "", [entry]
        for one in entries:
            statement = _statement(doc, one, chapter or "", lines)
            if statement is not None:
                yield statement


def _list(doc: Document, node: Node, what: str) -> list[Node]:
    if isinstance(node, SequenceNode) and node.value:
        return list(node.value)
    doc.wrong(node, f"{what} must be a list of requirements, each with an id, a statement and a citation")
    return []


def _statement(doc: Document, entry: Node, chapter: str, lines: dict[str, int]) -> Statement | None:
    keys = doc.take(entry, "a requirement", STATEMENT_KEYS)
    if not isinstance(entry, MappingNode):
        return None
    for name in ("id", "statement", "cite"):
        if name not in keys:
            doc.wrong(entry, f"the requirement has no '{name}'")
    identity = doc.text(keys["id"][1], "id") if "id" in keys else None
    if identity is not None:
        node = keys["id"][1]
        if not _ID.fullmatch(identity):
            doc.wrong(
                node, f"the id '{identity}' must be lower-case words joined by '.' or '-': cpuid-osxsave"
            )
        if identity in lines:
            doc.wrong(node, f"the id '{identity}' is already used in line {lines[identity]}")
        lines.setdefault(identity, node.start_mark.line + 1)
    text = doc.text(keys["statement"][1], "statement") if "statement" in keys else None
    level = doc.choice(keys["level"][1], "level", STATEMENT_LEVELS) if "level" in keys else "must"
    vendor = doc.choice(keys["vendor"][1], "vendor", STATEMENT_VENDORS) if "vendor" in keys else "both"
    cite = citations(doc, keys["cite"][1]) if "cite" in keys else ()
    if not (identity and text and level and vendor):
        return None
    return Statement(identity, " ".join(text.split()), chapter, level, vendor, cite, doc.at(entry))


def known_statements(own: Path, shown: Callable[[Path], str | Path] = Path) -> dict[str, Statement]:
    """By id: Touchstone's requirements, and those of a project's own ``conformance`` instead or besides.

    ``shown``: how messages name a path. SuiteErrors with the problems of all files, and with
    ids that two files of one folder have.
    """
    folders = [source_root() / "conformance"]
    if own.is_dir() and not own.samefile(folders[0]):
        folders.append(own)
    problems: list[Problem] = []
    known: dict[str, Statement] = {}
    for folder in folders:
        there: dict[str, Statement] = {}
        for path in statement_files(folder):
            try:
                found = _as_it_is(path, Path(shown(path)), _state(path))
            except SuiteErrors as errors:
                problems += errors.problems
                continue
            for one in found:
                if one.id in there:
                    first = there[one.id].source
                    problems.append(Problem(one.source, f"the id '{one.id}' is already used in {first}"))
                there[one.id] = one
        known |= there
    if problems:
        raise SuiteErrors(problems)
    return known


@functools.lru_cache(maxsize=64)
def _as_it_is(path: Path, shown: Path, state: object) -> tuple[Statement, ...]:
    """The requirements of a file in this state: the tests run pytest hundreds of times in one process."""
    return tuple(load_statements(path, shown=shown))


def _state(path: Path) -> object:
    """What is another one when a file was written to."""
    try:
        status = path.stat()
    except OSError:
        return object()  # whoever reads it says why not
    return status.st_mtime_ns, status.st_size, status.st_ino
