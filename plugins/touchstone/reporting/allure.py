"""Allure results: completed before they are written, and the files of which a run has only one.

allure-pytest makes the results; this adds what a reader of the report needs: title, description, parameters,
labels, a step per case and CPU, and the evidence. A check has an entry for each target: the target is a
parameter, and part of the history id; the test case id is made of the check's id alone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from hashlib import md5
from pathlib import Path
from uuid import uuid4

import allure_commons
import pytest
from allure_commons.model2 import (
    Attachment,
    Label,
    Link,
    Parameter,
    Status,
    StatusDetails,
    TestResult,
    TestStepResult,
)

from touchstone import __version__
from touchstone.engine.records import CaseRun, CheckOnTarget, CheckRecord
from touchstone.journal.bits import as_ranges, differing_bits
from touchstone.reporting.allure_files import ResultFiles
from touchstone.reporting.disassembly import listing
from touchstone.reporting.failure import autopsy_lines, heading, reproduce, table_lines, traces
from touchstone.reporting.journal import DIFFERENCES
from touchstone.reporting.properties import JudgedCheck
from touchstone.reporting.terminal import Summary
from touchstone.suite import show
from touchstone.suite.bit_names import differing
from touchstone.words import DEFAULT_HYPERVISOR, HERE, Verdict

STATUS = {
    Verdict.CONFORMANT: Status.PASSED,
    Verdict.DEVIATION: Status.FAILED,
    Verdict.CRASH: Status.FAILED,
    Verdict.HANG: Status.FAILED,
    Verdict.MACHINE: Status.SKIPPED,
    Verdict.IMPROVED: Status.FAILED,
    Verdict.KNOWN_DEVIATION: Status.SKIPPED,
    Verdict.UNSUPPORTED: Status.SKIPPED,
    Verdict.BLOCKED: Status.BROKEN,
    Verdict.INFRASTRUCTURE: Status.BROKEN,
}
SEVERITY = {"must": "critical", "should": "normal", "may": "minor"}
MANUALS = {
    "intel-sdm": "https://www.intel.com/sdm",
    "amd-apm": "https://www.amd.com/en/search/documentation/hub.html",
}
TEXT = "text/plain"
_KEPT = ("thread", "framework", "language", "package")
"""Labels of allure-pytest that stay; the others are ours."""


class AllureReport:
    """Completes the results of checks. One in every process that runs checks, and one in the controller."""

    def __init__(self, config: pytest.Config, directory: str) -> None:
        self._directory = Path(directory).absolute()
        self._config = config
        self._current: tuple[pytest.Item, CheckOnTarget, Verdict, str] | None = None
        self._files = ResultFiles(self._directory)
        allure_commons.plugin_manager.register(self)

    def close(self) -> None:
        """Unregister from Allure, and let allure-pytest write its files itself."""
        if allure_commons.plugin_manager.is_registered(self):
            allure_commons.plugin_manager.unregister(self)
        self._files.close()

    def forget(self) -> None:
        """Another item begins."""
        self._files.take_over()
        self._current = None

    @property
    def lost(self) -> str:
        """Why results could not be written; empty if all were."""
        return self._files.lost

    def remember(
        self, item: pytest.Item, check_on_target: CheckOnTarget, verdict: Verdict, text: str
    ) -> None:
        """The verdict of the running item."""
        self._files.take_over()
        self._current = (item, check_on_target, verdict, text)

    @allure_commons.hookimpl(tryfirst=True)
    def report_result(self, result: TestResult) -> None:
        """Complete a result that is about to be written."""
        if self._current is None:
            return
        item, check_on_target, verdict, text = self._current
        self._current = None
        check, target = check_on_target.check, check_on_target.target
        record = check_on_target.record
        given = self._config.getoption("touchstone_hypervisor") or DEFAULT_HYPERVISOR
        subject = record.subject.name if record else HERE if target.name == HERE else str(given)
        title = record.subject.title if record else subject
        name = check_on_target.name  # a Python check that runs once per parameter has them in it
        result.name = check.title + name.removeprefix(check.id)
        result.fullName = name
        identify(result, name, target.name, subject)
        result.parameters = [
            Parameter("target", target.name),
            Parameter("phase", check.phase, excluded=True),
            Parameter("subject", subject),
        ]
        result.status = STATUS[verdict]
        # A suite outside of the rootdir has no package.
        result.labels = [label for label in result.labels if label.name in _KEPT and label.value]
        result.labels += labels(
            JudgedCheck(verdict, check.id, target.name, check.area, check.level, check.phase, subject), title
        )
        result.labels += [Label("subSuite", str(check.source.path))]
        result.labels += [Label("story", one) for one in check.proves]
        result.labels += [Label("tag", one) for one in check.tags]
        result.links += [
            Link("link", MANUALS[cite.doc], f"{cite.doc}: {cite.title}")
            for cite in check.cite
            if cite.doc in MANUALS
        ]
        result.description = "\n".join(description(item, check_on_target))
        if verdict is not Verdict.CONFORMANT:
            result.statusDetails = details(verdict, text, result.statusDetails)
        if record is not None:
            if (
                verdict is Verdict.CONFORMANT
            ):  # a file for each would be what a run spends most of its time on
                result.description += f"\n```\n{probes_text(record)}\n```"
            else:
                result.attachments += list(attachments(record))
                result.steps += [step(run) for run in record.runs]
            for waiver in (record.own_waiver, record.waiver):
                if waiver is not None and waiver.link:
                    result.links.append(Link("issue", waiver.link, waiver.reason))

    def crashed_worker(self, judged: JudgedCheck, nodeid: str, report: pytest.TestReport) -> None:
        """Write the result of a check whose worker died before it wrote one."""
        self._files.take_over()
        stop = int(report.stop * 1000) if getattr(report, "stop", 0) else None
        result = TestResult(
            uuid=str(uuid4()), name=judged.check, fullName=judged.check, start=stop, stop=stop
        )
        identify(result, judged.check, judged.target, judged.subject)
        result.parameters = [Parameter("target", judged.target), Parameter("subject", judged.subject)]
        result.status = STATUS[judged.verdict]
        result.labels = [*labels(judged, judged.subject), Label("framework", "pytest")]
        result.titlePath = nodeid.split("::", 1)[0].split("/")
        result.statusDetails = StatusDetails(
            message=f"{judged.verdict.value}: the worker process died while it ran {nodeid}",
            trace=str(report.longrepr),
        )
        allure_commons.plugin_manager.hook.report_result(result=result)

    def write_run(self, summary: Summary) -> None:
        """Write environment and categories, one file per run. For the controller, not for workers."""
        if not summary.judged:
            return
        lines = [f"touchstone={__version__}"]
        lines += [f"hypervisor={name}" for name in {one.subject: None for one in summary.judged.values()}]
        lines += [f"{target}={line}" for target, line in summary.about.items()]
        text = "".join(f"{_escaped(line)}\n" for line in lines)
        self._files.attempt(lambda: self._write("environment.properties", text))
        categories = [
            {
                "name": verdict.value,
                "matchedStatuses": [STATUS[verdict]],
                "messageRegex": f"(?s){verdict.value}: .*",
            }
            for verdict in Verdict
            if verdict is not Verdict.CONFORMANT
        ]
        self._files.attempt(lambda: self._write("categories.json", json.dumps(categories, indent=2) + "\n"))

    def _write(self, name: str, text: str) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        new = self._directory / f"{name}.{os.getpid()}.new"
        new.write_text(text, encoding="utf-8")
        new.replace(self._directory / name)


def identify(result: TestResult, check: str, target: str, subject: str) -> None:
    """A check is one test case, wherever its suite lies; each target and subject has its own history."""
    result.testCaseId = case_id(check)
    result.historyId = _hash(check, target, subject)


def case_id(check: str) -> str:
    """The id of the test case that a check is."""
    return _hash(check)


def labels(judged: JudgedCheck, title: str) -> list[Label]:
    """What the report groups and filters by."""
    values = {
        "epic": title,
        "feature": judged.area,
        "severity": SEVERITY.get(judged.level, "normal"),
        "parentSuite": judged.target,
        "suite": judged.area,
        "tag": judged.verdict.value,
        "host": judged.target,
        "target": judged.target,
        "verdict": judged.verdict.value,
    }
    return [Label(name, value) for name, value in values.items()]


def description(item: pytest.Item, check_on_target: CheckOnTarget) -> Iterator[str]:
    """Markdown: what differs, the sentences it proves, the suite's lines, and how to run it again."""
    check = check_on_target.check
    if check_on_target.record is not None:
        yield from differences_table(check_on_target.record)
    for cite in check.cite:
        section = f", {cite.section}" if cite.section else ""
        yield f"> {cite.says}\n>\n> {cite.doc}: {cite.title}{section}\n"
    language = "yaml" if check.cases else "python"
    yield f"```{language}\n{check.text}\n```"
    if check_on_target.record is not None:
        yield f"\nAgain: `{reproduce(item, check_on_target.record)}`"
        if check_on_target.record.description:
            yield f"\n{check_on_target.target.name}: {check_on_target.record.description}"


