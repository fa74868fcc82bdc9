"""``touchstone requirements``: which requirement holds and fails where, and which has no check."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from touchstone.commands.summary import add_journals, read_night, requirements_known
from touchstone.journal.read import JournalError
from touchstone.words import STATEMENT_LEVELS, STATEMENT_VENDORS

if TYPE_CHECKING:
    from touchstone.reporting.proofs import Proof


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add it to the command ``touchstone``."""
    parser = commands.add_parser(
        "requirements",
        help="say which requirement holds where, by a run",
        description="Print the requirements of conformance/requirements, chapter by chapter: how many "
        "of their checks hold and fail on each target, and which have no check in the run. n/a: it is about "
        "the other vendor's processors.",
        epilog="Status: 0, or 2 if something cannot be read.",
    )
    add_journals(parser)
    parser.add_argument(
        "--level", choices=STATEMENT_LEVELS, action="append", help="only this level; may be given twice"
    )
    parser.add_argument(
        "--vendor",
        choices=STATEMENT_VENDORS,
        help="only what is about this vendor's processors; both: only what is about both",
    )
    parser.add_argument("--chapter", metavar="TEXT", help="only chapters with this text in their title")
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--without-checks",
        action="store_true",
        help="list what no check of the run is about, with its sentence",
    )
    which.add_argument("--failing", action="store_true", help="only what fails somewhere")
    parser.add_argument("--checks", action="store_true", help="name the checks of each requirement")
    parser.set_defaults(run=_requirements)


def _requirements(asked: argparse.Namespace) -> int:
    from touchstone.reporting.overview import overview  # noqa: PLC0415
    from touchstone.reporting.proofs import tables, unproved  # noqa: PLC0415

    try:
        found = overview(read_night(asked.journals), [], requirements_known())
    except JournalError as error:
        print(f"touchstone requirements: error: {error}", file=sys.stderr)
        return 2
    some = [one for one in found.proofs if _wanted(one, asked)]
    total = len(found.proofs)
    if not some:
        print(f"none of {total} requirements is asked for")
    elif asked.without_checks:
        print("\n".join(unproved(some, total)))
    else:
        print("\n".join(tables(some, found.columns, checks=asked.checks, of=total)))
    return 0


def _wanted(one: Proof, asked: argparse.Namespace) -> bool:
    if asked.level and one.level not in asked.level:
        return False
    if asked.vendor and one.vendor not in (asked.vendor, "both"):
        return False
    if asked.chapter and asked.chapter.lower() not in one.chapter.lower():
        return False
    if asked.without_checks:
        return not one.proved
    return one.fails or not asked.failing
