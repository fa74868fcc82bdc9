"""Who is blamed for what does not hold: the bare machine is asked the same, and its answer decides."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.fake_target import FakeDriver
from tests.support.project import Project, check, verdicts

MACHINE = check("machine", "mov eax, 1", "{rax: 2}")
"""No machine does this."""
HIDDEN = check("hidden", "cpuid", "{ecx: 0}", given="{rax: 1}")
"""The fake CPU sets a bit here, and the subject another one."""
SHOWN = check("shown", "cpuid", "{ebx: 0x656e6556}", given="{rax: 0x40000000}")
"""True only under the subject, and no claim."""
PASSING = check("passing", "mov eax, 1", "{rax: 1}")


def waive(project: Project, check_id: str, more: str = "") -> None:
    entry = f'\n[[targets.fake-amd.known-deviations]]\ncheck = "{check_id}"\nreason = "bug 7"\n{more}\n'
    path = project.path / "targets" / "inventory.toml"
    path.write_text(path.read_text() + entry)


def test_what_the_bare_machine_breaks_in_the_same_way_fails_nobody(project: Project) -> None:
    project.options()
    project.suite(MACHINE + PASSING)
    result = project.run("-v", "-rx")
    assert result.ret == 0
    assert verdicts(result) == {"machine": "MACHINE", "passing": "PASSED"}
    result.assert_outcomes(passed=1, xfailed=1)
    result.stdout.fnmatch_lines(
        [
            "exits  1 conformant, 1 machine*",
            "fake-amd: the bare machine itself does not hold these, and the inventory does not list them*",
            "    exits.machine",
            "MACHINE suite.yaml::exits.machine*rax: expected 0x2, measured 0x1, as on the bare machine",
        ]
    )
    assert [line.split()[1] for line in project.journal()] == ["start", "load", "stop"]


def test_the_machine_is_held_to_a_claim_that_is_of_machines_too(project: Project) -> None:
    """Of MSRs that no processor has, an emulated one may have some; the bare machine has no exits."""
    project.options()
    subject = project.path / "hypervisor" / "veneer.toml"
    claims = '[claims]\nsynthetic-msrs = "none"\nfew-exits = true\n'
    subject.write_text(subject.read_text().replace("[claims]\n", claims))
    project.suite(
        MACHINE.replace("run:", "requires: subject.synthetic-msrs == none\n    run:")
        + MACHINE.replace("machine", "named").replace(
            "run:", "requires: subject == none or cpus >= 1\n    run:"
        )
        + MACHINE.replace("machine", "exits").replace("run:", "requires: subject.few-exits\n    run:")
    )
    assert verdicts(project.run("-v")) == {
        "machine": "MACHINE",
        "named": "MACHINE",
        "exits": "FAILED",
    }


def test_what_is_listed_is_not_announced(project: Project) -> None:
    waive(project, "exits.machine")
    project.suite(MACHINE + PASSING)
    result = project.run("-v")
    assert verdicts(result)["machine"] == "MACHINE"
    result.stdout.no_fnmatch_line("*the inventory does not list*")


def test_what_is_no_longer_expected_is_announced(project: Project) -> None:
    waive(project, "exits.machine", "until = 2020-01-01")
    project.suite(MACHINE)
    result = project.run("-v")
    assert verdicts(result)["machine"] == "MACHINE"
    result.stdout.fnmatch_lines(["*the inventory does not list*", "    exits.machine"])


def test_on_the_bare_machine_what_is_not_listed_fails(project: Project) -> None:
    waive(project, "exits.listed")
    project.suite(MACHINE + MACHINE.replace("machine", "listed"))
    result = project.run("-v", "--hypervisor=none")
    assert verdicts(result) == {"machine": "FAILED", "listed": "KNOWN-DEVIATION"}


def test_the_subject_is_accused_of_what_the_bare_machine_breaks_in_another_way(project: Project) -> None:
    project.suite(HIDDEN)
    result = project.run("-v")
    assert verdicts(result) == {"hidden": "FAILED"}
    result.stdout.fnmatch_lines(
        ["fake-amd: CPU 0: ecx: expected 0x0, measured 0x84000000*", "    !!  ecx *0x84000000"]
    )


def test_of_two_differences_the_subject_is_accused_of_its_own(project: Project) -> None:
    project.suite(check("both", "cpuid", "{eax: 1, ecx: 0x4000000}", given="{rax: 1}"))
    result = project.run("-v")
    assert verdicts(result) == {"both": "FAILED"}
    result.stdout.fnmatch_lines(
        [
            "fake-amd: CPU 0: ecx: expected 0x4000000, measured 0x84000000*",
            "    mm  eax *0x800f12",
            "    !!  ecx *0x84000000",
            "    mm: the bare machine does the same",
        ]
    )


@pytest.mark.parametrize("waived", [False, True])
def test_what_holds_though_the_machine_breaks_it_is_conformant(project: Project, waived: bool) -> None:
    if waived:
        waive(project, "exits.shown")
    project.suite(SHOWN)
    assert verdicts(project.run("-v")) == {"shown": "PASSED"}


def test_a_known_deviation_that_the_bare_machine_no_longer_has_is_improved(project: Project) -> None:
    waive(project, "exits.passing")
    project.suite(PASSING)
    assert verdicts(project.run("-v")) == {"passing": "IMPROVED"}


def test_a_known_deviation_excuses_no_subject_of_what_the_machine_does_right(project: Project) -> None:
    waive(project, "exits.hidden")
    project.suite(check("hidden", "cpuid", "{ecx: 0x4000000}", given="{rax: 1}"))
    result = project.run("-v")
    assert verdicts(result) == {"hidden": "FAILED"}
    result.stdout.fnmatch_lines(
        ["not excused by the known deviation: bug 7*: the bare machine does otherwise"]
    )


def test_a_claim_is_not_asked_of_the_bare_machine(project: Project) -> None:
    project.options()
    project.suite(
        check("claimed", "hlt", "{rax: 1}", claims="true")
        + check("required", "hlt", "{rax: 1}", requires="subject.nested == hidden")
    )
    assert verdicts(project.run("-v")) == {"claimed": "CRASH", "required": "CRASH"}
    words = [line.split()[1] for line in project.journal()]
    assert words == ["start", "load", "autopsy", "reset", "load", "autopsy", "stop"]


def test_what_may_not_be_asked_without_a_hypervisor_is_not(project: Project) -> None:
    """Its requirement says so: INVD destroys what a real machine has in its caches."""
    project.options()
    project.suite(check("never", "hlt", "{rax: 1}", requires="subject != none or driver == qemu"))
    assert verdicts(project.run("-v")) == {"never": "CRASH"}


def test_a_subject_is_not_accused_of_a_machine_that_dies(project: Project) -> None:
    project.suite(check("dies", "hlt", "{rax: 1}") + PASSING)
    result = project.run("-v", "-rx")
    assert verdicts(result) == {"dies": "MACHINE", "passing": "PASSED"}
    result.stdout.fnmatch_lines(
        ["MACHINE *exits.dies*: the bare machine does not survive it either, in the same way"]
    )


def test_who_reports_the_end_in_words_of_his_own_is_not_accused_of_it(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a case that the bare machine survives is the subject's, whatever became of the others."""
    natively = ["no answer"] * 2  # with others, and alone
    ends = iter([*natively, "veneer: VM entry refused", "veneer: page fault in host mode"])
    reported = FakeDriver.autopsy
    monkeypatch.setattr(FakeDriver, "autopsy", lambda driver: replace(reported(driver), reason=next(ends)))
    project.suite(check("both", "hlt", "{rax: 1}") + check("own", "invd", "{rax: 1}"))
    result = project.run("-v", "-rx")
    assert verdicts(result) == {"both": "MACHINE", "own": "CRASH"}
    result.stdout.fnmatch_lines(
        [
            "MACHINE *exits.both* - veneer: VM entry refused: the bare machine does not survive it either,"
            " in another way: no answer"
        ]
    )


