"""What a subject does not offer is not demanded of it."""

from __future__ import annotations

import pytest

from tests.support.project import Project, check, verdicts

SUBJECT = 'name = "modest"\ntitle = "Modest"\n[claims]\nnested = "hidden"\n[deploy.bare]\ndirectory = "."\n'
COUNTED = check("counted", "cpuid", "{exits: {cpuid: 1}}")
SIGNED = check("signed", "cpuid", "{ebx: claim.cpuid-signature.ebx}", given="{rax: 0x40000000}")
AFTER = check("after", "nop", "{rax: 0}", phase="unloaded")
PASSING = check("passing", "nop", "{rax: 0}")


@pytest.fixture
def modest(project: Project) -> Project:
    project.options()
    project.file("hypervisor/modest.toml", SUBJECT)
    return project


def test_checks_of_what_is_not_claimed_are_unsupported(modest: Project) -> None:
    modest.suite(COUNTED + SIGNED + AFTER + PASSING)
    result = modest.run("-v", "-rs", "--hypervisor=modest")
    assert verdicts(result) == {
        "counted": "SKIPPED",
        "signed": "SKIPPED",
        "after": "SKIPPED",
        "passing": "PASSED",
    }
    result.stdout.fnmatch_lines_random(
        [
            "*needs subject.counters, and modest does not claim counters",
            "*needs subject.cpuid-signature.ebx != false, and modest does not claim cpuid-signature.ebx",
            "*needs subject.unloadable, and modest does not claim unloadable",
        ]
    )
    assert [line.split()[1] for line in modest.journal()] == ["start", "load", "stop"]


def test_the_bare_machine_fails_them(modest: Project) -> None:
    modest.suite(COUNTED + SIGNED + AFTER)
    result = modest.run("-v", "--hypervisor=none")
    assert verdicts(result) == {"counted": "FAILED", "signed": "FAILED", "after": "PASSED"}


def test_a_python_check_that_unloads_is_unsupported(modest: Project) -> None:
    modest.file(
        "test_checks.py",
        "import pytest\n"
        "@pytest.mark.touchstone(id='exits.unloads', title='t', area='exits',"
        " cite={'doc': 'd', 'title': 't', 'says': 's'})\n"
        "def test_unloads(target):\n    target.unload()\n",
    )
    result = modest.run("-rs", "--hypervisor=modest")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*needs subject.unloadable, and modest does not claim unloadable"])
    modest.run("--hypervisor=veneer").assert_outcomes(passed=1)


def test_a_suite_that_requires_what_nobody_can_claim_is_an_error(modest: Project) -> None:
    modest.suite(check("wrong", "nop", "{rax: 0}", requires="subject.nestd == hidden"))
    modest.file(
        "test_checks.py",
        "import pytest\n"
        "@pytest.mark.touchstone(id='exits.python', title='t', area='exits', requires='subject.contours',"
        " cite={'doc': 'd', 'title': 't', 'says': 's'})\n"
        "def test_python(target):\n    pass\n",
    )
    modest.run().stdout.fnmatch_lines(
        [
            "suite.yaml:7:15: requires: there is no claim 'nestd' (did you mean 'nested'[?]). *",
            "*touchstone mark: requires: there is no claim 'contours' (did you mean 'counters'[?]). *",
        ]
    )


def test_a_claim_of_ones_own(modest: Project) -> None:
    modest.file("hypervisor/modest.toml", SUBJECT.replace("[deploy", "[claims.own]\nfast = true\n[deploy"))
    modest.suite(check("mine", "nop", "{rax: 0}", requires="subject.own.fast") + PASSING)
    assert verdicts(modest.run("-v", "--hypervisor=modest")) == {"mine": "PASSED", "passing": "PASSED"}
    assert verdicts(modest.run("-v")) == {"mine": "SKIPPED", "passing": "PASSED"}


def test_a_counter_that_the_subject_does_not_have(project: Project) -> None:
    project.suite(check("invd", "nop", "{rax: 0, exits: {invd: 0}}") + COUNTED)
    result = project.run("-v", "-rs")
    assert verdicts(result) == {"invd": "SKIPPED", "counted": "PASSED"}
    result.stdout.fnmatch_lines(["*veneer counts no exits as invd"])


def test_a_counter_that_nothing_has_is_an_error(project: Project) -> None:
    project.suite(check("wrong", "nop", "{exits: {cpiud: 1}}"))
    project.run().stdout.fnmatch_lines(
        ["suite.yaml:*: there is no exit counter 'cpiud' (did you mean 'cpuid'[?])"]
    )
