"""The hooks of a run that has checks. Registered for the first one, so that other runs never pay for them."""

from __future__ import annotations

import gc
from collections.abc import Generator
from typing import TYPE_CHECKING

import pytest

from touchstone.engine.records import CheckOnTarget
from touchstone.engine.send_ahead import next_check
from touchstone.engine.verdicts import ERRORS, FAILURES, apply_waiver, improved, verdict_of
from touchstone.pytest_plugin.marks import CHECK
from touchstone.pytest_plugin.ordering import ordered
from touchstone.pytest_plugin.target_fixture import TargetHandle
from touchstone.pytest_plugin.xdist import crashed_worker, is_worker
from touchstone.reporting.failure import sections
from touchstone.reporting.properties import Mark, about_property, mark_of, properties_of
from touchstone.reporting.terminal import Summary
from touchstone.words import Phase, Verdict

if TYPE_CHECKING:
    from touchstone.pytest_plugin.run import Run
    from touchstone.reporting.allure import AllureReport

_FAILED = {Verdict.CRASH: "CRASH", Verdict.HANG: "HANG", Verdict.IMPROVED: "IMPROVED"}
_ERROR = {Verdict.BLOCKED: "BLOCKED", Verdict.INFRASTRUCTURE: "INFRASTRUCTURE"}


