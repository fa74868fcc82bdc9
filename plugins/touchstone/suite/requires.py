"""The expressions of ``requires``: parsed once, evaluated against facts; a reason says why one is false.

Grammar::

    or:    and ("or" and)*
    and:   not ("and" not)*
    not:   "not"* ("(" or ")" | test)
    test:  NAME | NAME ["%" integer] (("==" | "!=" | "<" | "<=" | ">" | ">=") VALUE | list)
    list:  ["not"] "in" "(" VALUE ("," VALUE)* ")"
    VALUE: integer, word, or text in quotes
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, Protocol

from touchstone.machine.intercepts.names import NAMES as INTERCEPTS
from touchstone.machine.intercepts.names import STATE_NAMES
from touchstone.suite import cpu_bits
from touchstone.suite.model import Requirement
from touchstone.suite.numeral import number
from touchstone.suite.problems import did_you_mean, did_you_mean_or_all, one_of

Fact = str | int | bool
Facts = Mapping[str, Fact]
"""Name to value. A name that is missing is not known (yet): if it matters, the result is unknown."""

NAMES: Mapping[str, tuple[str, ...] | type[int] | None] = {
    "vendor": ("intel", "amd"),
    "os": ("bare", "linux"),
    "way": ("bare", "linux", "hosted", "uefi", "here"),
    "cpus": int,
    "target": None,
    "driver": None,
    "emulator": ("qemu", "bochs", "none"),
    "subject": None,
}
"""The fixed facts: the words they can have, int, or None for any word."""
CALLED = "called"
"""No fact that a requirement can name: what messages call a target that has another name in the inventory."""

MOST_DEEP = 50
"""Parentheses inside of each other."""

_TOKEN = re.compile(
    r"\s*(?:(?P<op>==|!=|<=|>=|<|>|%|\(|\)|,)"
    r"|(?P<text>\"[^\"]*\"|'[^']*')|(?P<word>[A-Za-z0-9_.-]+(?:\[[^\]\s]*\])?)|(?P<bad>\S))"
)
_HINTS = {"=": "; equality is ==", "&": "; write and", "|": "; write or", "!": "; write not"}
_NAME = re.compile(r"[a-z][a-z0-9_-]*(?:\.[a-z0-9_-]+)*(?:\[.*\])?")
_COMPARE: Mapping[str, Callable[[Fact, Fact], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class ExpressionError(Exception):
    """A requirement that cannot be read: ``offset`` is the index of the character that is wrong."""

    def __init__(self, offset: int, text: str) -> None:
        super().__init__(text)
        self.offset = offset
        self.text = text


@dataclass(frozen=True)
class Outcome:
    """What an expression comes to on one target."""

    result: bool | None
    """None: a fact that matters is not known."""
    reason: str
    """Why it is not true, as a sentence: ``needs cpus >= 4, bochs-intel has 2``. Empty when it is true."""


class Node(Protocol):
    """A part of an expression."""

    def evaluate(self, facts: Facts, wanted: bool) -> Outcome:
        """Whether the part is ``wanted``; the reason says why it is not."""

    def names(self) -> frozenset[str]:
        """Facts that it asks for."""

    def words(self, name: str) -> frozenset[str]:
        """The words that it compares a fact with."""


@dataclass(frozen=True)
class _Test:
    """One comparison; a bare name has the operator ``is``."""

    name: str
    op: str
    values: tuple[Fact, ...]
    divisor: int | None = None
    """What is compared is the remainder of the fact."""

    def __str__(self) -> str:
        if self.op == "is":
            return self.name
        left = self.name if self.divisor is None else f"{self.name} % {self.divisor}"
        values = ", ".join(map(str, self.values))
        return f"{left} {self.op} ({values})" if self.op.endswith("in") else f"{left} {self.op} {values}"

    def evaluate(self, facts: Facts, wanted: bool) -> Outcome:
        text = str(self) if wanted else f"not {self}"
        fact = facts.get(self.name)
        if fact is None and self.name.startswith("subject."):
            claim = self.name.removeprefix("subject.")
            return Outcome(None, f"needs {text}, and {_owner(self.name, facts)} does not claim {claim}")
        if fact is None:
            return Outcome(None, f"needs {text}, and {self.name} is not known{_of(self.name, facts)}")
        if self._holds(fact) is wanted:
            return Outcome(True, "")
        return Outcome(False, f"needs {text}, {_owner(self.name, facts)} has {_show(fact)}")

    def _holds(self, fact: Fact) -> bool:
        if self.op == "is":
            return fact not in (False, 0, "", "false", "no", "none")
        if self.op not in ("in", "not in", "==", "!=") and isinstance(fact, str):
            return False  # a word is neither more nor less than a number
        if self.divisor is not None:
            if isinstance(fact, str):
                return False  # nor has it a remainder
            fact %= self.divisor
        values = [_like(fact, value) for value in self.values]
        if self.op == "in":
            return fact in values
        if self.op == "not in":
            return fact not in values
        return _COMPARE[self.op](fact, values[0])

    def names(self) -> frozenset[str]:
        return frozenset({self.name})

    def words(self, name: str) -> frozenset[str]:
        return frozenset(map(str, self.values)) if name == self.name else frozenset()


@dataclass(frozen=True)
class _Not:
    """``not x``."""

    part: Node

    def evaluate(self, facts: Facts, wanted: bool) -> Outcome:
        return self.part.evaluate(facts, not wanted)

    def names(self) -> frozenset[str]:
        return self.part.names()

    def words(self, name: str) -> frozenset[str]:
        return self.part.words(name)


@dataclass(frozen=True)
class _Join:
    """``a and b``, ``a or b``, in Kleene's logic of three values."""

    op: Literal["and", "or"]
    parts: tuple[Node, ...]

    def evaluate(self, facts: Facts, wanted: bool) -> Outcome:
        outcomes = [part.evaluate(facts, wanted) for part in self.parts]
        results = [outcome.result for outcome in outcomes]
        missed = [outcome for outcome in outcomes if not outcome.result]
        if (self.op == "and") is wanted:  # all of them (De Morgan turns an unwanted `or` into that)
            decisive = [outcome for outcome in missed if outcome.result is False] or missed
            return decisive[0] if decisive else Outcome(True, "")
        if True in results:
            return Outcome(True, "")
        reason = ", or ".join(outcome.reason for outcome in missed)
        return Outcome(None if None in results else False, reason)

    def names(self) -> frozenset[str]:
        return frozenset().union(*(part.names() for part in self.parts))

    def words(self, name: str) -> frozenset[str]:
        return frozenset().union(*(part.words(name) for part in self.parts))


