"""Commands that are printed can be run where their reader stands: where the run was started."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.project import Project, check
from touchstone.reporting.commands import command, node_path
from touchstone.shipped import checkout


@pytest.mark.parametrize("start", [".", "conformance", "conformance/exits", "elsewhere"])
def test_again_is_the_same_check(project: Project, start: str, monkeypatch: pytest.MonkeyPatch) -> None:
    checks = check("wrong", "mov eax, 1", "{rax: 2}", claims="true") + check("right", "nop", "{rax: 0}")
    suite = project.suite(checks, "conformance/exits/suite.yaml")
    (project.path / "elsewhere").mkdir()
    monkeypatch.chdir(project.path / start)
    first = project.run(str(suite))
    first.assert_outcomes(failed=1, passed=1)
    (again,) = re.findall(r"^again: pytest (.+)$", first.stdout.str(), re.MULTILINE)
    assert not Path(again.strip("'")).is_absolute() or start == "elsewhere"
    project.run(*shlex.split(again), target=None).assert_outcomes(failed=1)


@pytest.mark.parametrize(
    ("start", "before", "node"),
    [
        ("", "./bootstrap", "{root}/../suites/a.yaml::exits.one[box]"),
        ("docs/nightly", "../../bootstrap", "{root}/../suites/a.yaml::exits.one[box]"),
        ("../suites", "{root}/bootstrap", "a.yaml::exits.one[box]"),
    ],
)
def test_a_suite_beside_the_checkout(start: str, before: str, node: str) -> None:
    root = checkout()
    assert root is not None
    config: Any = SimpleNamespace(
        rootpath=root, invocation_params=SimpleNamespace(dir=(root / start).resolve())
    )
    item: Any = SimpleNamespace(
        path=root.parent / "suites" / "a.yaml", nodeid="../suites/a.yaml::exits.one[box]"
    )
    assert node_path(config, item) == str(node.format(root=root)).replace(f"{root}/..", str(root.parent))
    assert command(config, ["pytest"]) == f"{before.format(root=root)} pytest"
