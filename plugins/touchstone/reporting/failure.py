"""The text of a failure: what was demanded and why, what was measured, and how to see it again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from touchstone.machine.driver import Autopsy
from touchstone.machine.probe import ProbeResult
from touchstone.outcomes import CaseRun, CheckRecord, NotJudged
from touchstone.reporting.disassembly import listing
from touchstone.suite import show
from touchstone.suite.judge import Table

if TYPE_CHECKING:
    import pytest

MAX_TABLES = 3
"""Tables that a failure prints; Allure has all of them."""
MAX_LINES = 25
"""Lines of a log that a failure prints."""


def failure_text(item: pytest.Item, record: CheckRecord, error: BaseException) -> str:
    """Everything that a person needs to act on a check that is not conformant."""
    return "\n".join(_lines(item, record, error))


def _lines(item: pytest.Item, record: CheckRecord, error: BaseException) -> Iterator[str]:
    check = record.check
    yield f"{check.title}"
    yield f"{record.target.name}: {error}"
    if record.waiver is not None and record.reason:
        yield f"inventory: {record.reason}"
    if isinstance(error, NotJudged) and record.autopsy is None and not record.runs:
        return
    yield ""
    yield f"{check.source.path}:{check.source.line}"
    yield from (f"    {line}" for line in dedented(check.text))
    yield from citations(record)
    yield from evidence_lines(record)
    yield ""
    yield f"again: {reproduce(item, record)}"


def evidence_lines(record: CheckRecord) -> Iterator[str]:
    """Tables, disassembly, exits, serial log, autopsy: as much of it as there is."""
    shown = 0
    for run in failing(record):
        for table in _tables(run):
            shown += 1
            if shown <= MAX_TABLES:
                yield ""
                yield from table_lines(run, table)
    if shown > MAX_TABLES:
        yield f"(and {shown - MAX_TABLES} more of these)"
    ended = next((run for run in record.runs if run.ended is not None or run.refused is not None), None)
    if ended is not None:
        yield ""
        what = ended.refused or f"the target did not survive it ({ended.ended})"
        yield f"{heading(ended)}: {what}"
        yield from (f"    {line}" for line in listing(ended.code))
    for cpu, exits in record.trace.items():
        if exits:
            yield ""
            yield f"last exits of CPU {cpu}, newest last"
            yield from (f"    {line}" for line in exits)
    if record.autopsy is not None:
        yield ""
        yield from autopsy_lines(record.autopsy)
    elif record.serial.strip():
        yield ""
        yield "serial log"
        yield from (f"    {line}" for line in tail(record.serial))


def failing(record: CheckRecord) -> list[CaseRun]:
    """The cases in which something differs."""
    return [run for run in record.runs if run.differences]


def _tables(run: CaseRun) -> list[Table]:
    wrong = {difference.cpu for difference in run.differences}
    return [] if run.judgement is None else [table for table in run.judgement.tables if table.cpu in wrong]


def heading(run: CaseRun, cpu: int | None = None) -> str:
    """``cpl=3, on=every-cpu, CPU 2``."""
    parts = [run.label] if run.label else []
    if cpu is not None:
        parts.append(f"CPU {cpu}")
    return ", ".join(parts) or "the probe"


def table_lines(run: CaseRun, table: Table, *, everything: bool = False) -> Iterator[str]:
    """Expected against measured on one CPU, and the probe with an arrow where it ended."""
    rows = [row for row in table.rows if everything or row.ok is not None]
    cells = [("", "", "given", "expected", "measured")]
    cells += [
        ("!!" if row.ok is False else "", row.name, row.given, row.expected, row.measured) for row in rows
    ]
    widths = [max(len(row[column]) for row in cells) for column in range(4)]
    yield heading(run, table.cpu)
    for row in cells:
        yield (
            "    "
            + "  ".join(f"{cell:<{width}}" for cell, width in zip(row, (*widths, 0), strict=True)).rstrip()
        )
    result = next((result for result in run.results if result.cpu == table.cpu), None)
    if result is not None:
        yield ""
        yield from (f"    {line}" for line in probe_lines(run, result))


def probe_lines(run: CaseRun, result: ProbeResult) -> list[str]:
    """The probe, with an arrow at the instruction that RIP pointed to."""
    why = show.end(result) if result.vector is not None else ""
    return listing(run.code, result.rip - result.start, why)


def citations(record: CheckRecord) -> Iterator[str]:
    """The sentences that the check proves."""
    for cite in record.check.cite:
        section = f" ({cite.section})" if cite.section else ""
        yield ""
        yield f"{cite.doc}, {cite.title}{section}:"
        yield f'    "{cite.says}"'


def autopsy_lines(autopsy: Autopsy) -> Iterator[str]:
    """What was found on a target that died or hangs."""
    yield f"autopsy: {autopsy.reason}"
    for cpu, frames in autopsy.backtraces.items():
        yield f"  backtrace of CPU {cpu}, innermost first"
        yield from (f"    {frame}" for frame in frames)
    for cpu, registers in autopsy.registers.items():
        yield f"  registers of CPU {cpu}"
        yield from (f"    {line}" for line in registers.splitlines())
    for title, text in (
        ("last exits, newest last", "\n".join(autopsy.exits)),
        ("serial log", autopsy.serial),
        ("emulator's log", autopsy.emulator_log),
        ("notes", "\n".join(autopsy.notes)),
    ):
        if text.strip():
            yield f"  {title}"
            yield from (f"    {line}" for line in tail(text))


def reproduce(item: pytest.Item, record: CheckRecord) -> str:
    """The command that runs this check on this target again."""
    config = item.config
    words = ["pytest", item.nodeid, f"--target={record.target.name}"]
    words.append(f"--hypervisor={config.getoption('touchstone_hypervisor')}")
    inventory = config.getoption("touchstone_inventory")
    if inventory:
        words.append(f"--touchstone-inventory={inventory}")
    return " ".join(shlex.quote(word) for word in words)


def tail(text: str, count: int = MAX_LINES) -> list[str]:
    """The last lines of a log."""
    lines = text.rstrip().splitlines()
    return lines if len(lines) <= count else [f"... {len(lines) - count} lines before", *lines[-count:]]


def dedented(text: str) -> Sequence[str]:
    """Lines of a suite without the indentation that they have there."""
    lines = text.splitlines()
    indent = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    return [line[indent:].rstrip() for line in lines]
