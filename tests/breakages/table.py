"""What came of the faults, as a table for the terminal, as Markdown and as JSON."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from tests.breakages.faults import KINDS, VENDORS, Fault, catalogue
from tests.breakages.judging import BAD, BY_PROGRAM, FATES, OPEN, UNSHOWABLE, Result, load_folder, quiet_fate

BEGIN, END = "<!-- table -->", "<!-- end of the table -->"
"""Where a page has the table."""
BEGIN_BOXES, END_BOXES = "<!-- real boxes -->", "<!-- end of real boxes -->"
"""Where it has what real boxes must show."""


def merge(results: Iterable[Result]) -> dict[str, Result]:
    """One result for each fault: the worst of its rounds, but for what only a program can see."""
    found: dict[str, Result] = {}
    for result in results:
        old = found.get(result.id)
        if (
            old is None
            or (result.fate in BAD and old.fate not in BAD)
            or (result.fate == BY_PROGRAM and old.fate in (UNSHOWABLE, OPEN))
        ):
            found[result.id] = result
    return found


def as_rows(faults: dict[str, Fault], results: dict[str, Result]) -> list[list[str]]:
    """Vendor, kind and how many had each fate; the last row is the sum."""
    # Mutants are of kinds that the catalogue does not have.
    kinds = [*KINDS, *sorted({faults[name].kind for name in results} - KINDS.keys())]
    counts = {
        (vendor, kind): Counter(
            result.fate
            for result in results.values()
            if (faults[result.id].vendor, faults[result.id].kind) == (vendor, kind)
        )
        for vendor in VENDORS
        for kind in kinds
    }
    rows = [["vendor", "kind", *FATES]]
    for (vendor, kind), counter in counts.items():
        if counter:
            rows.append([vendor, kind, *(str(counter[fate] or "") for fate in FATES)])
    total = sum(counts.values(), Counter())
    return [*rows, ["all", "", *(str(total[fate]) for fate in FATES)]]


def as_text(faults: dict[str, Fault], results: dict[str, Result]) -> str:
    """For the terminal: the table, and the faults that are not as they must be."""
    rows = as_rows(faults, results)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    for result in results.values():
        if result.fate in BAD:
            seen = f"; seen by {', '.join(result.seen_by[:4])}" if result.seen_by else ""
            lines.append(f"{result.fate}: {result.id} ({faults[result.id].title}): {result.why}{seen}")
    return "\n".join(lines)


def summary(faults: dict[str, Fault], results: dict[str, Result]) -> list[str]:
    """The lines of the table by vendor and kind, in Markdown."""
    head, *rows = as_rows(faults, results)
    return [
        f"| {' | '.join(head)} |",
        "|---" * len(head) + "|",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]


def for_real_boxes(faults: Iterable[Fault]) -> list[str]:
    """A table of the features that neither a target nor a program has, with how many faults need each."""
    needed = Counter(fault.unshowable for fault in faults if fault.unshowable and not fault.program)
    rows = sorted(needed.items(), key=lambda row: (-row[1], row[0]))
    return ["| faults | need |", "|---|---|", *(f"| {count} | {text} |" for text, count in rows)]


def put_into(page: Path, lines: Iterable[str], marks: tuple[str, str] = (BEGIN, END)) -> None:
    """Put lines between the two marks of a page. ValueError if it has not both."""
    before, begin, rest = page.read_text(encoding="utf-8").partition(marks[0])
    _, end, after = rest.partition(marks[1])
    if not begin or not end:
        raise ValueError(f"{page}: the table goes between {marks[0]} and {marks[1]}, and they are not there")
    page.write_text("\n".join([f"{before}{begin}", "", *lines, "", f"{end}{after}"]), encoding="utf-8")


def as_markdown(faults: dict[str, Fault], results: dict[str, Result], titles: dict[str, str]) -> str:
    """A page: the table, and a line for each fault with the check that saw it, by its title."""
    lines = ["# Seeded faults", "", *summary(faults, results)]
    for fate in FATES:
        mine = [result for result in results.values() if result.fate == fate]
        if mine:
            lines += ["", f"## {fate.capitalize()} ({len(mine)})", ""]
            lines += ["| fault | what Veneer does | seen by | seconds |", "|---|---|---|---|"]
        for result in mine:
            fault = faults[result.id]
            seen = "; ".join(f"`{check}`: {titles.get(check, '')}" for check in result.seen_by[:3])
            beside = f" (with {result.with_others} others)" if result.with_others else ""
            lines.append(
                f"| `{fault.id}` | {fault.title} | {seen or result.why} | {result.seconds:.0f}{beside} |"
            )
    return "\n".join(lines) + "\n"


def write(folder: Path, faults: dict[str, Fault], results: dict[str, Result], titles: dict[str, str]) -> None:
    """``table.md`` and ``table.json`` in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "table.md").write_text(as_markdown(faults, results, titles), encoding="utf-8")
    entries = [
        {**asdict(result), "title": faults[name].title, "kind": faults[name].kind,
         "vendor": faults[name].vendor, "target": faults[name].target, "check": faults[name].check}
        for name, result in results.items()
    ]  # fmt: skip
    (folder / "table.json").write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")


def main(folder: Path, page: Path) -> None:
    """Put the table of the results in a folder into a page: ``python -m tests.breakages.table DIR PAGE``.

    Faults without a check and without a program of which the folder says nothing are what the catalogue says.
    The last column has the number of the others of which it says nothing.
    """
    faults = catalogue()
    results = merge(load_folder(folder, faults))
    for name, fault in faults.items():
        if not fault.check and not fault.program:
            results.setdefault(name, Result(name, quiet_fate(fault)))
        elif fault.program and results.get(name, Result(name, UNSHOWABLE)).fate == UNSHOWABLE:
            results.pop(name, None)  # its program has not been run with it
    missing = [fault for name, fault in faults.items() if name not in results]
    head, rule, *rows = summary(faults, results)
    left = Counter((fault.vendor, fault.kind) for fault in missing)
    lines = [f"{head} not run yet |", f"{rule}---|"]
    for row in rows:
        vendor, kind = (cell.strip() for cell in row.split("|")[1:3])
        number = left.total() if vendor == "all" else left[vendor, kind]
        lines.append(f"{row} {number or ''} |")
    put_into(page, lines)
    put_into(page, for_real_boxes(faults.values()), (BEGIN_BOXES, END_BOXES))
    print(f"{len(faults) - len(missing)} of {len(faults)} faults are in the table; not yet run:")
    print(" ".join(fault.id for fault in missing) or "none")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
