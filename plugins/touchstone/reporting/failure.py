"""The text of a failure: the demand and its source, what was measured, and the command that repeats it."""

from __future__ import annotations

import datetime
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from touchstone.engine.outcomes import Crash, Deviation, Hang, Improved, NotJudged
from touchstone.engine.records import CaseRun, CheckRecord
from touchstone.machine.driver import Autopsy
from touchstone.machine.probe import ProbeResult
from touchstone.reporting.causes import first_difference
from touchstone.reporting.commands import NAMED_BY, command, node_path
from touchstone.reporting.disassembly import listing
from touchstone.reporting.exits import readable
from touchstone.reporting.wrapping import terminal_width, wrapped
from touchstone.suite import show
from touchstone.suite.bit_names import differing
from touchstone.suite.judgement import Demand, Row, Table
from touchstone.words import DEFAULT_HYPERVISOR, HERE

if TYPE_CHECKING:
    import pytest

MAX_TABLES = 3
"""Tables that a failure prints; Allure has all of them."""
MAX_CASES = 8
"""Cases without a table that a failure names."""
MAX_REGISTERS = 8
"""CPUs whose registers are shown; results have those of all."""
MAX_LINES = 25
"""Lines of a log that a failure prints."""
_SAME: Mapping[type[BaseException], str] = {Crash: "end", Hang: "hang"}
EVENTS = "events"
"""The row of a table that lists them."""
_ANSWER = re.compile(r"[=!]\d+ ")


def failure_repr(
    item: pytest.Item,
    record: CheckRecord,
    excinfo: pytest.ExceptionInfo[BaseException],
    same_as: str = "",
) -> Any:
    """The text as pytest represents failures, so that its summary shows what differs, and where.

    ``same_as`` names a check that has failed for the same cause: its evidence is not shown once more.
    """
    shown = excinfo.getrepr(style="native")
    brief = item.config.getoption("tbstyle") in ("line", "no")
    shown.reprtraceback.reprentries[0].lines = (
        []
        if brief
        else [f"{line}\n" for line in failure_lines(item, record, excinfo.value, same_as, terminal_width())]
    )
    if shown.reprcrash is not None:
        shown.reprcrash.path = str(record.check.source.path)
        shown.reprcrash.lineno = record.check.source.line
        shown.reprcrash.message = str(excinfo.value)
    return shown


def failure_lines(
    item: pytest.Item,
    record: CheckRecord,
    error: BaseException,
    same_as: str = "",
    width: int | None = None,
) -> Iterator[str]:
    """Everything that a person needs to act on a check that is not conformant.

    ``width``: of the terminal. The suite's lines, logs and commands are left as they are.
    """
    check = record.check
    yield from wrapped(check.title, width)
    yield from wrapped(f"{record.target.name}: {error}", width)
    if record.waiver is not None and not isinstance(error, Improved):
        until = record.waiver.until
        over = f" until {until}, which is over" if record.waiver.expired(datetime.date.today()) else ""
        known = f"known deviation{over}: {record.waiver}"
        measured = record.blame_measured and isinstance(error, Deviation)
        excused = f"not excused by the {known}: the bare machine does otherwise" if measured else known
        yield from wrapped(excused, width)
    if record.own_waiver is not None and not isinstance(error, Improved):
        yield from wrapped(f"known deviation of {record.subject.name}: {record.own_waiver}", width)
    if isinstance(error, NotJudged) and not (record.autopsy or record.guest_before or record.runs):
        return
    if same_as:
        common = "first difference" if first_difference(record) else "reason"
        what = _SAME.get(type(error), common)
        same = f"the same {what} as of {same_as}, which is shown in full"
        yield from wrapped(f"{same} (-vv shows all in full)", width)
        yield f"again: {reproduce(item, record)}"
        return
    yield ""
    yield f"{check.source.path}:{check.source.line}"
    yield from (f"    {line}" for line in dedented(check.text))
    yield from citations(record, width)
    yield from evidence_lines(record, width)
    yield ""
    yield f"again: {reproduce(item, record)}"


