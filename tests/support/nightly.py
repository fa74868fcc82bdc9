"""Tests that take long and seldom tell anything new: the nightly job runs them, with ``-m nightly``.

The mark is ``pytest.mark.nightly``. A run whose ``-m`` does not name it leaves them out.
"""

from __future__ import annotations

import re

import pytest

NAME = "nightly"


def register(config: pytest.Config) -> None:
    """Make the mark known, and leave its tests out unless the command line asks for them."""
    config.addinivalue_line("markers", f"{NAME}: takes long; only run with -m {NAME}")
    if not re.search(rf"\b{NAME}\b", config.option.markexpr):
        config.pluginmanager.register(LeaveOut(), "nightly tests are left out")


class LeaveOut:
    """Plugin: deselects the tests that have the mark."""

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        left_out = [item for item in items if item.get_closest_marker(NAME)]
        if left_out:
            config.hook.pytest_deselected(items=left_out)
            items[:] = [item for item in items if not item.get_closest_marker(NAME)]