def details(verdict: Verdict, text: str, old: StatusDetails | None) -> StatusDetails:
    """Message and trace; the message begins with the verdict, by which categories.json sorts.

    Without ``expected`` and ``actual``: Allure shows the measured value in the
    green of an addition. What differs is a table of the description.
    """
    return StatusDetails(message=f"{verdict.value}: {text}", trace=getattr(old, "trace", None))


def differences_table(record: CheckRecord) -> Iterator[str]:
    """Markdown: what was expected and what was measured, by case and CPU."""
    found = [(run, one) for run in record.runs for one in run.differences]
    if not found:
        return
    rows: dict[tuple[str, ...], list[int]] = {}
    for run, one in found:
        named = (run.case and differing(run.case, one.what, one.expected, one.measured)) or ""
        bits = named or as_ranges(differing_bits(one.what, one.expected, one.measured))
        rows.setdefault((run.label, one.what, one.expected, one.measured, bits), []).append(one.cpu)
    yield "| case | CPU | what | expected | measured | bits |\n|---|---|---|---|---|---|"
    for (label, *rest), cpus in list(rows.items())[:DIFFERENCES]:
        cells = (label, ", ".join(map(str, dict.fromkeys(cpus))), *rest)
        yield "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
    if len(rows) > DIFFERENCES:
        yield f"\n... and {len(rows) - DIFFERENCES} more\n"
    yield ""


