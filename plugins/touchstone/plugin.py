"""The pytest plugin: hooks only. The modules that do the work are imported when a suite is met."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from touchstone.garbage import seldom_collected, uncollected
from touchstone.pytest_plugin.options import (
    add_options,
    home,
    use_shipped_suites,
    why_nothing_is_collected,
)
from touchstone.pytest_plugin.sniff import in_suites_folder, is_suite, is_yaml
from touchstone.words import AREAS, LEVELS, PHASES

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from xdist.remote import Producer  # type: ignore[import-untyped]
    from xdist.scheduler.protocol import Scheduling  # type: ignore[import-untyped]
    from xdist.workermanage import WorkerController  # type: ignore[import-untyped]

    from touchstone.config.subjects import Subject
    from touchstone.machine.driver import Driver
    from touchstone.machine.settings import TargetSettings
    from touchstone.pytest_plugin.run import Run


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register the options."""
    add_options(parser)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Add the hooks that plugins with drivers of their own implement."""
    from touchstone.pytest_plugin import newhooks  # noqa: PLC0415

    pluginmanager.add_hookspecs(newhooks)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Register the markers; check the names if the command line names targets."""
    config.addinivalue_line(
        "markers", "touchstone(id, title, area, level, phase, cite, claims, ...): a check written in Python"
    )
    for kind, words in (("area", AREAS), ("level", LEVELS), ("phase", PHASES)):
        for word in words:
            config.addinivalue_line("markers", f"{word}: checks of this {kind} (touchstone)")
    if is_project(config):
        with uncollected():
            config.pluginmanager.import_plugin("touchstone.pytest_plugin.fixtures")
    if config.getoption("touchstone_payloads"):
        from touchstone.pytest_plugin.payloads import collect_payloads_only  # noqa: PLC0415

        collect_payloads_only(config)
    if not asked_for(config):
        return
    with uncollected():
        from touchstone.pytest_plugin.run import run_of  # noqa: PLC0415

        run_of(config).check()
    use_shipped_suites(config)
    if hasattr(config, "workerinput") and getattr(config.option, "clean_alluredir", False):
        # A worker that replaces another one would delete what the others wrote.
        config.option.clean_alluredir = False


def pytest_report_header(config: pytest.Config) -> str | None:
    """Say what is judged where, if targets were named."""
    if not asked_for(config):
        return None
    from touchstone.pytest_plugin.run import run_of  # noqa: PLC0415

    return run_of(config).header()


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """Serve ``--list-targets``; a plan is made without workers."""
    if config.getoption("touchstone_plan") is not None:
        config.option.numprocesses, config.option.dist, config.option.tx = None, "no", []
    if not config.getoption("touchstone_list_targets"):
        return None
    with uncollected():
        from touchstone.pytest_plugin.run import list_targets  # noqa: PLC0415

        return list_targets(config)


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Collect checks without looking for garbage: what is made then lives until the end of the run."""
    if not asked_for(session.config):
        return (yield)
    with uncollected():
        try:
            return (yield)
        finally:
            gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    """Run checks with less looking for garbage."""
    if not asked_for(session.config):
        return (yield)
    with seldom_collected():
        return (yield)


def pytest_report_collectionfinish(config: pytest.Config, items: Sequence[pytest.Item]) -> str | None:
    """Say how to get checks, if targets were named and there is nothing to judge."""
    return None if items or not asked_for(config) else why_nothing_is_collected(config) or None


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect payloads, and suites: YAML files that look like one, lie in their folder, or are named."""
    if parent.config.getoption("touchstone_payloads"):
        from touchstone.pytest_plugin.payloads import PayloadFile, payloads_of  # noqa: PLC0415

        if file_path in payloads_of(parent.config).by_file:
            return PayloadFile.from_parent(parent, path=file_path)
    if not is_yaml(file_path):
        return None
    named = parent.session.isinitpath(file_path)
    if not named and not is_suite(file_path) and not in_suites_folder(file_path, parent.session):
        return None
    from touchstone.pytest_plugin.collect import SuiteFile  # noqa: PLC0415

    return SuiteFile.from_parent(parent, path=file_path)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run Python checks once per target."""
    if metafunc.definition.get_closest_marker("touchstone") is not None:
        from touchstone.pytest_plugin.python_checks import parametrize  # noqa: PLC0415

        parametrize(metafunc)


def pytest_touchstone_run_begins(config: pytest.Config, run: Run) -> None:
    """Register the hooks that only runs with checks need."""
    from touchstone.pytest_plugin.hooks import RunHooks  # noqa: PLC0415

    config.pluginmanager.register(RunHooks(run), "touchstone-run")


@pytest.hookimpl(trylast=True)
def pytest_touchstone_validate_target(settings: TargetSettings) -> bool:
    """Validate targets of the drivers that come with Touchstone; other plugins are asked first."""
    from touchstone.drivers import registry  # noqa: PLC0415

    registry.validate(settings)
    return True


@pytest.hookimpl(trylast=True)
def pytest_touchstone_make_driver(
    config: pytest.Config, settings: TargetSettings, subject: Subject
) -> Driver:
    """Make one of the drivers that come with Touchstone."""
    from touchstone.pytest_plugin.run import make_driver  # noqa: PLC0415

    return make_driver(config, settings, subject)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """``-n auto``: one worker per target, but not more emulated ones than this host has CPUs."""
    if not asked_for(config):
        return None
    from touchstone.pytest_plugin.xdist import auto_workers  # noqa: PLC0415

    return auto_workers(config)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: WorkerController) -> None:
    """Let xdist's workers show progress, and write the journal."""
    if is_project(node.config):
        from touchstone.pytest_plugin.journal_place import place_for  # noqa: PLC0415
        from touchstone.pytest_plugin.progress import relay_for  # noqa: PLC0415

        relay_for(node)
        place_for(node)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling | None:
    """Give each target to one worker."""
    if not is_project(config):
        return None
    from touchstone.pytest_plugin.xdist import make_scheduler  # noqa: PLC0415

    return make_scheduler(config, log)


def is_project(config: pytest.Config) -> bool:
    """Whether a target is named, or the project has targets of its own."""
    return asked_for(config) or (home(config) / "targets" / "inventory.toml").is_file()


def asked_for(config: pytest.Config) -> bool:
    """Whether the command line names a target, a matrix, an inventory or a payload."""
    names = ("touchstone_targets", "touchstone_inventory", "touchstone_matrix", "touchstone_payloads")
    return any(config.getoption(name) for name in names)
