"""Several targets at once: one worker each, and a result for the check whose worker died."""

from __future__ import annotations

import json
from typing import Any

from tests.support.project import INVENTORY, Project, check
from touchstone.journal.read import read_journal

FIVE = "".join(check(f"c{n}", "nop", "{rax: 0}") for n in range(5))


def results(project: Project) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in (project.path / "results").glob("*-result.json")]


def test_auto_is_one_worker_per_target(project: Project) -> None:
    project.inventory(INVENTORY.replace("\ncpus", f'\njournal = "{project.path / "journal"}"\ncpus'))
    project.suite(FIVE)
    result = project.run("-n", "auto", "--alluredir=results", target="all", process=True)
    result.assert_outcomes(passed=10)
    result.stdout.fnmatch_lines(
        [
            "created: 2/2 workers",
            "fake-amd: Fake CPU*Veneer 0.1 on 2 of 2 CPUs",
            "fake-intel: Fake CPU*Veneer 0.1 on 4 of 4 CPUs",
            "*fake-amd *fake-intel*",
            "exits  5 conformant  5 conformant*",
        ]
    )
    assert sorted(project.journal()) == sorted(
        f"{name} {word}" for name in ("fake-amd", "fake-intel") for word in ("start", "load", "stop")
    )
    assert len(results(project)) == 10


def test_target_with_instances_is_split_over_workers(project: Project) -> None:
    """The verdicts are the same, on the same target; a worker that dies costs its own check."""
    more = f'\njournal = "{project.path / "journal"}"\ninstances = 2\ncpus'
    project.inventory(INVENTORY.split("[targets.fake-intel]")[0].replace("\ncpus", more))
    project.suite(check("dies", "emms", "{rax: 0}", claims="true") + FIVE)
    result = project.run("-n", "auto", "--journal=j", target="all", process=True)
    result.stdout.fnmatch_lines(["created: 2/2 workers"])
    result.assert_outcomes(passed=5, errors=1)
    journal = read_journal(project.path / "j")
    assert {str(key): line.verdict.value for key, line in journal.judged.items()} == {
        "exits.dies[fake-amd]": "infrastructure",
        **{f"exits.c{n}[fake-amd]": "conformant" for n in range(5)},
    }
    assert project.journal().count("fake-amd start") >= 2, "two machines"


def test_worker_that_dies_costs_one_check(project: Project) -> None:
    project.suite(FIVE + check("dies", "emms", "{rax: 0}", claims="true") + check("last", "nop", "{rax: 0}"))
    (project.path / "results").mkdir()
    (project.path / "results" / "old-result.json").write_text("{}")
    result = project.run(
        "-n", "auto", "-v", "--alluredir=results", "--clean-alluredir", target="all", process=True
    )
    result.assert_outcomes(passed=12, errors=2)
    result.stdout.fnmatch_lines_random(
        [
            "*INFRASTRUCTURE suite.yaml::exits.dies*",
            "exits  6 conformant, 1 infrastructure  6 conformant, 1 infrastructure*",
            "worker * crashed while running 'suite.yaml::exits.dies[[]fake-amd[]]'",
        ]
    )
    found = results(project)
    assert len(found) == 14, "no result is lost, none is doubled, the old one is gone"
    assert len({one["historyId"] for one in found}) == 14
    dead = [one for one in found if one["testCaseId"] == found_case(found, "exits.dies")]
    assert {one["status"] for one in dead} == {"broken"}
    assert {label["value"] for one in dead for label in one["labels"] if label["name"] == "verdict"} == {
        "infrastructure"
    }
    assert (project.path / "results" / "environment.properties").exists()


def found_case(found: list[dict[str, Any]], check_id: str) -> str:
    return next(str(one["testCaseId"]) for one in found if one["fullName"] == check_id)


def test_more_workers_than_targets(project: Project) -> None:
    project.suite(FIVE)
    project.file("test_plain.py", "def test_plain(): pass\n")
    result = project.run("-n", "3", process=True)
    result.assert_outcomes(passed=6)


def test_broken_suite_stops_all_workers(project: Project) -> None:
    project.suite(FIVE.replace("nop", "frobnicate"))
    result = project.run("-n", "2", target="all", process=True)
    result.stdout.fnmatch_lines(["*suite.yaml:7:10: the assembler says: *frobnicate*"])
    assert result.parseoutcomes() == {"errors": 1}
