"""``touchstone summary``: what a night found, made from its journals."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from touchstone.journal.nights import Night, add_night, night_of
from touchstone.journal.read import Journal, JournalError, read_journal
from touchstone.suite.problems import SuiteErrors
from touchstone.suite.statements import Statement, known_statements

JOURNALS = Path("build", "journals")


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add it to the command ``touchstone``."""
    summary = commands.add_parser(
        "summary",
        help="say on one screen what a run found, as Markdown",
        description="Say what broke, where and since when, what the lab is to blame for, and the verdicts by "
        "target and area, as Markdown.",
        epilog="Status: 0, or 2 if something cannot be read or written.",
    )
    add_journals(summary)
    summary.add_argument(
        "--history",
        type=Path,
        metavar="FILE",
        help="the nights so far, a JSON line each: this one is compared with them, and added",
    )
    summary.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="write it there (default: print it)"
    )
    summary.add_argument(
        "--html", type=Path, metavar="FILE", help="also write it as a page, with all causes and requirements"
    )
    summary.add_argument(
        "--checks", default="", metavar="URL", help="what the page links to: a report that has every check"
    )
    summary.add_argument(
        "--title", default="Touchstone", metavar="TEXT", help="heading of the page (default: %(default)s)"
    )
    summary.set_defaults(run=_summary)


def add_journals(parser: argparse.ArgumentParser) -> None:
    """Add the journals that ``read_night`` takes."""
    parser.add_argument(
        "journals",
        nargs="*",
        type=Path,
        metavar="JOURNAL",
        help="of one night, a subject each (default: the newest in build/journals)",
    )


def read_night(paths: Sequence[Path]) -> list[Journal]:
    """The journals, or the newest one. JournalError names all that cannot be read."""
    if not paths:
        found = sorted(JOURNALS.glob("*.jsonl"))
        if not found:
            raise JournalError(f"there is no journal in {JOURNALS}: name one, or run pytest first")
        paths = found[-1:]
    journals, errors = [], []
    for path in paths:
        try:
            journals.append(read_journal(path))
        except JournalError as error:
            errors.append(str(error))
        except OSError as error:
            errors.append(f"{path}: {error.strerror or error}")
    if errors:
        raise JournalError("\n".join(errors))
    return journals


def requirements_known() -> dict[str, Statement]:
    """Touchstone's requirements, and the project's own. JournalError if a file cannot be read."""
    try:
        return known_statements(Path("conformance"))
    except SuiteErrors as error:
        raise JournalError(str(error)) from None


def _summary(asked: argparse.Namespace) -> int:
    from touchstone.reporting.front_page import front_page  # noqa: PLC0415
    from touchstone.reporting.overview import overview  # noqa: PLC0415
    from touchstone.reporting.summary import markdown  # noqa: PLC0415

    try:
        journals = read_night(asked.journals)
        earlier: list[Night] = []
        if asked.history is not None:
            earlier = add_night(asked.history, night_of(journals))
        found = overview(journals, earlier, requirements_known())
        lines = list(markdown(found))
        if asked.html is not None:
            asked.html.write_text(front_page(found, asked.title, asked.checks), encoding="utf-8")
        if asked.output is not None:
            asked.output.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        else:
            print("\n".join(lines))
    except (JournalError, OSError) as error:
        print(f"touchstone summary: error: {error}", file=sys.stderr)
        return 2
    return 0
