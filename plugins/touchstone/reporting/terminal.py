"""The end of a run on the terminal: what each target is, and a matrix of areas and targets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import pytest

from touchstone.reporting.properties import JudgedCheck, about_of, judged_of
from touchstone.reporting.wrapping import terminal_width, wrapped
from touchstone.words import AREAS, Verdict

MAX_REASONS = 3
"""Reasons for which nothing was judged on a target."""
_SAME_END = {
    Verdict.CRASH: "end the machine in the same way",
    Verdict.HANG: "hang in the same way",
}
_COLOURS: Mapping[Verdict, Mapping[str, bool]] = {
    Verdict.CONFORMANT: {"green": True},
    Verdict.DEVIATION: {"red": True},
    Verdict.CRASH: {"red": True, "bold": True},
    Verdict.HANG: {"red": True, "bold": True},
    Verdict.MACHINE: {"yellow": True},
    Verdict.IMPROVED: {"red": True},
    Verdict.KNOWN_DEVIATION: {"yellow": True},
    Verdict.UNSUPPORTED: {"yellow": True},
    Verdict.BLOCKED: {"purple": True},
    Verdict.INFRASTRUCTURE: {"purple": True},
}


class Summary:
    """Collects what reports say, in the process that writes to the terminal."""

    def __init__(self) -> None:
        self.judged: dict[str, JudgedCheck] = {}
        """Node id to what its last report says."""
        self.lacking: dict[str, str] = {}
        """Node id to what its target or the subject lacks."""
        self.about: dict[str, str] = {}
        """Target to its line."""
        self.others_failed = 0
        """Reports of failures and errors that are no check's."""

    def add(self, report: pytest.TestReport) -> None:
        """Take note of a report."""
        if report.failed and (not report.user_properties or judged_of(report) is None):
            self.others_failed += 1
        if not report.user_properties or (report.when == "teardown" and report.passed):
            return  # the one before has said it
        if (judged := judged_of(report)) is not None:
            self.judged[report.nodeid] = judged
            if judged.verdict is Verdict.UNSUPPORTED and isinstance(report.longrepr, (tuple, list)):
                self.lacking[report.nodeid] = str(report.longrepr[2]).removeprefix("Skipped: ")
        if (about := about_of(report)) is not None:
            self.about[about[0]] = about[1]

    def write(
        self,
        terminal: pytest.TerminalReporter,
        order: Sequence[str],
        results: Iterable[str],
        unfinished: Collection[str] = (),
    ) -> None:
        """Write the targets' lines, the matrix, and the lines ``results``, which say where results are.

        ``unfinished``: targets on which the run was broken off.
        """
        terminal.write_sep("=", "touchstone")
        reached = {one.target for one in self.judged.values()}
        targets = [name for name in order if name in reached]
        columns = terminal_width()
        for target in targets:
            write_lines(terminal, f"{target}: {self.about.get(target) or self._why_no_line(target)}")
        rows = matrix(self.judged.values(), targets)
        widths = [max(len(plain(row[column])) for row in rows) for column in range(len(targets) + 1)]
        if sum(widths) + 2 * len(widths) <= columns:
            for row in rows:
                for cell, width in zip(row, widths, strict=True):
                    write_cell(terminal, cell, width)
                terminal.line("")
        else:  # too wide: a block per target
            for column, target in enumerate(targets, start=1):
                terminal.write_line(target, bold=True)
                for row in rows[1:]:
                    head = row[0]
                    for part in parts(row[column], columns - widths[0] - 4):
                        write_cell(terminal, head, widths[0] + 2)
                        write_cell(terminal, part, 0)
                        terminal.line("")
                        head = ""
        found = self.judged.values()
        for line in (
            *self._nothing_judged([target for target in targets if target not in unfinished]),
            *blocked(found, targets),
            *shared(found, targets),
            *unexpected(found, targets),
        ):
            write_lines(terminal, line)
        for line in results:
            if line.startswith(" "):  # a command, to be copied
                terminal.write_line(line)
            else:
                write_lines(terminal, line)

    def _why_no_line(self, target: str) -> str:
        """Why nothing is known of a target: what the inventory says was enough, or it did not start."""
        needless = all(
            one.verdict is Verdict.UNSUPPORTED for one in self.judged.values() if one.target == target
        )
        return "not started, since nothing here can be judged on it" if needless else "not reached"

    def _nothing_judged(self, targets: Sequence[str]) -> Iterator[str]:
        """Targets on which all is unsupported, and the commonest reasons."""
        for target in targets:
            here = {node: one.verdict for node, one in self.judged.items() if one.target == target}
            if set(here.values()) == {Verdict.UNSUPPORTED}:
                reasons = Counter(self.lacking[node] for node in here if node in self.lacking)
                yield f"{target}: nothing was judged, all {len(here)} are unsupported (-rs says why of each):"
                yield from (f"    {count}: {reason}" for reason, count in reasons.most_common(MAX_REASONS))
                if len(reasons) > MAX_REASONS:
                    yield f"    and {len(reasons) - MAX_REASONS} more reasons"


def write_lines(terminal: pytest.TerminalReporter, text: str, **markup: bool) -> None:
    """Write a line, in as many as the terminal needs."""
    for line in wrapped(text, terminal_width()):
        terminal.write_line(line, **markup)