def evidence_lines(record: CheckRecord, width: int | None = None) -> Iterator[str]:
    """Tables, disassembly, exits, serial log, autopsy: as much of it as there is."""
    groups = [group for run in failing(record) for group in alike(run)]
    for run, tables in groups[:MAX_TABLES]:
        yield ""
        yield from table_lines(run, tables[0], [table.cpu for table in tables[1:]], width=width)
    if len(groups) > MAX_TABLES:
        yield ""
        yield from _without_table(groups[:MAX_TABLES], groups[MAX_TABLES:], width)
    ended = next((run for run in record.runs if run.ended is not None or run.refused is not None), None)
    if ended is not None:
        yield ""
        what = ended.refused or f"the target did not survive it ({ended.ended})"
        yield from wrapped(f"{heading(ended)}: {what}", width)
        yield from (f"    {line}" for line in listing(ended.code, bits=ended.request.code_bits))
    for run in [run for run in record.runs if run.vacuous is not None][:MAX_TABLES]:
        faulted = next(result for result in run.results if result.vector is not None)
        yield ""
        yield heading(run, faulted.cpu)
        yield from (f"    {line}" for line in probe_lines(run, faulted))
    for cpu, exits in traces(record):
        if exits:
            yield ""
            yield f"last exits of CPU {cpu}, newest last"
            yield from (f"    {line}" for line in exits)
    if record.guest_before is not None:
        yield ""
        yield "judged before, with another guest, which hung"
        yield from (f"    {line}" for line in autopsy_lines(record.guest_before, MAX_REGISTERS, width))
    if record.autopsy is not None:
        yield ""
        yield from autopsy_lines(record.autopsy, MAX_REGISTERS, width)
    elif said := [line for line in record.serial.splitlines() if line.strip() and not _ANSWER.match(line)]:
        yield ""
        yield "serial log, without the agent's answers"
        yield from (f"    {line}" for line in tail("\n".join(said)))


def traces(record: CheckRecord) -> Iterator[tuple[int, list[str]]]:
    """CPUs with their last exits, readable."""
    for cpu, exits in record.trace.items():
        yield cpu, readable(exits, record.target.settings.vendor)


def refused_lines(item: pytest.Item, record: CheckRecord, what: str, first: str) -> Iterator[str]:
    """Of a Python check: what the target refused, as it did another check, whose traceback is shown."""
    width = terminal_width()
    yield from wrapped(record.check.title, width)
    yield from wrapped(f"{record.target.name}: {what}", width)
    yield from wrapped(f"the same as of {first}, which is shown in full (-vv shows all in full)", width)
    yield f"again: {reproduce(item, record)}"


def sections(item: pytest.Item, record: CheckRecord) -> Iterator[tuple[str, str]]:
    """What goes below the traceback of a Python check."""
    title = wrapped(record.check.title, terminal_width())
    yield "check", "\n".join([*title, *citations(record, terminal_width())])
    evidence = "\n".join(evidence_lines(record, terminal_width())).strip()
    if evidence:
        yield record.target.name, evidence
    yield "again", reproduce(item, record)


def failing(record: CheckRecord) -> list[CaseRun]:
    """The cases in which something differs."""
    return [run for run in record.runs if run.differences]


Alike = tuple[CaseRun, list[Table]]
"""A case, and the tables of those CPUs on which the same differs."""
_Differences = tuple[tuple[str, str, str], ...]


def alike(run: CaseRun) -> list[Alike]:
    """The tables of the CPUs on which something differs; CPUs with the same differences are one group."""
    wrong = {difference.cpu for difference in run.differences}
    groups: dict[_Differences, list[Table]] = {}
    for table in run.judgement.tables if run.judgement is not None else ():
        if table.cpu in wrong:
            groups.setdefault(_differences(table), []).append(table)
    return [(run, tables) for tables in groups.values()]


def _differences(table: Table) -> _Differences:
    """What differs, without the CPU's own addresses."""
    return tuple(
        (row.name, show.without_slot(row.expected), show.without_slot(row.measured))
        for row in table.rows
        if row.ok is False
    )


