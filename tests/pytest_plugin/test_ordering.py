"""The order of checks on their targets."""

from __future__ import annotations

from tests.support.suite_texts import HEAD, loaded
from touchstone.pytest_plugin.ordering import ordered
from touchstone.suite.model import Check


def entry(name: str, *lines: str) -> str:
    expect = () if any("then" in line for line in lines) else ("expect: native",)
    keys = ("run: nop", *expect, *lines)
    return f"  - id: exits.{name}\n    title: X\n" + "".join(f"    {line}\n" for line in keys)


def order(*entries: str) -> list[str]:
    checks = loaded(HEAD + "".join(entries)).checks

    def check_of(check: Check | None) -> tuple[str, Check] | None:
        return None if check is None else ("box", check)

    return [one.id.removeprefix("exits.") for one in ordered(checks, check_of, ["box"]) if one is not None]


def test_phases_come_first_and_sequences_last() -> None:
    sequence = "then: [unload, {run: nop, expect: native}]"
    assert order(
        entry("sequence", sequence),
        entry("at-load", "at-load: {dr0: 1}"),
        entry("unloaded", "phase: unloaded"),
        entry("loaded"),
        entry("native", "phase: native"),
    ) == ["native", "loaded", "unloaded", "at-load", "sequence"]


def test_checks_of_one_state_are_together_and_those_at_unloading_come_first() -> None:
    a, b, u, v = "at-load: {dr0: 1}", "at-load: {dr0: 2}", "at-unload: {dr0: 1}", "at-unload: {dr0: 2}"
    entries = [("a", a), ("u", u), ("b", b), ("v", v), ("u2", u), ("a2", a), ("b2", b)]
    assert order(*(entry(*one) for one in entries)) == ["u", "u2", "v", "a", "a2", "b", "b2"]


def test_sequences_that_load_come_before_those_that_are_loaded() -> None:
    loads = "then: [load, {run: nop, expect: native}]"
    unloads = "then: [unload, {run: nop, expect: native}]"
    assert order(entry("u", unloads), entry("l", "phase: unloaded", loads)) == ["l", "u"]
