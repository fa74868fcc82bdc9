"""``touchstone night MATRIX``: everything that a matrix names, one pytest run for each subject.

The runs are there at the same time, and share the host: no CPU is idle while one of them has a target left.
What they print comes one run behind the other.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from touchstone.config.inventory import read_inventory
from touchstone.config.matrix import Matrix, read_matrix
from touchstone.config.tomlfile import TomlError
from touchstone.shipped import source_root

NIGHT = re.compile(r"\d{8}-\d{6}")
FORWARDED = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
CHUNK = 1 << 16
KEPT = 30
"""Nights that are kept in the default place."""
INVENTORY_OPTION = "--touchstone-inventory"
WORST = (1, 3, 2, 4)
"""Exit statuses that count more than others: failures, then what kept a run from judging."""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``night`` to the command ``touchstone``."""
    parser = commands.add_parser(
        "night",
        help="run everything that a matrix names",
        description="Run all cells of a matrix of targets/matrix.toml: a pytest run for each subject, with a "
        "journal of its own, all at the same time; they share the CPUs. Other arguments go to pytest.",
        epilog="The status is 1 if a check failed in any of the runs, else that of the first that is not 0; "
        "after a signal, 128 and its number.",
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
        inventory = _inventory(asked.rest)
        matrix = _matrix(asked.matrix, inventory)
        directory = _directory(asked.directory, asked.resume)
    except (TomlError, OSError, LookupError) as error:
        print(f"touchstone night: error: {error}", file=sys.stderr)
        return 2
    directory.mkdir(parents=True, exist_ok=True)
    runs = []
    for subject in matrix.subjects:
        journal = directory / f"{Path(subject).stem}.jsonl"
        goes_on = journal.is_file() and journal.stat().st_size
        option = f"--resume={journal}" if goes_on else f"--journal={journal}"
        told = [] if inventory is None else [f"{INVENTORY_OPTION}={inventory}"]
        words = [f"--matrix={asked.matrix}", *told, f"--hypervisor={subject}", "-n", "auto", option]
        runs.append([*words, *asked.rest])
    statuses, signals = _run_together(runs)
    if signals:
        return 128 + signals[0]
    return next((one for one in (*WORST, *statuses) if one in statuses and one), 0)


def _inventory(rest: Sequence[str]) -> Path | None:
    """The inventory that the runs are told: what the words for pytest name, or that of the project we are in.

    None: that which comes with Touchstone. The matrix lies beside it. pytest by itself would look in its
    rootdir, which depends on what it is to run.
    """
    words = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    words.add_argument(INVENTORY_OPTION, dest="inventory", type=Path)
    if (named := words.parse_known_args(rest)[0].inventory) is not None:
        return Path(named)
    here = Path.cwd()
    found = (directory / "targets" / "inventory.toml" for directory in (here, *here.parents))
    return next((path for path in found if path.is_file()), None)


def _matrix(name: str, named: Path | None) -> Matrix:
    shipped = source_root() / "targets"
    path = named or shipped / "inventory.toml"
    beside = path.with_name("matrix.toml")
    matrix = beside if beside.is_file() else shipped / "matrix.toml"
    return read_matrix(matrix, name, read_inventory(path), str(matrix))


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


@dataclass(frozen=True)
class _PytestRun:
    """One of the runs of a night, which are all at work."""

    words: Sequence[str]
    process: subprocess.Popen[bytes]
    output: IO[bytes] | None
    """Where it prints; None: where we do."""


def _run_together(all_words: Sequence[Sequence[str]]) -> tuple[list[int], Sequence[int]]:
    """Run pytest with the words of each run, all at the same time. Their statuses, and the signals that came.

    These go to all runs, and no other one is started then.
    """
    runs: list[_PytestRun] = []
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="touchstone-night-"))
        shared = [f"--share-host={directory}/turns"] if len(all_words) > 1 else []
        came = stack.enter_context(_signals_for(runs))
        for number, words in enumerate(all_words):
            if came:
                break
            output = stack.enter_context(Path(directory, f"{number}").open("w+b")) if runs else None
            process = subprocess.Popen(
                [sys.executable, "-m", "pytest", *words, *shared],
                stdout=output,
                stderr=None if output is None else subprocess.STDOUT,
                start_new_session=True,
            )
            runs.append(_PytestRun(words, process, output))
        statuses = [_watch(run) for run in runs]
    return [128 - status if status < 0 else status for status in statuses], came


def _watch(run: _PytestRun) -> int:
    """Print what a run has printed and prints, until it ends. Its status, as subprocess has it."""
    print(f"touchstone night: pytest {' '.join(run.words)}", file=sys.stderr, flush=True)
    if run.output is None:
        return run.process.wait()
    shown = 0
    while run.process.poll() is None:
        shown = _show(run.output, shown)
        with contextlib.suppress(subprocess.TimeoutExpired):
            run.process.wait(0.5)
    _show(run.output, shown)
    return run.process.returncode


def _show(output: IO[bytes], shown: int) -> int:
    """Print what is behind so many bytes of a file. How many they are then."""
    text = os.pread(output.fileno(), CHUNK, shown)
    while text:
        sys.stdout.buffer.write(text)
        shown += len(text)
        text = os.pread(output.fileno(), CHUNK, shown)
    sys.stdout.flush()
    return shown


@contextlib.contextmanager
def _signals_for(runs: Sequence[_PytestRun]) -> Iterator[Sequence[int]]:
    """Send signals that come to us to the runs that there are then. Yields those that have come."""
    came: list[int] = []

    def forward(number: int, _: object) -> None:
        came.append(number)
        for run in runs:
            run.process.send_signal(number)  # not sent to one that has ended

    before = {number: signal.signal(number, forward) for number in FORWARDED}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
