from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest

from tests.support import boxes, cpu_times, installed, nightly, objects
from tests.support.checkout import ROOT
from tests.support.cpu_times import pytest_addoption  # noqa: F401  hook
from tests.support.project import Project
from tests.support.side_by_side import (  # noqa: F401  hooks
    UNITS,
    pytest_cmdline_main,
    pytest_collection_modifyitems,
    pytest_xdist_make_scheduler,
)
from tests.support.skips import SkipWatch, read_known
from touchstone.drivers.qemu.linux import QemuLinuxMachine
from touchstone.engine import progress
from touchstone.pytest_plugin.xdist import is_worker

# The tests run pytest hundreds of times, here and in other processes: none of them compiles the package anew.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# A shell without job control starts its background jobs with these ignored (POSIX, Shell Command Language,
# 2.11), and whatever they start inherits that: a run that a test interrupts would go on for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)

# Runs in this process forget what they import; what can be imported only once is imported before them.
for name in (
    "tests.support.fake_target",
    "touchstone.pytest_plugin.python_checks",
    "touchstone.reporting.allure",
):
    importlib.import_module(name)


def pytest_configure(config: pytest.Config) -> None:
    installed.remember()
    nightly.register(config)
    objects.share()
    cpu_times.register(config, lambda nodeid: UNITS.of(nodeid)[0])
    if not is_worker(config):  # the controller of pytest-xdist sees all reports
        file = ROOT / "tests" / "may_skip.toml"
        watch = SkipWatch(read_known(file), str(file.relative_to(ROOT)), strict=bool(os.environ.get("CI")))
        config.pluginmanager.register(watch, "skips of the project's own tests")


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{ROOT / 'plugins'}")
    # Wide enough for every line: tests match what is said in one.
    monkeypatch.setenv("COLUMNS", "400")
    # However slow the machine is: no line of progress between the words of a verdict.
    monkeypatch.setattr(progress, "QUIET", 3600.0)
    monkeypatch.syspath_prepend(str(ROOT))
    return Project(pytester)


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QemuLinuxMachine]:
    """A box that has booted. Whoever spoils it restores it."""
    machine = boxes.a_machine(tmp_path_factory.mktemp("logs"))
    try:
        machine.start(boxes.say)
        yield machine
    finally:
        machine.stop()
        assert machine.pid is None


@pytest.fixture(scope="session")
def agent_boxes(machine: QemuLinuxMachine) -> Iterator[boxes.AgentBoxes]:
    shared = boxes.AgentBoxes(machine)
    yield shared
    shared.forget()


@pytest.fixture
def box(machine: QemuLinuxMachine, agent_boxes: boxes.AgentBoxes) -> Iterator[paramiko.SSHClient]:
    """A login on a box as it was after its boot."""
    agent_boxes.forget()
    machine.restore(boxes.say)
    with boxes.login(machine) as client:
        yield client


@pytest.fixture(scope="session")
def built(machine: QemuLinuxMachine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory with the agent's module and program for the box's kernel."""
    directory = tmp_path_factory.mktemp("agent")
    boxes.build_agent(machine, directory)
    return directory


@pytest.fixture
def agent_box(
    request: pytest.FixtureRequest, agent_boxes: boxes.AgentBoxes, built: Path
) -> Iterator[paramiko.SSHClient]:
    """A login on a box with the agent's module loaded, and its program in /tmp; restored if need be."""
    failed = request.session.testsfailed
    yield agent_boxes.get(built)
    if request.session.testsfailed > failed:
        agent_boxes.forget()
