"""``touchstone sick``: the boxes that runs skip, and taking them back into use."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from touchstone.config.sick import clear, mark, sick_boxes
from touchstone.config.tomlfile import did_you_mean


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``sick`` to the command ``touchstone``."""
    parser = commands.add_parser(
        "sick",
        help="list the boxes that runs skip; take them back into use",
        description="A box that fails again after it was switched off and on is marked as sick, and skipped "
        "by later runs until the mark is cleared. Marks are files in build/sick.",
        epilog="Status: 0, or 1 if a box that is to be cleared is not marked.",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--clear", nargs="+", metavar="NAME", help="take these boxes back into use")
    what.add_argument("--mark", nargs=2, metavar=("NAME", "REASON"), help="have runs skip a box")
    parser.set_defaults(run=run)


def run(asked: argparse.Namespace) -> int:
    """List, mark or clear."""
    home = Path()
    if asked.mark:
        mark(home, *asked.mark)
    missing = [name for name in asked.clear or () if not clear(home, name)]
    for name in missing:
        print(f"touchstone sick: {name} is not marked{did_you_mean(name, sick_boxes(home))}", file=sys.stderr)
    for one in sick_boxes(home).values():
        print(one)
    return 1 if missing else 0
