"""``touchstone costs``: what a run has measured, such as the instructions of an exit, against a named run."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from touchstone.commands.summary import add_journals, read_night
from touchstone.journal.lines import CostLine
from touchstone.journal.read import Journal, JournalError

LIMIT = 5.0
"""Percent."""
Costs = Mapping[tuple[str, str, str], CostLine]
"""By target, subject and what was measured."""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``costs`` to the command ``touchstone``."""
    parser = commands.add_parser(
        "costs",
        help="print what exits cost, and hold it against a named run",
        description="Print the costs that a run has measured, as Markdown; with --against, beside those of "
        "another run.",
        epilog="Status: 0; 1 if a cost rose by more than the limit, or was measured in the named run and is "
        "not in this one; 2 if there is nothing to print or to compare.",
    )
    add_journals(parser)
    parser.add_argument(
        "--against", type=Path, metavar="JOURNAL", help="the journal of the run that is the measure"
    )
    parser.add_argument(
        "--limit",
        type=_percent,
        default=LIMIT,
        metavar="PERCENT",
        help="how much a cost may rise (default: %(default)g)",
    )
    parser.set_defaults(run=run)


def _percent(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is no percentage from 0 to 1000")
    return value


def run(asked: argparse.Namespace) -> int:
    """Print them; the exit status."""
    try:
        now = _costs(read_night(asked.journals))
        named = None if asked.against is None else _costs(read_night([asked.against]))
    except JournalError as error:
        print(f"touchstone costs: error: {error}", file=sys.stderr)
        return 2
    if named is None:
        print("\n".join(_table(now, {})))
        return 0
    # Targets that only the named run has are another night's.
    targets = {(target, subject) for target, subject, _ in now}
    before = {key: line for key, line in named.items() if key[:2] in targets}
    if not before:
        print(
            f"touchstone costs: error: {asked.against} has no cost of a target and a subject of this run",
            file=sys.stderr,
        )
        return 2
    print("\n".join(_table(now, before)))
    wrong = list(_wrong(now, before, asked.limit))
    print()
    print(
        f"{len(wrong)} of {len(before)} costs are not within {asked.limit:g} % of {asked.against}:"
        if wrong
        else f"all {len(before)} costs of {asked.against} are kept to within {asked.limit:g} %"
    )
    for line in wrong:
        print(f"- {line}")
    return 1 if wrong else 0


def _costs(journals: Sequence[Journal]) -> Costs:
    """JournalError if there are none."""
    found = {key: line for journal in journals for key, line in journal.costs.items()}
    if not found:
        names = ", ".join(str(journal.path) for journal in journals)
        raise JournalError(
            f"there are no costs in {names}: tests/benchmarks/exits.py --journal=FILE measures and adds some"
        )
    return found


def _table(now: Costs, before: Costs) -> Iterator[str]:
    yield "| cost | target |" + (" named run |" if before else "") + " this run |" + " |" * bool(before)
    yield "|---|---|" + "---|" * (3 if before else 1)
    for key, line in now.items():
        was = before.get(key)
        cells = [line.what, line.target]
        if before:
            cells.append("-" if was is None else f"{was.value:g}")
        cells.append(f"{line.value:g} {line.unit}")
        if before:
            cells.append("" if was is None or was.value == line.value else _change(was, line))
        yield f"| {' | '.join(cells)} |"


def _change(was: CostLine, now: CostLine) -> str:
    return f"{now.value / was.value - 1:+.1%}" if was.value else f"{now.value - was.value:+g}"


def _wrong(now: Costs, before: Costs, limit: float) -> Iterator[str]:
    for key, was in before.items():
        line = now.get(key)
        if line is None:
            yield f"{was.target}: {was.what}: {was.value:g} {was.unit}, and not measured now"
        elif line.unit != was.unit:
            yield f"{was.target}: {was.what}: {was.unit}, and {line.unit} now"
        elif line.value > was.value * (1 + limit / 100):
            yield f"{was.target}: {was.what}: {was.value:g} → {line.value:g} {was.unit}, {_change(was, line)}"
