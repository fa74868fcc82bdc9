"""The hooks of a run that has checks. They are registered with the first check: other runs do without."""

from __future__ import annotations

from collections.abc import Generator
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest

from touchstone.engine.judge_check import begin
from touchstone.engine.outcomes import Deviation, Hang, LabFailed
from touchstone.engine.records import CheckOnTarget, CheckRecord
from touchstone.engine.verdicts import ERRORS, FAILURES, demand_no_waiver, excused_by, with_waiver
from touchstone.pytest_plugin import gates
from touchstone.pytest_plugin.collect import CheckItem
from touchstone.pytest_plugin.journal import RunJournal
from touchstone.pytest_plugin.journal_place import has_collected, is_down, plan_by
from touchstone.pytest_plugin.junit import add_suite_properties
from touchstone.pytest_plugin.marks import CHECK, check_that_follows
from touchstone.pytest_plugin.options import show_path
from touchstone.pytest_plugin.ordering import ordered
from touchstone.pytest_plugin.outcomes import translated, verdict_of
from touchstone.pytest_plugin.outlook import lines_of, outlook
from touchstone.pytest_plugin.second_chance import again
from touchstone.pytest_plugin.target_fixture import TargetHandle
from touchstone.pytest_plugin.target_lines import TargetLines
from touchstone.pytest_plugin.termination import SIGNALLED, Termination
from touchstone.pytest_plugin.xdist import crashed_worker, is_worker
from touchstone.reporting.causes import cause_of, common_bits
from touchstone.reporting.failure import refused_lines, sections
from touchstone.reporting.properties import JudgedCheck, about_property, judged_of, properties_of
from touchstone.reporting.terminal import Summary, write_lines
from touchstone.words import Verdict

if TYPE_CHECKING:
    from touchstone.pytest_plugin.run import Run
    from touchstone.reporting.allure import AllureReport
    from touchstone.suite.model import Check

LOST = "touchstone_lost"
"""Key of a worker's output."""
_FAILED = {Verdict.CRASH: "CRASH", Verdict.HANG: "HANG", Verdict.IMPROVED: "IMPROVED"}
_ERROR = {Verdict.BLOCKED: "BLOCKED", Verdict.INFRASTRUCTURE: "INFRASTRUCTURE"}


