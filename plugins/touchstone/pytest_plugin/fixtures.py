"""Fixtures of Python checks. A checkout asks for them in its conftest.py.

``pytest_plugins = ["touchstone.pytest_plugin.fixtures"]``; unasked, they would hide others' ``target``.
"""

from __future__ import annotations

import pytest

from touchstone.config.subjects import Subject
from touchstone.engine.judge_check import begin, enter
from touchstone.pytest_plugin.marks import CHECK
from touchstone.pytest_plugin.run import run_of
from touchstone.pytest_plugin.target_fixture import Prober, TargetHandle


@pytest.fixture
def target(request: pytest.FixtureRequest) -> TargetHandle:
    """The target, in the phase that the check's mark names."""
    place = request.node.stash.get(CHECK, None)
    if place is None:
        pytest.fail(
            "the fixture target is for checks: mark the function with @pytest.mark.touchstone(id=..., ...)",
            pytrace=False,
        )
    run = run_of(request.config)
    record = begin(run, place)
    session = run.session(place.target)
    enter(session, record)
    return TargetHandle(session, record)


@pytest.fixture
def subject(request: pytest.FixtureRequest) -> Subject:
    """The hypervisor under test and its claims; ``none`` is the bare machine."""
    return run_of(request.config).subject


@pytest.fixture
def probe(request: pytest.FixtureRequest, target: TargetHandle) -> Prober:
    """Runs lines of assembly on the target: ``probe("cpuid", rax=0x40000000)``."""
    return Prober(run_of(request.config), target)
