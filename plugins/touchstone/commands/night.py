"""``touchstone night MATRIX``: everything that a matrix names, one pytest run for each subject."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from touchstone.config.inventory import read_inventory
from touchstone.config.matrix import Matrix, read_matrix
from touchstone.config.tomlfile import TomlError
from touchstone.shipped import source_root

NIGHT = re.compile(r"\d{8}-\d{6}")
FORWARDED = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
KEPT = 30
"""Nights that are kept in the default place."""
WORST = (1, 3, 2, 4)
"""Exit statuses that count more than others: failures, then what kept a run from judging."""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``night`` to the command ``touchstone``."""
    parser = commands.add_parser(
        "night",
        help="run everything that a matrix names",
        description="Run all cells of a matrix of targets/matrix.toml, subject by subject, each with a "
        "journal of its own. Other arguments go to pytest.",
        epilog="The status is 1 if a check failed in any of the runs, else that of the first that is not 0.",
    )
    parser.add_argument("matrix", metavar="MATRIX", help="its name")
    parser.add_argument(
        "-d",
        "--directory",
        type=Path,
        metavar="DIR",
        help="where the journals are, SUBJECT.jsonl (default: a new directory in build/nights)",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on with the night in DIR (default: the newest in build/nights)",
    )
    parser.set_defaults(run=run, takes_rest=True)


def run(asked: argparse.Namespace) -> int:
    """Run pytest for each subject; the exit status of all."""
    try:
        matrix = _matrix(asked.matrix)
        directory = _directory(asked.directory, asked.resume)
    except (TomlError, OSError, LookupError) as error:
        print(f"touchstone night: error: {error}", file=sys.stderr)
        return 2
    directory.mkdir(parents=True, exist_ok=True)
    statuses = []
    for subject in matrix.subjects:
        journal = directory / f"{Path(subject).stem}.jsonl"
        goes_on = journal.is_file() and journal.stat().st_size
        option = f"--resume={journal}" if goes_on else f"--journal={journal}"
        words = [f"--matrix={asked.matrix}", f"--hypervisor={subject}", "-n", "auto", option, *asked.rest]
        print(f"touchstone night: pytest {' '.join(words)}", file=sys.stderr)
        status, stopped = _run_pytest(words)
        statuses.append(status)
        if stopped:
            break
    return next((one for one in (*WORST, *statuses) if one in statuses and one), 0)


def _matrix(name: str) -> Matrix:
    home = Path() if Path("targets", "inventory.toml").is_file() else source_root()
    inventory = read_inventory(home / "targets" / "inventory.toml")
    beside = home / "targets" / "matrix.toml"
    path = beside if beside.is_file() else source_root() / "targets" / "matrix.toml"
    return read_matrix(path, name, inventory, str(path))


def _directory(named: Path | None, resume: bool) -> Path:
    nights = Path("build", "nights")
    if named is None and resume:
        found = sorted(nights.glob("*/"))
        if not found:
            raise LookupError(f"there is no night in {nights}: name one with --directory")
        return found[-1]
    if named is None:
        for old in sorted(path for path in nights.glob("*/") if NIGHT.fullmatch(path.name))[: -KEPT + 1]:
            shutil.rmtree(old, ignore_errors=True)
    directory = named or nights / time.strftime("%Y%m%d-%H%M%S")
    if not resume and any(directory.glob("*.jsonl")):
        raise LookupError(
            f"{directory} has a night already: --resume goes on with it; or name another directory"
        )
    return directory


def _run_pytest(words: Sequence[str]) -> tuple[int, bool]:
    """Run pytest. Its status, and whether a signal came to us, which it gets as well."""
    got: list[int] = []
    child = subprocess.Popen([sys.executable, "-m", "pytest", *words], start_new_session=True)

    def forward(number: int, _: object) -> None:
        got.append(number)
        os.kill(child.pid, number)

    before = {number: signal.signal(number, forward) for number in FORWARDED}
    try:
        status = child.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return (128 - status if status < 0 else status), bool(got)