def test_in_the_native_phase_only_the_machine_is_there(project: Project) -> None:
    project.suite(MACHINE.replace("    run", "    phase: native\n    run"))
    assert verdicts(project.run("-v")) == {"machine": "MACHINE"}


def test_a_probe_that_ends_the_connection_costs_only_itself(project: Project) -> None:
    project.suite(check("link", "int1", "native") + check("native", "cpuid", "native") + PASSING)
    result = project.run("-v")
    assert verdicts(result) == {"link": "INFRASTRUCTURE", "native": "PASSED", "passing": "PASSED"}
    result.stdout.fnmatch_lines(["*its probe ends the connection to the bare machine*"])


def test_a_connection_that_always_ends_is_the_lab(project: Project) -> None:
    project.options()
    project.suite("".join(check(f"c{n}", "int1", "native") for n in range(5)))
    assert set(verdicts(project.run("-v")).values()) <= {"INFRASTRUCTURE", "BLOCKED"}
    assert len(project.journal()) < 20


def test_runxfail_shows_what_the_machine_breaks_in_full(project: Project) -> None:
    project.suite(MACHINE)
    result = project.run("--runxfail")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["    mm  rax *0x2 *0x1"])


OWN = """
[[known-deviations]]
check = "exits.hidden"
reason = "ticket 9"
owner = "alice"
"""


@pytest.mark.parametrize(
    ("more", "verdict"),
    [
        ("", "KNOWN-DEVIATION"),
        ('when = "vendor == amd and target == fake-amd"', "KNOWN-DEVIATION"),
        ('when = "vendor == intel"', "FAILED"),
        ('emulator = "< 10"', "FAILED"),
        ("until = 2020-01-01", "FAILED"),
    ],
)
def test_a_known_deviation_of_the_subject(project: Project, more: str, verdict: str) -> None:
    """The emulator's version is not known."""
    path = project.path / "hypervisor" / "veneer.toml"
    path.write_text(path.read_text() + OWN + more)
    project.suite(HIDDEN)
    result = project.run("-v", "-rx")
    assert verdicts(result) == {"hidden": verdict}
    if verdict == "KNOWN-DEVIATION":
        result.stdout.fnmatch_lines(["KNOWN-DEVIATION * ticket 9 (hypervisor/veneer.toml:*), owner alice"])


def test_a_known_deviation_of_the_subject_that_is_gone_is_improved(project: Project) -> None:
    path = project.path / "hypervisor" / "veneer.toml"
    path.write_text(path.read_text() + OWN.replace("exits.hidden", "exits.pass*"))
    project.suite(PASSING)
    result = project.run("-v")
    assert verdicts(result) == {"passing": "IMPROVED"}
    result.stdout.fnmatch_lines(["*take the known deviation out of the subject's file"])