def _like(fact: Fact, value: Fact) -> Fact:
    """A value of the expression as the type of the fact, where it can be one."""
    if isinstance(fact, bool) and value in ("true", "false"):
        return value == "true"
    if isinstance(fact, str) and not isinstance(value, str):
        return str(value)
    return value


def _show(fact: Fact) -> str:
    return str(fact).lower() if isinstance(fact, bool) else str(fact)


def _machine(facts: Facts) -> Fact | None:
    """What the target is called in this run: ``CALLED`` if it is a cell of a matrix."""
    return facts.get(CALLED, facts.get("target"))


def _owner(name: str, facts: Facts) -> str:
    if name == "subject":
        return "this run"
    if name.startswith("subject."):
        return str(facts.get("subject", "the subject"))
    return str(_machine(facts) or "the target")


def _of(name: str, facts: Facts) -> str:
    owner = facts.get("subject") if name.startswith("subject.") else _machine(facts)
    return f" of {owner}" if owner is not None else ""


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    offset: int


class _Parser:
    def __init__(self, text: str) -> None:
        self.tokens: list[_Token] = []
        for found in _TOKEN.finditer(text):
            kind = found.lastgroup
            assert kind
            token = _Token(kind, found[kind], found.start(kind))
            if kind == "bad":
                hint = _HINTS.get(token.text, "")
                raise ExpressionError(token.offset, f"'{token.text}' is not expected here{hint}")
            self.tokens.append(token)
        self.tokens.append(_Token("end", "", len(text)))
        self.index = 0
        self.depth = 0

    @property
    def next(self) -> _Token:
        return self.tokens[self.index]

    def take(self, *texts: str) -> _Token | None:
        token = self.next
        if token.kind in ("op", "word") and token.text in texts:
            self.index += 1
            return token
        return None

    def fail(self, wanted: str) -> ExpressionError:
        token = self.next
        found = "the expression ends" if token.kind == "end" else f"there is '{token.text}'"
        return ExpressionError(token.offset, f"{wanted} is expected, but {found}")

    def expression(self) -> Node:
        node = self.joined("or", lambda: self.joined("and", self.inverted))
        if self.next.kind != "end":
            hint = (
                did_you_mean(self.next.text, ("and", "or", "in", "not")) if self.next.kind == "word" else ""
            )
            found = f"there is '{self.next.text}'{hint}"
            raise ExpressionError(self.next.offset, f"and, or, or the end is expected, but {found}")
        return node

    def joined(self, op: Literal["and", "or"], part: Callable[[], Node]) -> Node:
        parts = [part()]
        while self.take(op):
            parts.append(part())
        return parts[0] if len(parts) == 1 else _Join(op, tuple(parts))

    def inverted(self) -> Node:
        inverted = False
        while self.take("not"):
            inverted = not inverted
        node = self.grouped()
        return _Not(node) if inverted else node

    def grouped(self) -> Node:
        token = self.take("(")
        if not token:
            return self.test()
        if self.depth == MOST_DEEP:
            raise ExpressionError(token.offset, f"more than {MOST_DEEP} parentheses inside of each other")
        self.depth += 1
        node = self.joined("or", lambda: self.joined("and", self.inverted))
        if not self.take(")"):
            raise self.fail("')'")
        self.depth -= 1
        return node

    def test(self) -> Node:
        token = self.next
        if token.kind != "word" or token.text in ("and", "or", "in"):
            raise self.fail("a name")
        self.index += 1
        if not _NAME.fullmatch(token.text):
            raise ExpressionError(token.offset, f"'{token.text}' is no name; names come first: cpus >= 2")
        _check_name(token)
        divisor = self.divisor(token.text)
        inverted = self.next.text == "not" and self.tokens[self.index + 1].text == "in"
        if inverted:
            self.take("not")
        if self.take("in"):
            return _Test(
                token.text, "not in" if inverted else "in", self.listed(token.text, divisor), divisor
            )
        op = self.take(*_COMPARE)
        if op is None and divisor is not None:
            raise self.fail(f"what is compared with the remainder, as in {token.text} % {divisor} == 0,")
        if op is None:
            return _Test(token.text, "is", ())
        value = self.value(token.text, divisor)
        if op.text not in ("==", "!=") and not isinstance(value, int):
            raise ExpressionError(op.offset, f"{op.text} compares numbers; '{value}' is none")
        return _Test(token.text, op.text, (value,), divisor)

    def divisor(self, name: str) -> int | None:
        """The number behind ``%``, if there is one."""
        op = self.take("%")
        if op is None:
            return None
        known = NAMES.get(name, int)
        if known is not int:
            raise ExpressionError(op.offset, f"% is for numbers; {name} is a word")
        token = self.next
        found = number(token.text) if token.kind == "word" else None
        if found is None or found < 1:
            raise self.fail("a number of at least 1")
        self.index += 1
        return found

    def listed(self, name: str, divisor: int | None) -> tuple[Fact, ...]:
        if not self.take("("):
            raise self.fail("'(' with the values: in (a, b)")
        values = [self.value(name, divisor)]
        while self.take(","):
            values.append(self.value(name, divisor))
        if not self.take(")"):
            raise self.fail("',' or ')'")
        return tuple(values)

    def value(self, name: str, divisor: int | None) -> Fact:
        token = self.next
        if token.kind == "text" and divisor is None:
            self.index += 1
            return token.text[1:-1]
        if token.kind != "word" or token.text in ("and", "or", "not", "in"):
            raise self.fail("a number or a word")
        self.index += 1
        plain = number(token.text)
        if divisor is not None and (plain is None or not 0 <= plain < divisor):
            raise ExpressionError(
                token.offset, f"{name} % {divisor} is from 0 to {divisor - 1}, never '{token.text}'"
            )
        known = NAMES.get(name)
        if known is int and plain is None:
            raise ExpressionError(token.offset, f"{name} is a number, '{token.text}' is none")
        if isinstance(known, tuple) and token.text not in known:
            hint = did_you_mean(token.text, known)
            raise ExpressionError(token.offset, f"{name} is {one_of(known)}, never '{token.text}'{hint}")
        return token.text if plain is None else plain