def _without_table(shown: Sequence[Alike], rest: Sequence[Alike], width: int | None) -> Iterator[str]:
    """Cases and CPUs that have no table: those with the differences of a table, and the others."""
    known = {_differences(tables[0]) for _, tables in shown}
    for what, same in (("the same differs", True), ("something else differs", False)):
        cpus: dict[str, list[int]] = {}
        for run, tables in rest:
            if (_differences(tables[0]) in known) is same:
                cpus.setdefault(run.label, []).extend(table.cpu for table in tables)
        if cpus:
            yield f"{what} in:"
        for label, numbers in [*cpus.items()][:MAX_CASES]:
            named = named_cpus(sorted(numbers))
            yield from wrapped(f"    {label}, {named}" if label else f"    {named}", width, " " * 8)
        if (more := len(cpus) - MAX_CASES) > 0:
            yield f"    and {more} more case{'s' * (more > 1)}"


def heading(run: CaseRun, cpu: int | None = None) -> str:
    """``cpl=3, on=every-cpu, CPU 2``."""
    parts = [run.label] if run.label else []
    if cpu is not None:
        parts.append(f"CPU {cpu}")
    return ", ".join(parts) or "the probe"


def table_lines(
    run: CaseRun,
    table: Table,
    others: Sequence[int] = (),
    *,
    everything: bool = False,
    width: int | None = None,
) -> Iterator[str]:
    """Expected against measured on one CPU, and the probe with an arrow where it ended.

    ``others`` are CPUs of which the same is true. Unless ``everything`` is asked for, rows are left out that
    only say that something was to stay as it was, and did. Where a table is too wide, its column ``given`` is
    a line below it, and events are below it, one a line.
    """
    rows = [row for row in table.rows if everything or matters(row)]
    quiet = [] if everything else [row.name for row in table.rows if row.ok and _stays(row)]
    accused = {one.what for one in run.accused if one.cpu == table.cpu}
    also = f" (and the same on {named_cpus(others)})" if others else ""
    yield from wrapped(heading(run, table.cpu) + also, width)
    lines = list(_columns([(_mark(row, accused), row.name, *row.cells) for row in rows]))
    given = [f"{row.name} {row.given}" for row in rows if row.given]
    if width is not None and max(map(len, lines)) > width:
        yield from _columns([(_mark(row, accused), row.name, *_short(row)) for row in rows])
        if given:
            yield from wrapped(f"        given: {', '.join(given)}", width, " " * 12)
        yield from _event_lines(rows)
    else:
        yield from lines
    for one in table.rows:
        if run.case is None or one.ok is not False:
            continue
        if bits := differing(run.case, one.name, one.expected, one.measured):
            yield from wrapped(f"        {one.name} differs in {bits}", width, " " * 12)
    if any(row.ok is False and row.name not in accused for row in rows):
        yield "    mm: the bare machine does the same"
    if quiet:
        yield from wrapped(f"        as expected: {' '.join(quiet)}", width, " " * 12)
    result = next((result for result in run.results if result.cpu == table.cpu), None)
    if result is not None:
        yield ""
        yield from (f"    {line}" for line in probe_lines(run, result))


def _short(row: Row) -> tuple[str, str]:
    """Expected and measured, of events how many there are."""
    if row.name != EVENTS:
        return row.expected, row.measured
    wanted, found = _events(row.expected), _events(row.measured)
    return f"{len(wanted)}{', native' * (row.demand is Demand.NATIVE)}", str(len(found))


def _event_lines(rows: Sequence[Row]) -> Iterator[str]:
    for row in rows:
        if row.name == EVENTS:
            for what, events in (("expected", row.expected), ("measured", row.measured)):
                yield f"        events {what}:"
                yield from (f"            {number}. {one}" for number, one in enumerate(_events(events), 1))


def _events(text: str) -> list[str]:
    """A cell with events, one by one."""
    return [one for one in text.split(", ") if one not in ("none", "native")]


