"""Hooks of Touchstone's own: for plugins that bring a driver for another kind of target, and for its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from touchstone.config.subjects import Subject
    from touchstone.machine.driver import Driver
    from touchstone.machine.settings import TargetSettings
    from touchstone.pytest_plugin.run import Run


@pytest.hookspec
def pytest_touchstone_run_begins(config: pytest.Config, run: Run) -> None:
    """The first suite, check in Python or ``--target`` of a pytest run was met: there will be checks."""


@pytest.hookspec(firstresult=True)
def pytest_touchstone_validate_target(settings: TargetSettings) -> bool | None:
    """Whether a driver takes these settings: called for every entry of the inventory, contacts nothing.

    Return True for a target of your own driver, None for any other. Raise
    ``touchstone.machine.settings.SettingsError`` for what your driver cannot work with.
    """


@pytest.hookspec(firstresult=True)
def pytest_touchstone_make_driver(
    config: pytest.Config, settings: TargetSettings, subject: Subject
) -> Driver | None:
    """Make the driver of a target of yours, without contacting the target; None for any other.

    A driver of a machine that exists only once sets ``Driver.lock_key``; a second run then waits for the
    first.
    """