def step(run: CaseRun) -> TestStepResult:
    """A case, and what each CPU did if something is wrong there: else the table has it."""
    wrong = {difference.cpu for difference in run.differences}
    start, stop = int(run.start * 1000), int(run.stop * 1000)
    failed = bool(wrong or run.ended or run.refused)
    found = TestStepResult(
        name=heading(run), status=Status.FAILED if failed else Status.PASSED, start=start, stop=stop
    )
    if run.refused or run.ended:
        found.statusDetails = StatusDetails(message=run.refused or run.ended)
    for result in run.results if failed else ():
        found.steps.append(
            TestStepResult(
                name=f"CPU {result.cpu}: {show.end(result)}",
                status=Status.FAILED if result.cpu in wrong else Status.PASSED,
                start=start,
                stop=stop,
            )
        )
    return found


def attachments(record: CheckRecord) -> Iterator[Attachment]:
    """The evidence, as files."""
    if probes := probes_text(record):
        yield attach("probe, expected and measured", probes)
    for cpu, exits in traces(record):
        if exits:
            yield attach(f"last exits of CPU {cpu}", "\n".join(exits) + "\n")
    if record.serial.strip():
        yield attach("serial log", record.serial)
    if record.guest_before is not None:
        yield attach("autopsy of the guest before", "\n".join(autopsy_lines(record.guest_before)) + "\n")
    if record.autopsy is not None:
        yield attach("autopsy", "\n".join(autopsy_lines(record.autopsy)) + "\n")


def probes_text(record: CheckRecord) -> str:
    """Every probe with what was expected and measured."""
    return "\n".join(line for run in record.runs for line in (*_probe_text(run), ""))


def _probe_text(run: CaseRun) -> Iterator[str]:
    """A table per CPU; where all CPUs agree with what was expected, the first one's stands for them."""
    if run.judgement is None:
        yield heading(run)
        yield from (f"    {line}" for line in listing(run.code, bits=run.request.code_bits))
        for result in run.results:
            yield f"    CPU {result.cpu}: {show.end(result)}, rip {show.register('rip', result.rip, result)}"
        return
    wrong = {difference.cpu for difference in run.differences}
    tables = run.judgement.tables
    shown = [table for table in tables if table.cpu in wrong] or list(tables[:1])
    for table in shown:
        yield from table_lines(run, table, everything=bool(wrong))
    if len(tables) > len(shown):
        yield f"    ({len(tables) - len(shown)} other CPUs: all as expected)"


def attach(name: str, text: str) -> Attachment:
    """Write an attachment's file."""
    source = f"{uuid4()}-attachment.txt"
    allure_commons.plugin_manager.hook.report_attached_data(body=text, file_name=source)
    return Attachment(name=name, source=source, type=TEXT)


def _hash(*parts: str) -> str:
    return md5("\0".join(parts).encode(), usedforsecurity=False).hexdigest()


def _escaped(line: str) -> str:
    """A line of a Java properties file."""
    key, _, value = line.partition("=")
    return f"{key}={value}".replace("\\", "\\\\").encode("ascii", "backslashreplace").decode()
