"""Names of what does not exist are errors, or are said in the summary, with what was meant."""

from __future__ import annotations

import datetime

import pytest

from tests.support.project import INVENTORY, Project, check

ENTRIES = """
[[targets.fake-amd.known-deviations]]
check = "exits.pasing"
reason = "bug 7"

[[targets.fake-amd.unsupported]]
check = "exits.un*"
reason = "bug 8"

[[targets.fake-amd.known-deviations]]
check = "exits.pass*"
reason = "bug 9"
until = 2020-01-01
"""
PASSING = check("passing", "nop", "{rax: 0}")


def test_a_requirement_of_a_target_or_driver_that_nothing_has(project: Project) -> None:
    project.suite(
        check("target", "nop", "{rax: 0}", requires="target != fake-amd or target == fake-arm")
        + check("driver", "nop", "{rax: 0}", requires="driver in (qemu, boks)")
        + PASSING
    )
    project.file(
        "test_checks.py",
        "import pytest\n"
        "@pytest.mark.touchstone(id='exits.python', title='t', area='exits', requires='target == fake-ant',"
        " cite={'doc': 'd', 'title': 't', 'says': 's'})\n"
        "def test_python(target):\n    pass\n",
    )
    project.run().stdout.fnmatch_lines(
        [
            "suite.yaml:7:15: requires: there is no target 'fake-arm' in targets/inventory.toml; "
            "did you mean fake-amd[?]",
            "suite.yaml:12:15: requires: there is no driver 'boks'; did you mean bochs[?]",
            "*touchstone mark: requires: there is no target 'fake-ant' in targets/inventory.toml; *",
        ]
    )


@pytest.mark.parametrize("workers", [(), ("-n1",)], ids=["alone", "xdist"])
def test_entries_that_are_about_no_check(project: Project, workers: tuple[str, ...]) -> None:
    project.inventory(INVENTORY + ENTRIES)
    path = project.path / "hypervisor" / "veneer.toml"
    path.write_text(path.read_text() + '[[known-deviations]]\ncheck = "nested.*"\nreason = "x"\n')
    project.file("pyproject.toml", "[tool.pytest]\ntestpaths = ['suites']\n")
    project.suite(PASSING, "suites/suite.yaml")
    result = project.run(*workers, process=bool(workers))
    result.stdout.fnmatch_lines(
        [
            "targets/inventory.toml:12: there is no check 'exits.pasing'; did you mean exits.passing[?]",
            "targets/inventory.toml:16: there is no check 'exits.un[*]'*",
            "hypervisor/veneer.toml:9: there is no check 'nested.[*]'",
        ]
    )
    result.stdout.no_fnmatch_line("*there is no check 'exits.pass[*]'*")


def test_a_run_that_requires_its_targets_requires_the_checks_of_known_deviations(project: Project) -> None:
    project.inventory(INVENTORY + ENTRIES.split("\n\n", maxsplit=1)[0] + "\n")
    project.file("pyproject.toml", "[tool.pytest]\ntestpaths = ['suites']\n")
    project.suite(PASSING, "suites/suite.yaml")
    assert project.run().ret == 0
    assert project.run("--require-targets").ret == 11
    assert project.run("--require-targets", "--ignore=suites/of-others.yaml").ret == 0


def test_a_run_of_some_suites_says_nothing_of_the_others(project: Project) -> None:
    project.inventory(INVENTORY + ENTRIES)
    project.suite(PASSING)
    project.run("suite.yaml").stdout.no_fnmatch_line("*there is no check*")


def test_end_of_a_known_deviation_is_announced(project: Project) -> None:
    day = datetime.date.today() + datetime.timedelta(3)
    path = project.path / "hypervisor" / "veneer.toml"
    path.write_text(
        f'{path.read_text()}[[known-deviations]]\ncheck = "exits.wrong"\nreason = "r"\nuntil = {day}\n'
    )
    project.suite(check("wrong", "nop", "{rax: 1}", claims="true"))
    result = project.run()
    result.assert_outcomes(xfailed=1)
    result.stdout.fnmatch_lines(
        [f"hypervisor/veneer.toml:9: the known deviation exits.wrong ends on {day}, in 3 days*"]
    )
