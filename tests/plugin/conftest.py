from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from project import Project

from touchstone.engine import progress

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

# Runs in this process forget what they import; what can be imported only once is imported before them.
pytest.register_assert_rewrite("fake_target")
for name in ("fake_target", "touchstone.pytest_plugin.python_checks", "touchstone.reporting.allure"):
    importlib.import_module(name)


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("PYTHONPATH", f"{HERE}:{ROOT / 'plugins'}")
    monkeypatch.setenv("COLUMNS", "160")
    # However slow the machine is: no line of progress between the words of a verdict.
    monkeypatch.setattr(progress, "PATIENCE", 3600.0)
    monkeypatch.syspath_prepend(str(HERE))
    return Project(pytester)
