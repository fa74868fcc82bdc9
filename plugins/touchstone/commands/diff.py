"""``touchstone diff A B``: what two runs say differently, for a terminal or as Markdown."""

from __future__ import annotations

import argparse
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from touchstone.journal.compare import Change, Comparison, CostShift, Fact, compare
from touchstone.journal.read import Journal, JournalError, read_journal
from touchstone.words import Verdict

WIDTH = 80
COMMIT = 12
"""Digits of a commit that are shown."""
KINDS = {
    "regression": ("regression", "regressions"),
    "fixed": ("fixed", "fixed"),
    "changed": ("other change", "other changes"),
    "not judged": ("no longer judged", "no longer judged"),
}
"""Kind of a change to its heading, in this order."""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``diff`` to the command ``touchstone``."""
    parser = commands.add_parser(
        "diff",
        help="say what two runs found differently",
        description="Compare the journals of two runs: verdicts that changed, checks that are new or gone, "
        "costs that shifted, and what changed about what was tested.",
        epilog="Status: 0 without regressions, 1 with some, 2 if a journal cannot be read.",
    )
    parser.add_argument("before", type=Path, metavar="A", help="the journal of the earlier run")
    parser.add_argument("after", type=Path, metavar="B", help="the journal of the later run")
    parser.add_argument("--markdown", action="store_true", help="print Markdown, for a comment or a summary")
    parser.set_defaults(run=run)


def run(asked: argparse.Namespace) -> int:
    """Compare, and print what differs."""
    journals = []
    for path in (asked.before, asked.after):
        try:
            journals.append(read_journal(path))
        except JournalError as error:
            print(f"touchstone diff: error: {error}", file=sys.stderr)
        except OSError as error:
            print(f"touchstone diff: error: {path}: {error.strerror or error}", file=sys.stderr)
    if len(journals) < 2:
        return 2
    before, after = journals
    for line in (*before.damaged, *after.damaged):
        print(f"touchstone diff: damaged line: {line}", file=sys.stderr)
    found = compare(before, after)
    for line in markdown(before, after, found) if asked.markdown else plain(before, after, found):
        print(line)
    return 1 if found.regressions else 0


def plain(before: Journal, after: Journal, found: Comparison) -> Iterator[str]:
    """What differs, in lines of a terminal's width."""
    if not found:
        yield f"no differences: {_size(after)}"
        return
    yield from _wrapped(f"A: {_about(before)}", 3)
    yield from _wrapped(f"B: {_about(after)}", 3)
    for heading, entries in _parts(found):
        yield ""
        yield heading
        for head, more in entries:
            yield from _wrapped(head, 4, 2)
            for line in more:
                yield from _wrapped(line, 6, 4)


def markdown(before: Journal, after: Journal, found: Comparison) -> Iterator[str]:
    """What differs, as Markdown."""
    if not found:
        yield f"No differences: {_size(after)}."
        return
    yield f"- A: {_about(before)}"
    yield f"- B: {_about(after)}"
    for heading, entries in _parts(found):
        yield ""
        yield f"### {heading[0].upper()}{heading[1:]}"
        yield ""
        for head, more in entries:
            yield f"- {_escaped(head)}"
            yield from (f"  - {_escaped(line)}" for line in more)


Entry = tuple[str, list[str]]
"""A line, and those that belong to it."""


def _parts(found: Comparison) -> Iterator[tuple[str, list[Entry]]]:
    for kind, (one, several) in KINDS.items():
        changes = [change for change in found.changes if change.kind == kind]
        if changes:
            yield f"{len(changes)} {one if len(changes) == 1 else several}", list(_grouped(changes))
    if found.new:
        yield _counted(found.new, "new check"), list(_grouped(found.new))
    if found.vanished:
        yield _counted(found.vanished, "check") + " gone", list(_grouped(found.vanished))
    if found.costs:
        entries: list[Entry] = [
            (f"{one.target}: {one.what}: {one.before:g} → {one.after:g} {one.unit}{_part(one)}", [])
            for one in sorted(found.costs, key=lambda one: (one.target, -abs(one.part)))
        ]
        yield f"{len(entries)} cost{'s' if len(entries) != 1 else ''} shifted", entries
    if found.facts:
        yield "what was tested", [(_fact(one), []) for one in found.facts]


def _part(one: CostShift) -> str:
    return f" ({one.part:+.0%})" if one.before else ""


def _counted(changes: Sequence[Change], what: str) -> str:
    return f"{len(changes)} {what}{'s' if len(changes) != 1 else ''}"


def _grouped(changes: Sequence[Change]) -> Iterator[Entry]:
    """By target, verdicts and cause; what several checks have in common is said once."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for one in changes:
        head = f"{one.key.target}: {_verdicts(one)}"
        groups.setdefault((head, one.key.subject, one.cause.split("\n")[0]), []).append(one.key.check)
    for (head, _, cause), checks in groups.items():
        yield f"{head}: {cause}" if cause else head, sorted(checks)


def _verdicts(change: Change) -> str:
    def word(verdict: Verdict | None) -> str:
        return "no verdict" if verdict is None else verdict.value

    return " → ".join(
        word(one) for one in dict.fromkeys((change.before, change.after)) if one is not None
    ) or word(None)


def _fact(one: Fact) -> str:
    before, after = one.before or "not known", one.after or "not known"
    if one.name == "commit" and before[:COMMIT] != after[:COMMIT]:
        before, after = _short(before), _short(after)
    return f"{one.about}: {one.name}: {before} → {after}"


def _short(commit: str) -> str:
    digits, dash, dirty = commit.partition("-")
    return f"{digits[:COMMIT]}{dash}{dirty}"


def _about(journal: Journal) -> str:
    run = journal.runs[-1]
    commit = f" {_short(run.subject.commit)}" if run.subject.commit else ""
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(journal.runs[0].at))
    left = f", {len(journal.missing)} of them without verdict" if journal.missing else ""
    return f"{journal.path.name}, {when}, {run.subject.name}{commit}, {_size(journal)}{left}"


def _size(journal: Journal) -> str:
    checks = len({**journal.planned, **dict.fromkeys(journal.judged)})
    targets = len({key.target for key in (*journal.planned, *journal.judged)})
    return f"{checks} checks on {targets} target{'s' if targets != 1 else ''}"


def _wrapped(text: str, indent: int, first: int = 0) -> list[str]:
    return textwrap.wrap(
        text, WIDTH, initial_indent=" " * first, subsequent_indent=" " * indent, break_on_hyphens=False
    )


def _escaped(text: str) -> str:
    return "".join(f"\\{letter}" if letter in r"\`*_[]<>|" else letter for letter in text)
