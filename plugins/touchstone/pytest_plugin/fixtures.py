"""Fixtures of Python checks.

The plugin registers them where a target is named, or the project has ``targets/inventory.toml``;
elsewhere they would hide another plugin's fixture ``target``. A conftest.py can ask for them by
``pytest_plugins = ["touchstone.pytest_plugin.fixtures"]``.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from touchstone.config.subjects import Subject
from touchstone.engine.judge_check import begin
from touchstone.engine.random_campaign import Campaign
from touchstone.pytest_plugin.marks import CHECK
from touchstone.pytest_plugin.outcomes import translated
from touchstone.pytest_plugin.run import run_of
from touchstone.pytest_plugin.second_chance import with_second_chance
from touchstone.pytest_plugin.target_fixture import Prober, TargetHandle


@pytest.fixture
def target(request: pytest.FixtureRequest) -> TargetHandle:
    """The target, in the phase that the check's mark names."""
    check_on_target = request.node.stash.get(CHECK, None)
    if check_on_target is None:
        pytest.fail(
            "the fixture target is for checks: mark the function with @pytest.mark.touchstone(id=..., ...)",
            pytrace=False,
        )
    session = run_of(request.config).session(check_on_target.target)
    run = run_of(request.config)
    with translated():
        record = with_second_chance(run, check_on_target, lambda: begin(session, check_on_target))
    return TargetHandle(session, record)


@pytest.fixture
def subject(request: pytest.FixtureRequest) -> Subject:
    """The hypervisor under test and its claims; ``none`` is the bare machine."""
    return run_of(request.config).subject


@pytest.fixture
def probe(request: pytest.FixtureRequest, target: TargetHandle) -> Prober:
    """Runs lines of assembly on the target: ``probe("cpuid", rax=0x40000000)``."""
    return Prober(run_of(request.config), target)


@pytest.fixture
def random_campaign(request: pytest.FixtureRequest, target: TargetHandle) -> Callable[[], Campaign]:
    """Runs random probes for ``--fuzz-seconds``, from ``--fuzz-seed`` on."""
    config = request.config
    return lambda: target.run_campaign(config.getoption("--fuzz-seed"), config.getoption("--fuzz-seconds"))
