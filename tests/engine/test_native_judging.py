"""Probes that harm the bare machine, checks that say nothing, and oracles of which one is missing."""

from __future__ import annotations

import pytest

from tests.support.project import Project, check, verdicts

PASSING = check("passing", "mov eax, 1", "{rax: 1}")
APIC_OFF = "{rcx: 0x1b}"
"""For a WRMSR that clears IA32_APIC_BASE, its enable bit included."""


def words(project: Project) -> list[str]:
    return [line.split()[1] for line in project.journal()]


def test_a_probe_that_changes_the_bare_machine_is_blamed_itself(project: Project) -> None:
    """Not the check behind it, which hangs because of it."""
    project.options()
    project.suite(
        check("before", "cpuid", "native")
        + check("breaks", "wrmsr", "native", given=APIC_OFF)
        + check("victim", "nop", "native", each="{on: [together]}")
        + PASSING
    )
    result = project.run("-v")
    assert verdicts(result) == {
        "before": "PASSED",
        "breaks": "INFRASTRUCTURE",
        "victim": "PASSED",
        "passing": "PASSED",
    }
    result.stdout.fnmatch_lines(
        [
            "fake-amd: it has no oracle: exits.breaks does not leave the bare machine as it was: "
            "IA32_APIC_BASE of CPU 0 was 0x800 and is 0x0"
        ]
    )
    # In bulk it hangs; one by one, only the reset behind the guilty probe is needed.
    assert words(project) == ["start", "autopsy", "reset", "reset", "load", "stop"]


def test_a_check_with_many_deadly_cases_does_not_kill_the_bare_machine_with_each(project: Project) -> None:
    project.options()
    project.suite(
        check("deadly", "hlt", "native", each="{on: [first], n: [1, 2, 3, 4, 5, 6, 7]}", given='{rax: "{n}"}')
        + PASSING
    )
    result = project.run("-v")
    assert verdicts(result)["passing"] == "PASSED"
    native = words(project)[: words(project).index("load")]
    assert native.count("autopsy") == 1 + 3  # all at once, and then one by one
    result.stdout.fnmatch_lines(["*does not survive on the bare machine*"])


def test_the_case_that_changes_the_bare_machine_is_named_and_the_others_are_judged(project: Project) -> None:
    """Nothing hangs: the change is seen at the end of the native phase."""
    project.options()
    project.suite(
        check(
            "writes",
            "wrmsr",
            "native",
            each="{on: [last], value: [0x800, 0x900]}",
            given='{rcx: 0x1b, rax: "{value}"}',
        )
        + PASSING
    )
    result = project.run("-v")
    assert verdicts(result) == {"writes": "INFRASTRUCTURE", "passing": "PASSED"}
    result.stdout.fnmatch_lines(
        [
            "fake-amd: on=last, value=0x900: it has no oracle: exits.writes (on=last, value=0x900) "
            "does not leave the bare machine as it was: IA32_APIC_BASE of CPU 1 was 0x800 and is 0x900"
        ]
    )
    assert words(project) == ["start", "reset", "reset", "load", "stop"]


def test_every_probe_that_changes_the_bare_machine_is_found(project: Project) -> None:
    project.suite(
        check("one", "wrmsr", "native", given=APIC_OFF)
        + check("kills", "hlt", "native")
        + check("two", "wrmsr", "native", given="{rcx: 0x277, rax: 5}")
        + check("works", "cpuid", "native")
    )
    result = project.run("-v")
    assert verdicts(result) == {
        "one": "INFRASTRUCTURE",
        "kills": "INFRASTRUCTURE",
        "two": "INFRASTRUCTURE",
        "works": "PASSED",
    }
    result.stdout.fnmatch_lines_random(
        [
            "fake-amd: *exits.one does not leave*IA32_APIC_BASE of CPU 0 was 0x800 and is 0x0",
            "fake-amd: *its probe does not survive on the bare machine*",
            "fake-amd: *exits.two does not leave*IA32_PAT of CPU 0 was 0x0 and is 0x5",
        ]
    )