class RunHooks:
    """Orders the checks, gives each its verdict, and reports."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.summary = Summary()
        self._told: dict[str, str] = {}
        self._entries: list[str] = []
        """Known deviations that are about no check."""
        self._missing: list[str] = []
        """What the run requires and did not have."""
        self._allure = _start_allure(run.config)
        self.journal = RunJournal(run)
        if not is_worker(run.config):
            self.summary.judged, self.summary.about = self.journal.before_as_results()
        run.note_retry = self.journal.retried
        self._target_lines = None if is_worker(run.config) else TargetLines(run.config, self.journal.read)
        self._lost: list[str] = []
        """Why results could not be written, here and in workers."""
        self._termination = Termination()
        self._elsewhere = 0
        """Checks that are in other parts of a run that is shared out."""

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        """Make checks of marked Python functions, before anything is selected."""
        if CHECK not in item.stash and item.get_closest_marker("touchstone") is not None:
            from touchstone.pytest_plugin.python_checks import adopt  # noqa: PLC0415

            adopt(self.run, item)

    # --- collection

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, session: pytest.Session, items: list[pytest.Item]) -> None:
        """Order checks by target and phase, and assemble all their probes at once."""

        def check_of(item: pytest.Item) -> tuple[str, Check] | None:
            one = item.stash.get(CHECK, None)
            return None if one is None else (one.target.name, one.check)

        if not any(CHECK in item.stash for item in items):
            return
        items[:] = self._of_this_shard(items)
        items[:] = self.journal.still_to_judge(items)
        self._entries = self.run.entries_without_check()
        items[:] = ordered(items, check_of, [target.name for target in self.run.targets])
        broken, errors = self.run.plan.make(one.stash[CHECK] for one in items if CHECK in one.stash)
        if errors:
            items[:] = [
                one for one in items if CHECK not in one.stash or one.stash[CHECK].check.id not in broken
            ]
        for nodeid, text in errors.items():
            report = pytest.CollectReport(nodeid, "failed", text, [])
            session.ihook.pytest_collectreport(report=report)

    def _of_this_shard(self, items: list[pytest.Item]) -> list[pytest.Item]:
        shard = self.run.options.shard
        if shard is None:
            return items
        ours: list[pytest.Item] = []
        others: list[pytest.Item] = []
        for item in items:
            one = item.stash.get(CHECK, None)
            identity = item.nodeid if one is None else "\0".join(self.journal.key(one))
            (ours if shard.has(identity) else others).append(item)
        self._elsewhere = sum(CHECK in item.stash for item in others)
        if others:
            self.run.config.hook.pytest_deselected(items=others)
        return ours

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Begin the journal with what is planned."""
        self.journal.begin(session.items)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: Any) -> None:
        """A worker has collected, and may have begun the journal."""
        if has_collected(node):
            self.journal.planner_has_collected()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """Show the plan, if that is what was asked for."""
        if self.run.config.getoption("touchstone_plan") is not None and not session.testsfailed:
            self._show_plan(session)
            return True
        return None

    def _show_plan(self, session: pytest.Session) -> None:
        """Show what would be judged, instead of judging it."""
        names = [target.name for target in self.run.targets]
        before = plan_by(self.run.config, self.run.subject.name, names)
        found = outlook(self.run, session.items, before)
        paths = [] if before is None else before.paths
        shown = show_path(self.run.config, paths[0]) if paths else ""
        shown += f" and {len(paths) - 1} before it" if len(paths) > 1 else ""
        terminal = self.run.config.pluginmanager.get_plugin("terminalreporter")
        for line in lines_of(self.run, found, self._elsewhere, before, shown):
            if terminal is not None:
                terminal.write_line(line)

    # --- one check

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> Generator[None, object, object]:
        """Note which check follows, so that its probes can be sent ahead."""
        self.run.ahead.expect(check_that_follows(item, nextitem))
        if (check_on_target := item.stash.get(CHECK, None)) is not None:
            self.run.take_turn(check_on_target.target)
            self.journal.started(check_on_target)
        done = yield
        if item.config.getoption("touchstone_payloads"):
            from touchstone.pytest_plugin.payloads import judge_lines  # noqa: PLC0415 - few runs have any

            judge_lines(item, nextitem, self.journal)
        if check_on_target is not None:
            check_on_target.was_reported()
        return done

    def pytest_runtest_logstart(self) -> None:
        """Another item begins."""
        if self._allure is not None:
            self._allure.forget()

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, None, None]:
        """A check that holds although a known deviation says that it does not is a failure: improved."""
        check_on_target = item.stash.get(CHECK, None)
        if check_on_target is None:
            return (yield)
        handle = getattr(item, "funcargs", {}).get("target")
        try:
            with translated():
                try:
                    yield
                except (LabFailed, Hang, Deviation) as error:
                    again(self.run, check_on_target, error, lambda: self._judge_again(item, check_on_target))
                if isinstance(handle, TargetHandle):
                    handle.demand_subject()
        except AssertionError:
            if isinstance(handle, TargetHandle):
                handle.gather_evidence()
            raise
        if check_on_target.record is not None:
            demand_no_waiver(check_on_target.record)

    def _judge_again(self, item: pytest.Item, check_on_target: CheckOnTarget) -> None:
        handle = getattr(item, "funcargs", {}).get("target")
        if isinstance(handle, TargetHandle):
            handle.begin_again(begin(self.run.session(check_on_target.target), check_on_target))
        item.runtest()

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Give the check its verdict, and the report what pytest makes of it."""
        report = yield
        check_on_target = item.stash.get(CHECK, None)
        if check_on_target is not None and (call.excinfo is not None or call.when == "call"):
            self._judge(item, check_on_target, call, report)
        return report

    def _judge(
        self,
        item: pytest.Item,
        check_on_target: CheckOnTarget,
        call: pytest.CallInfo[None],
        report: pytest.TestReport,
    ) -> None:
        error = None if call.excinfo is None else call.excinfo.value
        check, target, record = check_on_target.check, check_on_target.target, check_on_target.record
        outcome, reason = verdict_of(error), ""
        verdict = outcome
        if record is not None and error is not None:
            verdict = with_waiver(record, verdict)
        if verdict is Verdict.KNOWN_DEVIATION:
            assert record is not None
            reason = str(excused_by(record))
            if not item.config.getoption("runxfail", False):
                report.outcome = "skipped"
                report.wasxfail = reason
        elif verdict is Verdict.MACHINE:
            reason = str(error)
            if not item.config.getoption("runxfail", False):
                report.outcome = "skipped"
                report.wasxfail = reason
        elif verdict is Verdict.UNSUPPORTED:
            path, line, _ = item.reportinfo()
            reason = str(getattr(error, "msg", None) or error)
            report.longrepr = (str(path), (line or 0) + 1, f"Skipped: {reason}")
        # pytest reports what goes wrong in setup as an error, in call as a failure. Here, an error says
        # nothing about the subject, and a failure does, whichever of the two it happened in.
        if verdict in ERRORS and report.when == "call":
            report.when = "setup"
        elif verdict in FAILURES and report.when == "setup":
            report.when = "call"
        cause = cause_of(record, verdict, error)
        if record is not None:
            record.ended(verdict, reason)
            if report.failed and not isinstance(item, CheckItem):  # which shows all of that itself
                if first := self.run.causes.first_shown(target.name, cause, item.nodeid):
                    report.longrepr = "\n".join(refused_lines(item, record, str(error), first))
                else:
                    report.sections += sections(item, record)
        judged = JudgedCheck(
            verdict=verdict,
            check=check.id,
            target=target.name,
            area=check.area,
            level=check.level,
            phase=check.phase,
            subject=self.run.subject.name,
            claims="yes" if check.claims else "no",
            listed=_listed(record, verdict),
            cause=cause,
            bits=common_bits(record, verdict),
        )
        item.user_properties += properties_of(judged)  # junit takes them from the last report
        report.user_properties = list(item.user_properties)
        text = reason or (str(error) if error is not None else "")
        if self._allure is not None:
            self._allure.remember(item, check_on_target, verdict, text)
        about = self.run.about(target)
        if about is not None and self._told.get(target.name) != about:
            self._told[target.name] = about
            self.journal.target_is(target.name, target.title, about, self.run.facts(target))
            report.user_properties.append(about_property(target.name, about))
        self.journal.judged(item, check_on_target, judged, outcome, error, text)
        self.run.after_check(target, judged=verdict not in ERRORS)

    # --- reports

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take note for the summary."""
        self.summary.add(report)
        if self._target_lines is not None:
            self._target_lines.judged(self.summary.judged.values())

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(
        self, report: pytest.TestReport | pytest.CollectReport
    ) -> tuple[str, str, str | tuple[str, dict[str, bool]]] | None:
        """The words of verdicts for which pytest has none."""
        if not isinstance(report, pytest.TestReport) or report.passed or not report.user_properties:
            return None
        judged = judged_of(report)
        if judged is None:
            return None
        if judged.verdict in _FAILED and report.failed:
            return "failed", "F", _FAILED[judged.verdict]
        if judged.verdict is Verdict.BLOCKED and report.failed:
            return "blocked", "E", "BLOCKED"  # not an error of its own: the summary has each cause once
        if judged.verdict in _ERROR and report.failed:
            return "error", "E", _ERROR[judged.verdict]
        if judged.verdict is Verdict.KNOWN_DEVIATION and report.skipped:
            return "xfailed", "x", "KNOWN-DEVIATION"
        if judged.verdict is Verdict.MACHINE and report.skipped:
            return "xfailed", "m", "MACHINE"
        return None

    @pytest.hookimpl(optionalhook=True)
    def pytest_handlecrashitem(self, crashitem: str, report: pytest.TestReport) -> None:
        """Give a check whose worker died its verdict."""
        judged = crashed_worker(crashitem, report, self.run, self.journal)
        if judged is not None and self._allure is not None:
            self._allure.crashed_worker(judged, crashitem, report)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Write the targets' lines and the matrix."""
        if not self.summary.judged and not self._missing:
            return
        order = [target.name for target in self.run.targets]
        lines = (*self.run.lines_about_results(), *self.journal.account(lost=bool(self._lost)))
        self.summary.write(terminalreporter, order, lines, self.journal.unfinished())
        for line in self.run.entries_ending_soon():
            write_lines(terminalreporter, line, yellow=True)
        for line in (*self._entries, *self._missing):
            write_lines(terminalreporter, line, red=True, bold=True)
        for one in dict.fromkeys(self._lost):
            text = f"results were LOST, the verdicts above stand: {one}"
            write_lines(terminalreporter, text, red=True)

    # --- the end

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_teardown(self, item: pytest.Item, nextitem: pytest.Item | None) -> None:
        """Stop a target after its last check."""
        check_on_target = item.stash.get(CHECK, None)
        if check_on_target is None:
            return
        following = None if nextitem is None else nextitem.stash.get(CHECK, None)
        if following is None or following.target.name != check_on_target.target.name:
            self.run.stop_all()

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int | pytest.ExitCode) -> None:
        """Leave no target running; write what only the controller writes; end with a status of its own."""
        self.run.stop_all()
        if self._allure is not None:
            if not is_worker(self.run.config):
                self._allure.write_run(self.summary)
            if self._allure.lost:
                self._lost.append(self._allure.lost)
        if self.journal.lost:
            self._lost.append(self.journal.lost)
        if is_worker(self.run.config):
            output = self.run.config.workeroutput  # type: ignore[attr-defined]
            output[LOST], output["touchstone_entries"] = "; ".join(self._lost), self._entries
        elif self._termination.signal is not None:
            session.exitstatus = SIGNALLED + self._termination.signal
        else:
            status = self._status(exitstatus)
            lost = self._lost and status == pytest.ExitCode.OK
            session.exitstatus = int(gates.Status.REPORTS_LOST) if lost else status
        if not is_worker(self.run.config):
            add_suite_properties(self.run.config, self.journal.read())
            self.journal.ended(int(session.exitstatus), self._termination.signal or 0)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take from a worker of xdist what only workers know, since the controller collects nothing."""
        is_down(node)
        output = getattr(node, "workeroutput", None) or {}  # none of a worker that died
        found = output.get("touchstone_entries", ())
        self._entries += [line for line in found if line not in self._entries]
        if lost := output.get(LOST):
            self._lost.append(lost)

    def _status(self, status: int | pytest.ExitCode) -> int | pytest.ExitCode:
        """The exit status of the run: pytest's, or one of ours where nothing worse has happened."""
        config, judged = self.run.config, self.summary.judged.values()
        if self.journal.before is not None:  # the status of the whole run, from its beginning
            if status == pytest.ExitCode.NO_TESTS_COLLECTED:
                status = pytest.ExitCode.OK
            if status == pytest.ExitCode.OK and any(one.verdict in FAILURES for one in judged):
                status = pytest.ExitCode.TESTS_FAILED
        judges = not config.option.collectonly and config.getoption("touchstone_plan") is None
        if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED) or not judges:
            return status
        every_area = bool(config.getoption("touchstone_require_targets"))
        conformant = int(config.getoption("touchstone_require_conformant"))
        targets = [target.name for target in self.run.targets]
        self._missing = list(gates.missing(judged, targets, every_area, conformant))
        missing = [*self._missing, *(self._entries if every_area else ())]
        ours = gates.status(judged, self.summary.others_failed, missing)
        if ours is None and status == pytest.ExitCode.OK and not self._lost and self.journal.missing():
            ours = gates.Status.NOT_JUDGED
        return status if ours is None else int(ours)

    def pytest_unconfigure(self) -> None:
        """Leave no target running, however the run ends."""
        self.run.stop_all()
        if self._allure is not None:
            self._allure.close()
        self.journal.close()
        self._termination.close()


def _listed(record: CheckRecord | None, verdict: Verdict) -> str:
    """Whether the inventory expects of the machine what was measured; ``?`` for other verdicts."""
    if record is None or verdict is not Verdict.MACHINE:
        return "?"
    return "yes" if record.waiver is not None and not record.waiver.expired(date.today()) else "no"


def _start_allure(config: pytest.Config) -> AllureReport | None:
    if not config.getoption("allure_report_dir", None):
        return None
    from touchstone.reporting.allure import AllureReport  # noqa: PLC0415

    return AllureReport(config, str(config.getoption("allure_report_dir")))
