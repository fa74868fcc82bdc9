"""What the tiny OS says when it panics: targets/bare/panic.c."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_EVENT = re.compile(
    r"^!1 panic cpu=(?P<cpu>\d+)"
    r"(?: vec=(?P<vector>[0-9a-f]{2}) rip=(?P<rip>[0-9a-f]+)(?P<subject> in=subject)?| text=[^\n]*?)?"
    r" #[0-9a-f]{4}$",
    re.MULTILINE,
)
_STACK = re.compile(r"^panic: rsp (?P<rsp>[0-9a-f]{16}) rbp (?P<rbp>[0-9a-f]{16}) ", re.MULTILINE)


@dataclass(frozen=True)
class Panic:
    """One of an exception, or by words."""

    cpu: int
    exception: str = ""
    """Vector, as two hexadecimal digits; empty: it was no exception."""
    registers: Mapping[str, int] | None = None
    """RIP where the exception was raised, RSP and RBP, as far as the report has come."""
    in_subject: bool = False


def last_panic(said: str) -> Panic | None:
    """The last one of what a machine has said since it was switched on."""
    event = None
    for event in _EVENT.finditer(said):  # noqa: B007 - the last one
        pass
    if event is None:
        return None
    if event["vector"] is None:
        return Panic(int(event["cpu"]))
    stack = _STACK.search(said, event.end())
    registers = {} if stack is None else {name: int(stack[name], 16) for name in ("rsp", "rbp")}
    return Panic(
        int(event["cpu"]),
        event["vector"],
        {"rip": int(event["rip"], 16), **registers},
        event["subject"] is not None,
    )