def _columns(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """A table of mark, name, perhaps what was given, expected and measured, with a head."""
    head = ("given", "expected", "measured")
    cells = [("", "", *(head if not rows or len(rows[0]) == len(head) + 2 else head[1:])), *rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        text = "  ".join(f"{cell:<{width}}" for cell, width in zip(row, (*widths[:-1], 0), strict=True))
        yield f"    {text}".rstrip()


def _mark(row: Row, accused: Collection[str]) -> str:
    """Of what differs, whether the bare machine differs in the same way."""
    return "" if row.ok is not False else "!!" if row.name in accused else "mm"


def matters(row: Row) -> bool:
    """Whether a reader of a failure wants to see a row."""
    return row.ok is False or (row.ok is True and not _stays(row))


def _stays(row: Row) -> bool:
    """Whether a row demands no more than that something is as it was, or as on the bare machine."""
    return row.demand in (Demand.UNCHANGED, Demand.NATIVE)


def probe_lines(run: CaseRun, result: ProbeResult) -> list[str]:
    """The probe, with an arrow at the instruction that RIP pointed to."""
    why = show.end(result) if result.vector is not None else ""
    return listing(run.code, result.rip - result.start, why, run.request.code_bits)


def named_cpus(numbers: Sequence[int]) -> str:
    """``CPU 2``, or ``CPUs 0-3, 5`` of ascending numbers."""
    return f"CPU{'s' * (len(numbers) > 1)} {show.ranges(numbers)}"


def citations(record: CheckRecord, width: int | None = None) -> Iterator[str]:
    """The sentences that the check proves."""
    for cite in record.check.cite:
        section = f" ({cite.section})" if cite.section else ""
        yield ""
        yield from wrapped(f"{cite.doc}, {cite.title}{section}:", width)
        yield from wrapped(f'    "{cite.says}"', width)


def autopsy_lines(autopsy: Autopsy, most: int | None = None, width: int | None = None) -> Iterator[str]:
    """What was found on a target that died or hangs.

    ``most``: of how many CPUs the registers are shown if there are more: one for each backtrace first.
    """
    yield from wrapped(f"autopsy: {autopsy.reason}", width)
    alike: dict[tuple[str, ...], list[int]] = {}
    for cpu, frames in autopsy.backtraces.items():
        alike.setdefault(frames, []).append(cpu)
    for frames, cpus in alike.items():
        yield f"  backtrace of {named_cpus(cpus)}, innermost first"
        yield from (f"    {frame}" for frame in frames)
    first = dict.fromkeys([*(cpus[0] for cpus in alike.values()), *autopsy.registers])
    shown = [cpu for cpu in first if cpu in autopsy.registers][:most]
    for cpu, registers in autopsy.registers.items():
        if cpu in shown:
            yield f"  registers of CPU {cpu}"
            yield from (f"    {line}" for line in registers.splitlines())
    if rest := [cpu for cpu in autopsy.registers if cpu not in shown]:
        yield f"  registers of {named_cpus(rest)}: only in the results (--alluredir)"
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
    words = ["pytest", *item.stash.get(NAMED_BY, [node_path(config, item)]), f"--target={record.target.name}"]
    if record.target.base:
        words.append(f"--matrix={config.getoption('touchstone_matrix')}")
    hypervisor = config.getoption("touchstone_hypervisor")
    if record.target.name != HERE:
        words.append(f"--hypervisor={hypervisor or DEFAULT_HYPERVISOR}")
    if config.getoption("touchstone_ring0"):
        words.append("--ring0")
    inventory = config.getoption("touchstone_inventory")
    if inventory:
        words.append(f"--touchstone-inventory={inventory}")
    return command(config, words)


def tail(text: str, count: int = MAX_LINES) -> list[str]:
    """The last lines of a log."""
    lines = text.rstrip().splitlines()
    return lines if len(lines) <= count else [f"... {len(lines) - count} lines before", *lines[-count:]]


def dedented(text: str) -> Sequence[str]:
    """Lines of a suite without the indentation that they have there."""
    lines = text.splitlines()
    indent = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    return [line[indent:].rstrip() for line in lines]