def test_a_check_of_the_native_phase_is_blamed_for_what_it_leaves(project: Project) -> None:
    project.options()
    project.suite(
        check("native", "wrmsr", "{rax: 0}", given=APIC_OFF, phase="native", claims="true")
        + check("also", "nop", "{rax: 0}", each="{on: [together]}", phase="native")
        + check("loaded", "nop", "native", each="{on: [together]}")
    )
    result = project.run("-v")
    assert verdicts(result) == {"native": "INFRASTRUCTURE", "also": "PASSED", "loaded": "PASSED"}
    result.stdout.fnmatch_lines(
        [
            "fake-amd: it does not leave the bare machine as it was: "
            "IA32_APIC_BASE of CPU 0 was 0x800 and is 0x0"
        ]
    )
    assert words(project) == ["start", "reset", "load", "stop"]


@pytest.mark.parametrize("body", ["ud2", "|\n      nop\n      ud2\n      mov eax, 1"])
@pytest.mark.parametrize("expect", ["native", "{native: true, rflags: unchanged}"])
def test_a_body_that_faults_where_no_exception_was_named_is_vacuous(
    project: Project, body: str, expect: str
) -> None:
    project.suite(check("early", body, expect) + PASSING)
    result = project.run("-v")
    assert verdicts(result) == {"early": "INFRASTRUCTURE", "passing": "PASSED"}
    at = "start" if body == "ud2" else "start+0x1"
    result.stdout.fnmatch_lines(
        [
            f"fake-amd: vacuous: the body ends in [#]UD at {at} on CPU 0, *too; *exception: native*",
            "*-> +0x00*ud2*<- [#]UD",
            "again: *",
        ]
    )


@pytest.mark.parametrize("exception", ["native", '"#UD"'])
def test_a_body_that_faults_as_it_should_is_not_vacuous(project: Project, exception: str) -> None:
    project.suite(check("fault", "ud2", f"{{native: true, exception: {exception}}}"))
    assert verdicts(project.run("-v")) == {"fault": "PASSED"}


def test_exception_native_takes_no_exception_as_well(project: Project) -> None:
    project.suite(check("native-exception", "nop", "{exception: native, rax: 0}"))
    assert verdicts(project.run("-v")) == {"native-exception": "PASSED"}


def test_a_vacuous_case_is_named(project: Project) -> None:
    project.suite(check("cases", "rdmsr", "native", each="{msr: [0x1b, 0x40000000]}", given='{rcx: "{msr}"}'))
    result = project.run("-v")
    assert verdicts(result) == {"cases": "INFRASTRUCTURE"}
    result.stdout.fnmatch_lines(
        ["fake-amd: msr=0x40000000: vacuous: the body ends in [#]GP(0x0) at start on CPU 0*"]
    )


@pytest.mark.parametrize(
    ("expect", "verdict"),
    [("native", "INFRASTRUCTURE"), ("{native: true, ebx: 7}", "FAILED")],
    ids=["the others hold", "another deviates"],
)
def test_one_case_without_an_oracle_does_not_take_the_verdict_of_the_others(
    project: Project, expect: str, verdict: str
) -> None:
    project.suite(
        check(
            "cases",
            "|\n      mov eax, 1\n      .byte {code}",
            expect,
            each="{code: [0xf4, 0x90]}",
            claims="true",
        )
    )
    result = project.run("-v")
    assert verdicts(result) == {"cases": verdict}
    if verdict == "FAILED":
        result.stdout.fnmatch_lines(
            ["fake-amd: code=0x90: CPU 0: ebx: *; not judged: code=0xf4: it has no oracle: *"]
        )
    else:
        result.stdout.fnmatch_lines(["fake-amd: code=0xf4: it has no oracle: its probe does not survive*"])
