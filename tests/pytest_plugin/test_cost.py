"""What the plugin imports in runs without checks, and that it uses public pytest API only."""

from __future__ import annotations

import gc
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.project import Project, plugin_option
from touchstone.garbage import YOUNG

PACKAGE = Path(__file__).parents[2] / "plugins" / "touchstone"
HEAVY = (
    "yaml",
    "paramiko",
    "qemu",
    "elftools",
    "iced_x86",
    "filelock",
    "touchstone.suite",
    "touchstone.drivers",
)

UNRELATED = """
import sys
import pytest

class Spy:
    def pytest_unconfigure(self, config):
        print("LOADED", " ".join(sorted(sys.modules)))

sys.exit(pytest.main(["-q", "-p", "no:hypothesispytest", *sys.argv[1:]], plugins=[Spy()]))
"""


def test_unrelated_run_imports_nothing(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(PACKAGE.parent))
    pytester.makepyfile(test_plain="def test_plain(): pass\n")
    pytester.makefile(".yaml", notes="a: 1\n")
    done = subprocess.run(
        [sys.executable, "-c", UNRELATED, *plugin_option()],
        capture_output=True,
        text=True,
        cwd=pytester.path,
        check=True,
    )
    loaded = next(line for line in done.stdout.splitlines() if line.startswith("LOADED")).split()[1:]
    assert "touchstone.plugin" in loaded
    ours = [name for name in loaded if name.startswith("touchstone")]
    light = (
        "garbage",
        "plugin",
        "pytest_plugin",
        "pytest_plugin.newhooks",
        "pytest_plugin.options",
        "pytest_plugin.sniff",
        "shipped",
        "suite",
        "suite.statement_files",
        "words",
    )
    assert ours == ["touchstone", *(f"touchstone.{name}" for name in light)]
    assert [name for name in loaded if name.split(".")[0] in HEAVY] == []


def test_public_api_only() -> None:
    private = re.compile(r"\b_pytest\b")
    found = [str(path) for path in PACKAGE.rglob("*.py") if private.search(path.read_text())]
    assert found == []


GARBAGE = """
import gc

def pytest_itemcollected(item):
    print("while collecting", item.name, gc.isenabled())

def pytest_runtest_setup(item):
    print("while running", item.name, gc.isenabled(), gc.get_threshold()[0])
"""


@pytest.mark.parametrize(("target", "collecting"), [("fake-amd", False), (None, True)])
def test_checks_are_collected_without_collecting_garbage(
    project: Project, target: str | None, collecting: bool
) -> None:
    project.file("conftest.py", f"pytest_plugins = ['touchstone.pytest_plugin.fixtures']\n{GARBAGE}")
    project.file("test_plain.py", "def test_plain(): pass\n")
    shown = project.run("-s", "test_plain.py", target=target).outlines
    assert f"while collecting test_plain {collecting}" in shown
    young = YOUNG if target else gc.get_threshold()[0]
    assert any(f"while running test_plain True {young}" in line for line in shown)
    assert gc.get_threshold()[0] != YOUNG
