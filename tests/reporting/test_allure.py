"""What a reader of the report gets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.project import INVENTORY, Project, check
from tests.support.requirement_texts import requirements
from touchstone.reporting.html import read_results


class Results:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.all: list[dict[str, Any]] = [
            json.loads(path.read_text()) for path in sorted(directory.glob("*-result.json"))
        ]

    def one(self, check_id: str, target: str = "fake-amd") -> dict[str, Any]:
        (found,) = [
            one
            for one in self.all
            if one["fullName"] == check_id and self.parameters(one)["target"] == target
        ]
        return found

    @staticmethod
    def parameters(result: dict[str, Any]) -> dict[str, str]:
        return {one["name"]: one["value"] for one in result["parameters"]}

    @staticmethod
    def labels(result: dict[str, Any]) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for one in result["labels"]:
            found.setdefault(one["name"], []).append(one["value"])
        return found

    def attachments(self, result: dict[str, Any]) -> dict[str, str]:
        return {
            one["name"]: (self.directory / one["source"]).read_text() for one in result.get("attachments", [])
        }


def run(project: Project, *words: str, target: str = "all") -> Results:
    project.run("--alluredir=results", *words, target=target)
    return Results(project.path / "results")


def test_each_target_has_its_own_result(project: Project) -> None:
    project.suite(check("same", "nop", "{rax: 0}"))
    found = run(project)
    amd, intel = found.one("exits.same"), found.one("exits.same", "fake-intel")
    assert amd["testCaseId"] == intel["testCaseId"]
    assert amd["historyId"] != intel["historyId"]
    project.file("deeper/suite.yaml", (project.path / "suite.yaml").read_text())
    (project.path / "suite.yaml").unlink()
    again = run(project)
    assert {one["historyId"] for one in again.all} == {amd["historyId"], intel["historyId"]}, "a moved suite"


def test_result_of_a_check(project: Project) -> None:
    project.file("conformance/requirements.yaml", requirements("need"))
    project.suite(
        check("good", "nop", "{rax: 0}", level="should", tags="[mine]", proves="[need]", each="{cpl: [0, 3]}")
        + check("wrong", "mov eax, 1", "{rax: 2}", each="{on: [every-cpu]}", claims="true")
        + check("dies", "invd", "{rax: 0}")
        + check("many", "nop", "{rax: 0}", requires="cpus >= 4")
        + check("link", "int1", "{rax: 0}", claims="true")
        + check("known", "ud2", "{rax: 0}", claims="true")
        + check("better", "nop", "{rax: 0}")
    )
    project.inventory(
        INVENTORY
        + "".join(
            f'[[targets.fake-amd.known-deviations]]\ncheck = "exits.{name}"\nreason = "bug 7"\n'
            'link = "https://bugs.example/7"\n'
            for name in ("known", "better")
        )
    )
    found = run(project, target="fake-amd")
    assert len(found.all) == 7

    good = found.one("exits.good")
    assert good["status"] == "passed"
    assert good["name"] == "Check good"
    assert found.parameters(good) == {"target": "fake-amd", "phase": "loaded", "subject": "veneer"}
    labels = found.labels(good)
    assert labels["tag"] == ["conformant", "mine"]
    expected = {
        "epic": "Veneer",
        "feature": "exits",
        "story": "need",
        "severity": "normal",
        "parentSuite": "fake-amd",
        "suite": "exits",
        "subSuite": "suite.yaml",
        "host": "fake-amd",
        "target": "fake-amd",
        "verdict": "conformant",
        "framework": "pytest",
    }
    assert {name: labels[name] for name in expected} == {name: [value] for name, value in expected.items()}
    assert "steps" not in good, "the description has each case"
    assert "cpl=0" in good["description"]
    assert "cpl=3" in good["description"]
    assert "> The CPUID instruction clears the upper halves." in good["description"]
    assert "- id: exits.good" in good["description"]
    assert good["links"] == [{"type": "link", "url": "https://www.intel.com/sdm", "name": "intel-sdm: CPUID"}]
    assert "+0x000  90  nop" in good["description"]
    assert "| measured |" not in good["description"]
    assert "attachments" not in good

    wrong = found.one("exits.wrong")
    assert wrong["status"] == "failed"
    details = wrong["statusDetails"]
    assert details["message"].startswith("deviation: CPU 0: rax: expected 0x2, measured 0x1")
    assert not {"expected", "actual"} & details.keys(), "Allure shows the measured value in green"
    assert "|  | 0, 1 | rax | 0x2 | 0x1 | 1:0 |\n" in wrong["description"], "alike on both CPUs"
    assert "intel-sdm, CPUID" in details["trace"]
    assert [step["name"] for step in wrong["steps"][0]["steps"]] == [
        "CPU 0: no exception",
        "CPU 1: no exception",
    ]
    evidence = found.attachments(wrong)
    assert "!!  rax" in evidence["probe, expected and measured"]
    assert evidence["last exits of CPU 0"] == "cpuid rip=0x100002 info=0x0\n"

    dies = found.one("exits.dies")
    assert dies["status"] == "failed"
    assert dies["statusDetails"]["message"] == "crash: guest triple fault (fake)"
    assert "svm/exit.c:88" in found.attachments(dies)["autopsy"]

    status = {
        "many": ("skipped", "unsupported: needs cpus >= 4, fake-amd has 2"),
        "link": ("broken", "infrastructure: the link to the fake machine broke"),
        "known": ("skipped", "known-deviation: bug 7 (*"),
        "better": ("failed", "improved: it holds now*"),
    }
    for name, (state, message) in status.items():
        one = found.one(f"exits.{name}")
        assert one["status"] == state, name
        assert one["statusDetails"]["message"].startswith(message.rstrip("*")), name
    assert {"type": "issue", "url": "https://bugs.example/7", "name": "bug 7"} in found.one("exits.known")[
        "links"
    ]

    categories = json.loads((project.path / "results" / "categories.json").read_text())
    assert [one["name"] for one in categories][:3] == ["deviation", "crash", "hang"]
    environment = (project.path / "results" / "environment.properties").read_text()
    assert "hypervisor=veneer\n" in environment
    assert "fake-amd=Fake CPU @ 1.00GHz (amd), 2 CPUs" in environment


def test_python_check_and_plain_test(project: Project) -> None:
    project.file(
        "test_checks.py",
        "import pytest\n"
        "@pytest.mark.touchstone(id='exits.python', title='A Python check', area='exits',\n"
        "    cite={'doc': 'amd-apm', 'title': 't', 'says': 'It says so.'})\n"
        "def test_python(probe):\n    probe('mov ecx, 5')\n    assert False, 'no'\n"
        "def test_plain(): pass\n",
    )
    found = run(project, target="fake-amd")
    one = found.one("exits.python")
    assert (one["name"], one["status"]) == ("A Python check", "failed")
    assert "```python" in one["description"]
    assert "mov ecx, 5" in found.attachments(one)["probe, expected and measured"]
    (plain,) = [one for one in found.all if one["fullName"].endswith("#test_plain")]
    assert plain["name"] == "test_plain"
    assert "target" not in found.labels(plain)


def test_parameters_of_a_python_check_are_entries_of_their_own(project: Project) -> None:
    """Allure takes entries with the same identity for attempts of one test, and shows the last."""
    project.file(
        "test_checks.py",
        "import pytest\n"
        "@pytest.mark.parametrize('size', [-2, 2])\n"
        "@pytest.mark.touchstone(id='exits.sizes', title='Sizes', area='exits',\n"
        "    cite={'doc': 'amd-apm', 'title': 't', 'says': 'It says so.'})\n"
        "def test_sizes(target, size):\n    assert size == 2\n",
    )
    found = run(project, target="fake-amd")
    assert {one["fullName"]: one["status"] for one in found.all} == {
        "exits.sizes[-2]": "failed",
        "exits.sizes[2]": "passed",
    }
    assert len({one["testCaseId"] for one in found.all}) == 2
    assert sorted(one["name"] for one in found.all) == ["Sizes[-2]", "Sizes[2]"]


def test_suite_outside_of_the_project(project: Project, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Such as Touchstone's own, where it is installed: no label without a value, which no report can read."""
    suite = project.suite(check("far", "nop", "{rax: 0}"))
    elsewhere = suite.rename(tmp_path_factory.mktemp("elsewhere") / "suite.yaml")
    results = run(project, "--rootdir=.", "-c", "pyproject.toml", str(elsewhere), target="fake-amd")
    assert all(label.get("value") for label in results.one("exits.far")["labels"])
    assert read_results([results.directory]).count == 1
