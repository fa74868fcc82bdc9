"""Problems of suites, each with its position; they are collected, so that one run reports all of them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from touchstone.suite.model import Check, Source


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, and what was meant; ``str()`` is ``file:line:column: text``."""

    source: Source
    text: str

    def __str__(self) -> str:
        return f"{self.source}: {self.text}"


class SuiteErrors(Exception):
    """All problems of one or several files, in the order of their positions.

    ``checks`` are those that could be read nevertheless, as far as they could: their bodies may have mistakes
    that only the assembler finds.
    """

    def __init__(self, problems: Iterable[Problem], checks: Iterable[Check] = ()) -> None:
        self.problems = list(problems)
        self.checks = tuple(checks)
        super().__init__("\n".join(map(str, self.problems)))


class TooManyProblems(Exception):
    """A file has so many problems that nobody reads on."""


MOST = 200
"""Problems that are collected of one file: each may cost a search for what was meant."""
_LONGEST = 1000
"""Characters of a problem's text: it quotes what was written, however long that is."""


class Problems:
    """Collects problems; the same one at the same position counts once.

    TooManyProblems when there are MOST of them.
    """

    def __init__(self) -> None:
        self._found: dict[Problem, None] = {}

    def add(self, source: Source, text: str) -> None:
        """Remember one problem."""
        text = " ".join(text.splitlines())  # it quotes what was written, whatever that calls a line's end
        if len(text) > _LONGEST:
            text = f"{text[:700]} ... {text[-200:]}"
        self._found[Problem(source, text)] = None
        if len(self._found) >= MOST:
            raise TooManyProblems

    def extend(self, problems: Iterable[Problem]) -> None:
        """Remember several problems."""
        for problem in problems:
            self.add(problem.source, problem.text)

    def __len__(self) -> int:
        return len(self._found)

    def __bool__(self) -> bool:
        return bool(self._found)

    def sorted(self) -> list[Problem]:
        """All problems, by line and column."""
        return in_order(self._found)


def in_order(problems: Iterable[Problem]) -> list[Problem]:
    """By file, line and column; none twice."""
    return sorted(
        dict.fromkeys(problems),
        key=lambda problem: (str(problem.source.path), problem.source.line, problem.source.column),
    )


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`` (did you mean 'requires'?)``, or nothing when no known word is near."""
    words = list(dict.fromkeys(known))
    near = difflib.get_close_matches(word.lower(), words, 1, 0.6)
    if not near:
        near = [
            name for name in words if len(word) > 1 and word.lower() == name.replace("-", "").replace("_", "")
        ]
    return f" (did you mean '{near[0]}'?)" if near else ""


def did_you_mean_or_all(word: str, known: Iterable[str]) -> str:
    """``did_you_mean``, or all known words when none is near: ``; it has cf, pf, af``."""
    words = list(known)
    return did_you_mean(word, words) or f"; it has {', '.join(words)}"


def one_of(words: Iterable[str]) -> str:
    """``a, b or c``."""
    *most, last = words
    return f"{', '.join(most)} or {last}" if most else last
