"""Reads a suite's text into its model, and reports all problems of a file at once."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from touchstone.garbage import uncollected
from touchstone.suite import requires, steps
from touchstone.suite.cases import cases, prepared
from touchstone.suite.citations import citations
from touchstone.suite.claims import implied
from touchstone.suite.model import Check, Citation, Requirement, Source, Suite
from touchstone.suite.positions import Document, read_text
from touchstone.suite.problems import Problem, Problems, SuiteErrors, TooManyProblems, did_you_mean
from touchstone.words import AREAS, LEVELS, PHASES, Level, Phase

SUITE_KEYS = ("suite", "area", "requires", "phase", "cite", "checks")
CHECK_KEYS = (
    "id", "title", "level", "cite", "proves", "requires", "phase", "claims", "each", "mode", "bits", "given",
    "handle", "sweep", "random", "run", "expect", "at-load", "at-unload", "then", "timeout", "tags",
)  # fmt: skip
TIMEOUT = 5.0
"""Seconds that a probe may take if its check does not say."""

_ID = re.compile(r"[a-z0-9]+(?:[.-][a-z0-9]+)*")
_SECONDS = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

Keys = Mapping[str, tuple[ScalarNode, Node]]


def load(path: Path, text: str | None = None, requirements: Collection[str] | None = None) -> Suite:
    """Read a suite.

    ``text`` stands for the content of the file. ``requirements`` are the ids that ``proves`` may name.
    Raises SuiteErrors with every problem of the file.
    """
    problems = Problems()
    content = read_text(path) if text is None else text
    suite = None
    more: list[Problem] = []
    try:
        with uncollected():
            suite = _suite(Document(path, content, problems), requirements)
    except TooManyProblems:
        last = problems.sorted()[-1].source
        more = [Problem(last, f"{len(problems)} problems, and perhaps more: nothing else was looked at")]
    if problems or suite is None:
        raise SuiteErrors(problems.sorted() + more, suite.checks if suite else ())
    return suite


def load_all(paths: Iterable[Path], requirements: Collection[str] | None = None) -> list[Suite]:
    """Read several suites; SuiteErrors has the problems of all of them, and ids that occur in two files."""
    suites, problems = [], []
    for path in paths:
        try:
            suites.append(load(path, requirements=requirements))
        except SuiteErrors as errors:
            problems += errors.problems
    problems += duplicates(suites)
    if problems:
        raise SuiteErrors(problems)
    return suites


def duplicates(suites: Iterable[Suite]) -> list[Problem]:
    """A problem for every check whose id an earlier suite has already used."""
    seen: dict[str, Source] = {}
    found = []
    for suite in suites:
        for check in suite.checks:
            if check.id in seen:
                found.append(
                    Problem(check.source, f"the id '{check.id}' is already used at {seen[check.id]}")
                )
            seen.setdefault(check.id, check.source)
    return found


def _suite(doc: Document, requirements: Collection[str] | None) -> Suite | None:
    root = doc.root
    if root is None:
        if not doc.problems:
            doc.problems.add(
                Source(doc.path, 1, 1), "the file is empty; a suite has the keys suite, area and checks"
            )
        return None
    keys = doc.take(root, "the suite", SUITE_KEYS)
    if not isinstance(root, MappingNode):
        return None
    for name in ("suite", "area", "checks"):
        if name not in keys:
            doc.wrong(root, f"the suite has no '{name}'")
    title = _text(doc, keys, "suite")
    area = doc.choice(keys["area"][1], "area", AREAS) if "area" in keys else None
    phase = _phase(doc, keys, "loaded")
    cite = citations(doc, keys["cite"][1]) if "cite" in keys else ()
    needs = _requires(doc, keys)
    checks: list[Check] = []
    if "checks" in keys:
        node = keys["checks"][1]
        if not isinstance(node, SequenceNode) or not node.value:
            doc.wrong(node, "checks must be a list: every check begins with `- id: ...`")
        else:
            reader = _Reader(doc, area, phase, cite, needs, requirements)
            checks = [check for entry in node.value if (check := reader.check(entry)) is not None]
    return Suite(title or "", area or "", doc.path, tuple(checks))


def _text(doc: Document, keys: Keys, name: str) -> str | None:
    if name not in keys:
        return None
    return doc.text(keys[name][1], name)


def _phase(doc: Document, keys: Keys, default: Phase) -> Phase:
    word = doc.choice(keys["phase"][1], "phase", PHASES) if "phase" in keys else None
    return next((phase for phase in PHASES if phase == word), default)


def _requires(doc: Document, keys: Keys) -> tuple[Requirement, ...]:
    if "requires" not in keys:
        return ()
    node = keys["requires"][1]
    text = doc.scalar(node, "requires")
    if text is None or not isinstance(node, ScalarNode):
        return ()
    try:
        requires.parse(text)
    except requires.ExpressionError as error:
        column = node.start_mark.column + 1 + error.offset + (node.style in ("'", '"'))
        source = (
            doc.at(node) if node.style in ("|", ">") else Source(doc.path, node.start_mark.line + 1, column)
        )
        doc.problems.add(source, f"requires: {error.text}")
        return ()
    return (Requirement(text, doc.at(node)),)


class _Reader:
    """Reads the checks of one suite."""

    def __init__(
        self,
        doc: Document,
        area: str | None,
        phase: Phase,
        cite: tuple[Citation, ...],
        needs: tuple[Requirement, ...],
        requirements: Collection[str] | None,
    ) -> None:
        self.doc = doc
        self.area = area
        self.phase = phase
        self.cite = cite
        self.needs = needs
        self.requirements = requirements
        self.ids: dict[str, int] = {}

    def check(self, entry: Node) -> Check | None:
        doc = self.doc
        keys = doc.take(entry, "a check", CHECK_KEYS)
        if not isinstance(entry, MappingNode):
            return None
        for name in ("id", "title"):
            if name not in keys:
                doc.wrong(entry, f"the check has no '{name}'")
        identity = self._id(keys)
        title = _text(doc, keys, "title")
        word = doc.choice(keys["level"][1], "level", LEVELS) if "level" in keys else "must"
        level: Level = next((level for level in LEVELS if level == word), "must")
        cite = citations(doc, keys["cite"][1]) if "cite" in keys else self.cite
        if "cite" not in keys and not self.cite:
            doc.wrong(
                entry,
                "the check has no 'cite', and the suite has none either: every check says what it proves",
            )
        phase = steps.phase_of(doc, keys, _phase(doc, keys, self.phase))
        found = cases(doc, entry, keys, phase)
        claims = doc.boolean(keys["claims"][1], "claims") if "claims" in keys else None
        if claims is None:
            claims = any(
                case.expect.exits or any(item.kind == "claim" for item in case.expect.fields)
                for case in found
            )
        unloads = phase == "unloaded" or any(name in keys for name in (*steps.AT, "then"))
        state = prepared(doc, keys)
        early = state is not None and state.before == "load"
        early |= any("load" in case.then for case in found)
        more = implied(found, unloads, doc.at(entry), before_loading=early)
        needs = (*self.needs, *_requires(doc, keys), *more)
        start, end = entry.start_mark.line, self._end(entry)
        return Check(
            identity or "", title or "", self.area or "", level, cite, phase, needs, found,
            self._timeout(keys), claims,
            tuple(word for word, _ in self._words(keys, "tags")), self._proves(keys),
            "\n".join(doc.lines[start:end]), doc.at(entry), end, state,
        )  # fmt: skip

    def _id(self, keys: Keys) -> str | None:
        text = _text(self.doc, keys, "id")
        if text is None:
            return None
        node = keys["id"][1]
        if not _ID.fullmatch(text):
            self.doc.wrong(
                node, f"the id '{text}' must be lower-case words joined by '.' or '-': nested.vmx.vmxon-ud"
            )
        elif self.area and not text.startswith(f"{self.area}."):
            self.doc.wrong(node, f"the id '{text}' must start with its area: {self.area}.")
        if text in self.ids:
            self.doc.wrong(node, f"the id '{text}' is already used in line {self.ids[text]}")
        self.ids.setdefault(text, node.start_mark.line + 1)
        return text

    def _timeout(self, keys: Keys) -> float:
        if "timeout" not in keys:
            return TIMEOUT
        node = keys["timeout"][1]
        text = self.doc.scalar(node, "timeout")
        if text is None:
            return TIMEOUT
        if not _SECONDS.fullmatch(text) or not 0 < float(text) <= 3600:
            self.doc.wrong(node, f"timeout must be seconds, more than 0 and up to 3600, not '{text}'")
            return TIMEOUT
        return float(text)

    def _words(self, keys: Keys, name: str) -> Iterator[tuple[str, Node]]:
        for item in self.doc.items(keys[name][1], name) if name in keys else ():
            text = self.doc.scalar(item, name)
            if text is not None and not _WORD.fullmatch(text):
                self.doc.wrong(
                    item, f"'{text}' cannot be one of {name}: letters, digits, '.', '-' and '_' only"
                )
            elif text is not None:
                yield text, item

    def _proves(self, keys: Keys) -> tuple[str, ...]:
        words = []
        for word, item in self._words(keys, "proves"):
            if self.requirements is not None and word not in self.requirements:
                near = did_you_mean(word, self.requirements) or "; conformance/requirements lists them"
                self.doc.wrong(item, f"there is no requirement '{word}'{near}")
            words.append(word)
        return tuple(words)

    def _end(self, entry: MappingNode) -> int:
        """Number of the entry's last line that is neither blank nor a comment."""
        line: int = (
            entry.end_mark.line
            if entry.end_mark.column == 0 or not entry.flow_style
            else entry.end_mark.line + 1
        )
        line = min(line if line > entry.start_mark.line else line + 1, len(self.doc.lines))
        while line > entry.start_mark.line + 1:
            text = self.doc.lines[line - 1].strip()
            if text and not text.startswith("#"):
                break
            line -= 1
        return line