def _by_cause(
    judged: Iterable[JudgedCheck], targets: Sequence[str], verdict: Verdict
) -> Iterator[tuple[str, str, list[str]]]:
    """Target, cause, and the checks that have it."""
    found: dict[tuple[str, str], list[str]] = {}
    for one in judged:
        if one.verdict is verdict and one.cause:
            found.setdefault((one.target, one.cause), []).append(one.check)
    for target in targets:
        yield from ((target, cause, checks) for (where, cause), checks in found.items() if where == target)


def blocked(judged: Iterable[JudgedCheck], targets: Sequence[str]) -> Iterator[str]:
    """Each reason for which checks could not be judged, once."""
    for target, cause, checks in _by_cause(judged, targets, Verdict.BLOCKED):
        yield f"{target}: {len(checks)} blocked: {cause}"


def shared(judged: Iterable[JudgedCheck], targets: Sequence[str]) -> Iterator[str]:
    """First differences, crashes and hangs, with the checks that have them in common."""
    judged = list(judged)
    bits = {(one.target, one.cause): one.bits for one in judged}
    for verdict in (Verdict.DEVIATION, *_SAME_END):
        found = list(_by_cause(judged, targets, verdict))
        alike: dict[tuple[str, str], list[tuple[str, list[str]]]] = {}
        for target, cause, checks in found:
            alike.setdefault((target, bits[target, cause]), []).append((cause, checks))
        for target, cause, checks in found:
            several = alike[target, bits[target, cause]]
            if not bits[target, cause] or len(several) == 1:
                yield from _of_cause(f"{target}: ", verdict, cause, checks)
            elif several[0][0] == cause:
                total = sum(len(checks) for _, checks in several)
                yield f"{target}: {total} checks differ first in {bits[target, cause]} of a register:"
                for one, its in several:
                    yield from _of_cause("    ", verdict, one, its)


def _of_cause(start: str, verdict: Verdict, cause: str, checks: Sequence[str]) -> Iterator[str]:
    """A cause and its checks."""
    if len(checks) == 1:
        yield f"{start}{checks[0]}: {cause}"
        return
    measured = "have the same first difference" if ": expected " in cause else "deviate for the same reason"
    common = _SAME_END.get(verdict, measured)
    yield f"{start}{len(checks)} checks {common}: {cause}"
    indent = " " * (len(start) - len(start.lstrip()) + 4)
    for check, times in Counter(checks).items():  # a Python check has several items
        yield f"{indent}{check}{f' ({times} times)' if times > 1 else ''}"


def unexpected(judged: Iterable[JudgedCheck], targets: Sequence[str]) -> Iterator[str]:
    """What the bare machines do not hold, without that the inventory expects it."""
    found: dict[str, list[str]] = {}
    for one in judged:
        if one.verdict is Verdict.MACHINE and one.listed == "no":
            found.setdefault(one.target, []).append(one.check)
    for target in targets:
        if target in found:
            yield (
                f"{target}: the bare machine itself does not hold these, and the inventory does not list them"
                " as known deviations:"
            )
            yield from (f"    {check}" for check in sorted(found[target]))


Cell = str | Counter[Verdict]


def matrix(judged: Iterable[JudgedCheck], targets: Sequence[str]) -> list[list[Cell]]:
    """A head of targets, a row per area, and their sum."""
    counts: dict[tuple[str, str], Counter[Verdict]] = {}
    for one in judged:
        for area in (one.area, "all"):
            counts.setdefault((area, one.target), Counter())[one.verdict] += 1
    found = {area for area, _ in counts} - {"all"}
    areas = [area for area in AREAS if area in found] + sorted(found - set(AREAS))
    rows: list[list[Cell]] = [["", *targets]]
    for area in (*areas, *(["all"] if len(areas) > 1 else [])):
        rows.append([area, *(counts.get((area, target), Counter()) for target in targets)])
    return rows


def plain(cell: Cell) -> str:
    """A cell as text: ``41 conformant, 1 crash``."""
    if isinstance(cell, str):
        return cell
    return ", ".join(f"{cell[verdict]} {verdict.value}" for verdict in Verdict if cell[verdict]) or "-"


def parts(cell: Cell, width: int) -> Iterator[Cell]:
    """A cell in as many parts as it takes for each to fit in a width."""
    if isinstance(cell, str):
        yield cell
        return
    part: Counter[Verdict] = Counter()
    for verdict in Verdict:
        if cell[verdict]:
            longer = part + Counter({verdict: cell[verdict]})
            if part and len(plain(longer)) > width:
                yield part
                longer = Counter({verdict: cell[verdict]})
            part = longer
    yield part


def write_cell(terminal: pytest.TerminalReporter, cell: Cell, width: int) -> None:
    """A cell with each count in its verdict's colour."""
    if isinstance(cell, str):
        terminal.write(cell, bold=True)
    else:
        for number, verdict in enumerate(verdict for verdict in Verdict if cell[verdict]):
            terminal.write(", " if number else "")
            terminal.write(f"{cell[verdict]} {verdict.value}", **_COLOURS[verdict])
        if not cell:
            terminal.write("-")
    terminal.write(" " * (max(0, width - len(plain(cell))) + 2 if width else 0))
