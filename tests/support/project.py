"""A project to run pytest in, and what is in it: an inventory, suites, checks."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path

import pytest

INVENTORY = """
[targets.fake-amd]
driver = "fake"
vendor = "amd"
cpus = 2

[targets.fake-intel]
driver = "fake"
vendor = "intel"
cpus = 4
"""

SUITE = """
suite: A suite for the plugin's own tests
area: exits
cite: {doc: intel-sdm, title: CPUID, says: "The CPUID instruction clears the upper halves."}
checks:
"""


class Project:
    """A project with an inventory, a hypervisor and suites, in a directory of its own."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self.pytester = pytester
        self.path = pytester.path
        (self.path / "targets").mkdir()
        (self.path / "hypervisor").mkdir()
        (self.path / "hypervisor" / "subject.mk").write_text("")
        (self.path / "hypervisor" / "veneer.toml").write_text(
            'name = "veneer"\ntitle = "Veneer"\n[claims]\nnested = "hidden"\ncounters = true\n'
            'unloadable = true\n[deploy.bare]\ndirectory = "."\n'
        )
        self.inventory(INVENTORY)
        self.file("pyproject.toml", "[tool.pytest]\nstrict = true\nfilterwarnings = ['error']\n")
        self.file("conftest.py", "pytest_plugins = ['touchstone.pytest_plugin.fixtures']\n")

    def file(self, name: str, text: str) -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def inventory(self, text: str) -> None:
        self.file("targets/inventory.toml", text)

    def suite(self, checks: str, name: str = "suite.yaml", head: str = SUITE) -> Path:
        return self.file(name, head.lstrip() + checks)

    def run(
        self, *arguments: str, target: str | None = "fake-amd", process: bool = False
    ) -> pytest.RunResult:
        """Run pytest, in a process of its own where that matters."""
        words = [
            "-p",
            "tests.support.fake_target",
            "-p",
            "no:hypothesispytest",
            *([] if "cacheprovider" in arguments else ["-p", "no:cacheprovider"]),
            *arguments,
        ]
        words = [*plugin_option(), *words]
        if target is not None:
            words.append(f"--target={target}")
        if process:
            return self.pytester.runpytest_subprocess(*words, timeout=600)
        return self.pytester.runpytest_inprocess(*words)

    def options(self, **options: str) -> None:
        """Give the target fake-amd options, and a journal."""
        options.setdefault("journal", str(self.path / "journal"))
        lines = "".join(f"{key} = {value!r}\n" for key, value in options.items())
        self.inventory(INVENTORY.replace("cpus = 2\n", f"cpus = 2\n{lines}"))

    def journal(self) -> list[str]:
        path = self.path / "journal"
        return path.read_text().splitlines() if path.exists() else []


def plugin_option() -> list[str]:
    """What makes pytest load the plugin where it is not installed."""
    installed = any(point.name == "touchstone" for point in entry_points(group="pytest11"))
    return [] if installed else ["-p", "touchstone.plugin"]


def check(name: str, run: str, expect: str, **more: str) -> str:
    """The lines of one check."""
    lines = [f"  - id: exits.{name}", f"    title: Check {name}"]
    lines += [f"    {key}: {value}" for key, value in more.items()]
    lines += [f"    run: {run}", f"    expect: {expect}"]
    return "\n".join(lines) + "\n"


def verdicts(result: pytest.RunResult) -> dict[str, str]:
    """Check to the word that -v shows."""
    found = {}
    for line in result.outlines:
        if line.startswith("suite.yaml::") and "[fake-amd] " in line:
            name, word = line.split("[fake-amd] ")[:2]
            found[name.rsplit(".", 1)[1]] = word.split()[0]
    return found