class Runtime:
    """Orders the checks, gives each its verdict, and reports."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.summary = Summary()
        self._told: dict[str, str] = {}
        self._allure = _start_allure(run.config)

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        """Make checks of marked Python functions, before anything is selected."""
        if CHECK not in item.stash and item.get_closest_marker("touchstone") is not None:
            from touchstone.pytest_plugin.python_checks import adopt  # noqa: PLC0415

            adopt(self.run, item)

    # --- collection

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, session: pytest.Session, items: list[pytest.Item]) -> None:
        """Order checks by target and phase, and assemble all their probes at once."""

        def place(item: pytest.Item) -> tuple[str, Phase] | None:
            check = item.stash.get(CHECK, None)
            return None if check is None else (check.target.name, check.check.phase)

        if not any(place(item) for item in items):
            return
        items[:] = ordered(items, place, [target.name for target in self.run.targets])
        broken, errors = self.run.plan.make(one.stash[CHECK] for one in items if CHECK in one.stash)
        if errors:
            items[:] = [
                one for one in items if CHECK not in one.stash or one.stash[CHECK].check.id not in broken
            ]
        for nodeid, text in errors.items():
            report = pytest.CollectReport(nodeid, "failed", text, [])
            session.ihook.pytest_collectreport(report=report)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self) -> None:
        """Spare the garbage collector what lives to the end: it would walk all of it again and again."""
        gc.freeze()

    # --- one check

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> Generator[None, object, object]:
        """Note what comes next."""
        self.run.following = next_check(item, nextitem)
        return (yield)

    def pytest_runtest_logstart(self) -> None:
        """Another item begins."""
        if self._allure is not None:
            self._allure.forget()

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, None, None]:
        """A check that holds although the inventory says that it does not, has improved: a failure."""
        place = item.stash.get(CHECK, None)
        try:
            yield
        except AssertionError:
            handle = getattr(item, "funcargs", {}).get("target")
            if place is not None and isinstance(handle, TargetHandle):
                handle.gather_evidence()
            raise
        if place is None or place.record is None:
            return
        if apply_waiver(place.record, Verdict.CONFORMANT) is Verdict.IMPROVED:
            raise improved(place.record)

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Give the check its verdict, and the report what pytest makes of it."""
        report = yield
        place = item.stash.get(CHECK, None)
        if place is not None and (call.excinfo is not None or call.when == "call"):
            self._judge(item, place, call, report)
        return report

    def _judge(
        self, item: pytest.Item, place: CheckOnTarget, call: pytest.CallInfo[None], report: pytest.TestReport
    ) -> None:
        error = None if call.excinfo is None else call.excinfo.value
        verdict = verdict_of(error)
        if place.record is not None:
            if verdict is not Verdict.UNSUPPORTED:
                verdict = apply_waiver(place.record, verdict) if error is not None else verdict
            place.record.verdict = verdict
        if verdict is Verdict.KNOWN_DEVIATION and not item.config.getoption("runxfail", False):
            assert place.record is not None
            report.outcome = "skipped"
            report.wasxfail = place.record.reason
        if verdict is Verdict.UNSUPPORTED:
            path, line, _ = item.reportinfo()
            reason = getattr(error, "msg", None) or str(error)
            report.longrepr = (str(path), (line or 0) + 1, f"Skipped: {reason}")
            if place.record is not None:
                place.record.reason = str(reason)
        # What says nothing about the subject is an error, what it did is a failure, whenever it happens.
        if verdict in ERRORS and report.when == "call":
            report.when = "setup"
        elif verdict in FAILURES and report.when == "setup":
            report.when = "call"
        if place.record is not None and report.failed and not place.check.cases:
            report.sections += sections(item, place.record)
        check = place.check
        mark = Mark(
            verdict=verdict,
            check=check.id,
            target=place.target.name,
            area=check.area,
            level=check.level,
            phase=check.phase,
            subject=self.run.subject.name,
            claims="yes" if check.claims else "no",
        )
        item.user_properties += properties_of(mark)  # junit takes them from the last report
        report.user_properties = list(item.user_properties)
        if self._allure is not None:
            text = place.record.reason if place.record and place.record.reason else ""
            self._allure.remember(item, place, verdict, text or (str(error) if error is not None else ""))
        about = self.run.about(place.target)
        if about is not None and self._told.get(place.target.name) != about:
            self._told[place.target.name] = about
            report.user_properties.append(about_property(place.target.name, about))

    # --- reports

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take note for the summary."""
        self.summary.add(report)

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(
        self, report: pytest.TestReport | pytest.CollectReport
    ) -> tuple[str, str, str | tuple[str, dict[str, bool]]] | None:
        """Words for the verdicts that pytest has none for."""
        if not isinstance(report, pytest.TestReport) or report.passed or not report.user_properties:
            return None
        mark = mark_of(report)
        if mark is None:
            return None
        if mark.verdict in _FAILED and report.failed:
            return "failed", "F", _FAILED[mark.verdict]
        if mark.verdict in _ERROR and report.failed:
            return "error", "E", _ERROR[mark.verdict]
        if mark.verdict is Verdict.KNOWN_DEVIATION and report.skipped:
            return "xfailed", "x", "KNOWN-DEVIATION"
        return None

    @pytest.hookimpl(optionalhook=True)
    def pytest_handlecrashitem(self, crashitem: str, report: pytest.TestReport) -> None:
        """Say which verdict a check has whose worker died."""
        mark = crashed_worker(crashitem, report, self.run)
        if mark is not None and self._allure is not None:
            self._allure.crashed_worker(mark, crashitem, report)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Write the targets' lines and the matrix."""
        if not self.summary.marks:
            return
        order = [target.name for target in self.run.targets]
        self.summary.write(terminalreporter, order, self.run.places_of_results())

    # --- the end

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_teardown(self, item: pytest.Item, nextitem: pytest.Item | None) -> None:
        """Stop a target after its last check."""
        place = item.stash.get(CHECK, None)
        if place is None:
            return
        following = None if nextitem is None else nextitem.stash.get(CHECK, None)
        if following is None or following.target.name != place.target.name:
            self.run.stop_all()

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        """Leave no target running; write what only the controller writes."""
        self.run.stop_all()
        if self._allure is not None and not is_worker(self.run.config):
            self._allure.write_run(self.summary)

    def pytest_unconfigure(self) -> None:
        """Leave no target running, however the run ends."""
        self.run.stop_all()
        if self._allure is not None:
            self._allure.close()


def _start_allure(config: pytest.Config) -> AllureReport | None:
    if not config.getoption("allure_report_dir", None):
        return None
    from touchstone.reporting.allure import AllureReport  # noqa: PLC0415

    return AllureReport(config, str(config.getoption("allure_report_dir")))
