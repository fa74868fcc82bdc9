"""One case of a suite, judged by a result that a test makes up."""

from __future__ import annotations

from typing import Any

from tests.support.suite_texts import case, code_of, result
from touchstone.suite.judge import judge
from touchstone.suite.judgement import Judgement


def of(
    entry: str,
    oracle: dict[str, object] | None = None,
    exits: Any = None,
    claims: Any = None,
    **measured: Any,
) -> Judgement:
    one = case(entry)
    code = code_of(one)
    native = None if oracle is None else [result(code, **oracle)]  # type: ignore[arg-type]
    return judge(one, code, [result(code, **measured)], native, exits, claims)


def differences(*arguments: object, **options: object) -> list[tuple[str, str, str]]:
    judged = of(*arguments, **options)  # type: ignore[arg-type]
    return [(item.what, item.expected, item.measured) for item in judged.differences]


def expecting(text: str, run: str = "nop") -> str:
    return f"run: {run}\nexpect: {text}"