def _check_name(token: _Token) -> None:
    head, _, rest = token.text.partition(".")
    if token.text in NAMES or (head == "subject" and rest):
        return
    if head == "intercepts" and rest:
        if rest not in INTERCEPTS:
            hint = did_you_mean_or_all(rest, INTERCEPTS)
            raise ExpressionError(token.offset, f"nobody tests whether '{rest}' is intercepted{hint}")
        return
    if head == "machine" and rest:
        if rest not in STATE_NAMES:
            hint = did_you_mean_or_all(rest, STATE_NAMES)
            raise ExpressionError(token.offset, f"nobody tests '{rest}' of a machine{hint}")
        return
    if head in ("cpuid", "msr") and rest:
        try:
            cpu_bits.parse(token.text)
        except cpu_bits.UnknownBits as error:
            raise ExpressionError(token.offset, str(error)) from None
        return
    hint = (
        did_you_mean(token.text, NAMES)
        or f"; known are {', '.join(NAMES)}, intercepts.CONTROL, machine.STATE, subject.CLAIM, cpuid.FEATURE,"
        " cpuid.LEAF.REGISTER[BIT] and msr.NAME[BIT]"
    )
    raise ExpressionError(token.offset, f"'{token.text}' is nothing that is known of a target{hint}")


@lru_cache(4096)
def parse(text: str) -> Node:
    """The expression as a tree. ExpressionError names what is wrong, and where."""
    return _Parser(text).expression()


def evaluate(requirement: Requirement | str, facts: Facts) -> Outcome:
    """What a requirement comes to with these facts."""
    return parse(requirement if isinstance(requirement, str) else requirement.text).evaluate(facts, True)


def evaluate_all(requirements: tuple[Requirement, ...], facts: Facts) -> Outcome:
    """What all of them come to: the first that is false, else the first that is unknown, else true."""
    outcomes = [evaluate(requirement, facts) for requirement in requirements]
    missed = [item for item in outcomes if not item.result]
    decisive = [item for item in missed if item.result is False] or missed
    return decisive[0] if decisive else Outcome(True, "")


def names_used(requirement: Requirement | str) -> frozenset[str]:
    """The facts that a requirement asks for: ``{"cpus", "cpuid.xsave"}``."""
    return parse(requirement if isinstance(requirement, str) else requirement.text).names()


def words_compared(requirement: Requirement | str, name: str) -> frozenset[str]:
    """The words that a requirement compares a fact with: of ``target in (a, b)``, for ``target``, both."""
    return parse(requirement if isinstance(requirement, str) else requirement.text).words(name)
