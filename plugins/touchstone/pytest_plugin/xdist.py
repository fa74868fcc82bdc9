"""pytest-xdist: one worker per machine, and a result also for the check whose worker died."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from touchstone.pytest_plugin.journal_place import plan_by
from touchstone.pytest_plugin.run import CPUS, is_emulated, run_of
from touchstone.reporting.properties import JudgedCheck, properties_of
from touchstone.words import AREAS, Verdict

if TYPE_CHECKING:
    from xdist.remote import Producer  # type: ignore[import-untyped]
    from xdist.scheduler.protocol import Scheduling  # type: ignore[import-untyped]

    from touchstone.pytest_plugin.journal import RunJournal
    from touchstone.pytest_plugin.run import Run


_AUTO = pytest.StashKey[bool]()
"""The number of workers is ours, and not somebody's choice."""


def is_worker(config: pytest.Config) -> bool:
    """Whether this process is one of xdist's workers."""
    return hasattr(config, "workerinput")


def target_of(nodeid: str, names: list[str]) -> str | None:
    """The target that a node id names: ``x.yaml::check[qemu-amd]``, ``test_x.py::test_y[qemu-amd-4]``."""
    if not nodeid.endswith("]") or "[" not in nodeid:
        return None
    parameters = nodeid[nodeid.rindex("[") + 1 : -1]
    fitting = [
        name
        for name in names
        if parameters == name or parameters.startswith(f"{name}-") or parameters.endswith(f"-{name}")
    ]
    return max(fitting, key=len, default=None)


def unit_of(nodeid: str, names: list[str]) -> str:
    """The unit of work that a test belongs to: its target, or its file."""
    target = target_of(nodeid, names)
    return f"target {target}" if target else nodeid.split("::", 1)[0]


def auto_workers(config: pytest.Config) -> int:
    """How many workers ``-n auto`` means."""
    config.stash[_AUTO] = True
    return run_of(config).workers


def make_scheduler(config: pytest.Config, log: Producer) -> Scheduling | None:
    """Our scheduler, unless the run distributes in a way of its own (``--dist=each``, ``no``)."""
    from xdist.workermanage import parse_tx_spec_config  # type: ignore[import-untyped]  # noqa: PLC0415

    from touchstone.pytest_plugin.scheduling import TargetScheduling  # noqa: PLC0415

    if config.getoption("dist") in ("each", "no"):
        return None
    targets = run_of(config).targets
    names = [target.name for target in targets]
    instances = {f"target {target.name}": target.instances for target in targets}
    emulated = {f"target {target.name}" for target in targets if is_emulated(target)}

    def say(text: str) -> None:
        log(text)
        reporter = config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.write_line(f"touchstone: {text}")

    workers = len(parse_tx_spec_config(config))
    return TargetScheduling(
        workers,
        lambda nodeid: unit_of(nodeid, names),
        say,
        _cost_by_journal(config, names),
        lambda unit: instances.get(unit, 1),
        emulated.__contains__,
        CPUS if config.stash.get(_AUTO, False) else None,
    )


def _cost_by_journal(config: pytest.Config, names: list[str]) -> Callable[[str], float]:
    """How long a unit takes, by earlier journals; a target that none of them knows may take any time."""
    before = plan_by(config, run_of(config).subject.name, names)
    if before is None:
        return lambda unit: 0.0
    seconds = {f"target {name}": before.seconds.get(name, float("inf")) for name in names}
    return lambda unit: seconds.get(unit, 0.0)


def crashed_worker(
    nodeid: str, report: pytest.TestReport, run: Run, journal: RunJournal
) -> JudgedCheck | None:
    """Give a check its verdict whose worker died: an infrastructure problem, so an error and no failure."""
    target = target_of(nodeid, [target.name for target in run.targets])
    if target is None:
        return None
    name = nodeid.split("::", 1)[1].rpartition("[")[0]
    area = name.split(".", 1)[0]  # a check's id begins with its area, the name of a Python function does not
    area = area if area in AREAS else "?"
    judged = JudgedCheck(Verdict.INFRASTRUCTURE, name, target, area, "must", "?", run.subject.name)
    judged = journal.worker_died(judged, str(report.longrepr))
    report.when = "setup"
    report.user_properties = [*report.user_properties, *properties_of(judged)]
    return judged
