"""What JUnit XML says of a run as a whole: its properties of the test suite."""

from __future__ import annotations

import pytest

from touchstone.journal.read import Journal
from touchstone.reporting.properties import suite_properties


def add_suite_properties(config: pytest.Config, journal: Journal | None) -> None:
    """Add what was tested to the XML that pytest is about to write, if it writes any.

    The fixture ``record_testsuite_property`` does so in workers of xdist too, where no XML is written.
    """
    if journal is None:
        return
    for plugin in config.pluginmanager.get_plugins():
        add = getattr(plugin, "add_global_property", None)
        if callable(add):
            for name, value in suite_properties(journal):
                add(name, value)
