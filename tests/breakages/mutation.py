"""``python -m tests.breakages.mutation --seed=1 --count=20``: choose mutants of Veneer, and run them."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

from tests.breakages.checks import find_titles
from tests.breakages.faults import Fault
from tests.breakages.judging import SURVIVED, Result, load_folder, save_results
from tests.breakages.mutant_judging import ask_all, judge_mutant, runnable
from tests.breakages.mutant_objects import Compiled, Objects
from tests.breakages.mutants import ROOMS, choose
from tests.breakages.programs import BrokenPrograms
from tests.breakages.runs import Outcome, run_checks
from tests.breakages.subjects import break_veneer, remove_old
from tests.breakages.table import as_text, merge, write
from tests.support import objects
from tests.support.checkout import ROOT

COPIES = ROOT / "build" / "breakages"


def read_arguments(arguments: list[str]) -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.breakages.mutation", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="another seed chooses others (default: 1)")
    parser.add_argument("--count", type=int, default=10, help="how many that can be run (default: 10)")
    parser.add_argument("--room", action="append", choices=ROOMS, help="only these rooms, not all of them")
    parser.add_argument("--fault", action="append", metavar="GLOB", help="of these, only those with such ids")
    parser.add_argument(
        "--list", action="store_true", help="print them as entries of the catalogue; run none"
    )
    parser.add_argument("--minutes", type=float, metavar="N", help="begin no mutant after N minutes")
    parser.add_argument(
        "--table",
        type=Path,
        metavar="DIR",
        default=ROOT / "build" / "mutants",
        help="where table.md, table.json and results go; what has a result there is not run again",
    )
    return parser.parse_args(arguments)


def as_toml(mutant: Fault) -> str:
    """An entry that lacks its kind, and which check sees it."""
    (edit,) = mutant.edits
    keys = {"id": mutant.id, "title": mutant.title, "kind": "", "vendor": mutant.vendor, "file": edit.file}
    # What JSON quotes, TOML reads.
    lines = [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
    lines += [f"{key} = '''\n{text}'''" for key, text in (("find", edit.find), ("replace", edit.replace))]
    return "\n".join(["[[fault]]", *lines, 'check = ""', ""])


def run(target: str, faults: tuple[Fault, ...], what: list[str], most: int) -> Outcome:
    """Build a Veneer with faults, and run checks against it."""
    return run_checks(ROOT, target, break_veneer(ROOT, COPIES, faults), what, most)


def run_all(mutants: Iterable[Fault], table: Path, minutes: float | None, folder: Path) -> dict[str, Result]:
    """Results by id; each is kept in the folder of the table at once. ``folder`` is for what is compiled."""
    began = time.monotonic()
    programs = BrokenPrograms(folder / "programs")
    faults = {mutant.id: mutant for mutant in mutants}
    results = merge(load_folder(table, faults))
    for mutant in faults.values():
        if mutant.id in results or (minutes is not None and time.monotonic() - began > 60 * minutes):
            continue
        result = results[mutant.id] = judge_mutant(mutant, run, partial(ask_all, programs))
        save_results(table / f"{mutant.id}-{mutant.digest}.jsonl", [result])
        seen = f" ({result.seen_by[0]})" if result.seen_by else ""
        print(f"{result.fate}: {mutant.id}: {mutant.title}: {result.why}{seen}", flush=True)
        remove_old(COPIES)
    return results


def main(arguments: list[str]) -> int:
    """Status 1 if a mutant survives."""
    asked = read_arguments(arguments)
    objects.share()
    with tempfile.TemporaryDirectory() as folder:
        examine = Objects(ROOT, Path(folder) / "copy").examine
        choice = runnable(choose(ROOT / "hypervisor", asked.seed, asked.room or ROOMS), asked.count, examine)
    mutants = [
        mutant
        for mutant in choice.mutants
        if any(fnmatchcase(mutant.id, glob) for glob in asked.fault or ["*"])
    ]
    for compiled in Compiled:
        print(f"{choice.compiled[compiled]} {compiled.value}")
    if asked.list:
        print("", *map(as_toml, mutants), sep="\n")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        results = run_all(mutants, asked.table, asked.minutes, Path(folder))
    faults = {mutant.id: mutant for mutant in mutants}
    write(asked.table, faults, results, find_titles(ROOT))
    print(as_text(faults, results))
    return int(any(result.fate == SURVIVED for result in results.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
