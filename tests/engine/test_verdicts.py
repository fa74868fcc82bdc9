"""Every verdict, how it comes about, and what pytest makes of it."""

from __future__ import annotations

import pytest

from tests.support.project import INVENTORY, Project, check, verdicts

PASSING = check("passing", "mov eax, 1", "{rax: 1}")
FAILING = check("failing", "mov eax, 1", "{rax: 2}", claims="true")


def test_conformant(project: Project) -> None:
    project.suite(PASSING)
    result = project.run("-v")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [
            "touchstone: Veneer on fake-amd",
            "suite.yaml::exits.passing[[]fake-amd[]] PASSED*",
            "fake-amd: Fake CPU @ 1.00GHz (amd), 2 CPUs, SVM revision 1 (NPT, VGIF), os bare; "
            "Veneer 0.1 on 2 of 2 CPUs",
            "exits  1 conformant*",
        ]
    )


def test_deviation_shows_what_a_person_needs(project: Project) -> None:
    project.suite(
        check(
            "wrong",
            "|\n      mov eax, 1\n      mov ebx, 2",
            "{rax: 2, rbx: 2}",
            each="{on: [every-cpu]}",
            claims="true",
        )
    )
    result = project.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*exits.wrong [[]fake-amd[]]*",
            "Check wrong",
            "fake-amd: *CPU 0: rax: expected 0x2, measured 0x1 (and 1 more)",
            "suite.yaml:5",
            "    - id: exits.wrong",
            "      expect: {rax: 2, rbx: 2}",
            "intel-sdm, CPUID:",
            '    "The CPUID instruction clears the upper halves."',
            "*CPU 0 (and the same on CPU 1)",
            "*given*expected*measured",
            "    !!  rax *0x0 *0x2 *0x1",
            "*mov eax, 1",
            "    -> +0x00a *(its end)",
            "last exits of CPU 0, newest last",
            "again: pytest 'suite.yaml::exits.wrong[[]fake-amd[]]' --target=fake-amd --hypervisor=veneer",
            "exits  1 deviation*",
            "FAILED suite.yaml::exits.wrong[[]fake-amd[]] - *CPU 0: rax: expected 0x2, measured 0x1*",
        ]
    )


def test_exception_points_at_the_instruction(project: Project) -> None:
    project.suite(check("ud", "|\n      nop\n      ud2", "{rax: 0}", claims="true"))
    project.run().stdout.fnmatch_lines(["    !!  end *no exception *[#]UD", "    -> +0x001*ud2*<- [#]UD"])


def test_crash_is_autopsied_and_the_rest_runs(project: Project) -> None:
    project.options()
    project.suite(check("dies", "invd", "{rax: 0}") + PASSING)
    result = project.run("-v")
    result.assert_outcomes(failed=1, passed=1)
    assert verdicts(result) == {"dies": "CRASH", "passing": "PASSED"}
    result.stdout.fnmatch_lines(
        [
            "*the target did not survive it (crash)",
            "*invd",
            "autopsy: guest triple fault (fake)",
            "*svm_exit+0x1c (svm/exit.c:88)",
            "*rip=0x100000",
            "exits  1 conformant, 1 crash*",
            "CRASH suite.yaml::exits.dies*",
        ]
    )
    words = [line.split()[1] for line in project.journal()]
    assert words == ["start", "load", "autopsy", "reset", "load", "stop"]


def test_hang(project: Project) -> None:
    project.suite(check("hangs", "pause", "{rax: 0}", claims="true") + PASSING)
    assert verdicts(project.run("-v")) == {"hangs": "HANG", "passing": "PASSED"}


def test_broken_link_is_infrastructure(project: Project) -> None:
    project.suite(check("link", "int1", "{rax: 0}", claims="true") + PASSING)
    result = project.run("-v", "--junitxml=out.xml")
    result.assert_outcomes(errors=1, passed=1)
    assert verdicts(result) == {"link": "INFRASTRUCTURE", "passing": "PASSED"}
    report = (project.path / "out.xml").read_text()
    assert 'errors="1"' in report
    assert 'failures="0"' in report
    assert '<property name="touchstone.verdict" value="infrastructure" />' in report


def test_unsupported_names_the_requirement_and_the_value(project: Project) -> None:
    project.suite(
        check("many", "nop", "{rax: 0}", requires="cpus >= 4")
        + check("other", "nop", "{rax: 0}", requires="vendor == intel")
        + check("measured", "nop", "{rax: 0}", requires="cpuid.smx")
        + check("os", "nop", "{rax: 0}", requires="os == linux")
        + check(
            "present", "nop", "{rax: 0}", requires="cpuid.svm and subject.nested == hidden and os == bare"
        )
    )
    result = project.run("-v", "-rs")
    result.assert_outcomes(skipped=4, passed=1)
    result.stdout.fnmatch_lines_random(
        [
            "SKIPPED [[]1[]] suite.yaml*: needs cpus >= 4, fake-amd has 2",
            "SKIPPED [[]1[]] suite.yaml*: needs vendor == intel, fake-amd has amd",
            "SKIPPED [[]1[]] suite.yaml:15: needs cpuid.smx, fake-amd has 0",
            "SKIPPED [[]1[]] suite.yaml:20: needs os == linux, fake-amd has bare",
            "exits  1 conformant, 4 unsupported*",
        ]
    )


def test_waivers(project: Project) -> None:
    def waiver(name: str, more: str = "") -> str:
        return f'\n[[targets.fake-amd.known-deviations]]\ncheck = "exits.{name}"\nreason = "bug 7"\n{more}\n'

    project.inventory(
        INVENTORY
        + waiver("failing", 'link = "https://bugs.example/7"')
        + waiver("passing")
        + waiver("exp*", "until = 2020-01-01")
        + waiver("other", "until = 2999-01-01")
        + '\n[[targets.fake-amd.unsupported]]\ncheck = "exits.un*"\nreason = "no such pin"\n'
        + waiver("elsewhere", 'when = "way != bare"')
    )
    project.suite(
        PASSING
        + FAILING
        + check("expired", "mov eax, 1", "{rax: 2}", claims="true")
        + check("unpinned", "mov eax, 1", "{rax: 2}")
        + check("other", "hlt", "{rax: 2}", claims="true")
        + check("elsewhere", "mov eax, 1", "{rax: 1}")
    )
    result = project.run("-v", "-rxs")
    assert verdicts(result) == {
        "passing": "IMPROVED",
        "failing": "KNOWN-DEVIATION",
        "expired": "FAILED",
        "unpinned": "SKIPPED",
        "other": "KNOWN-DEVIATION",
        "elsewhere": "PASSED",
    }
    result.assert_outcomes(failed=2, xfailed=2, skipped=1, passed=1)
    result.stdout.fnmatch_lines_random(
        [
            "*it holds now, and targets/inventory.toml:17 says that it does not (bug 7)*",
            "known deviation until 2020-01-01, which is over: bug 7 (targets/inventory.toml:22)",
            "KNOWN-DEVIATION suite.yaml::exits.failing*bug 7 (targets/inventory.toml:12), https://bugs.example/7",
            "*fake-amd cannot do this: no such pin (targets/inventory.toml:32)",
        ]
    )
    assert project.run("--runxfail", "-k", "failing").parseoutcomes() == {"failed": 1, "deselected": 5}


def test_what_a_lost_target_cannot_do_costs_no_reset(project: Project) -> None:
    project.options()
    project.suite(
        check("deadly", "invd", "{rax: 0}") + check("absent", "nop", "{rax: 0}", requires="cpuid.smx")
    )
    assert verdicts(project.run("-v")) == {"deadly": "CRASH", "absent": "SKIPPED"}
    told = [line.split()[1] for line in project.journal()]
    assert told[told.index("load") :] == ["load", "autopsy", "stop"]


@pytest.mark.parametrize(("version", "verdict"), [("2.7", "INFRASTRUCTURE"), ("3.0", "SKIPPED")])
def test_check_unsupported_by_some_versions_of_an_emulator(
    project: Project, version: str, verdict: str
) -> None:
    """The version is known once the target runs; then the probe is not run, not even for an oracle."""
    project.options(version=version)
    waiver = '[[targets.fake-amd.unsupported]]\ncheck = "*kills"\nreason = "bug 7"\nemulator = ">= 3"\n'
    inventory = project.path / "targets" / "inventory.toml"
    inventory.write_text(inventory.read_text() + waiver)
    project.suite(check("kills", "hlt", "native") + PASSING + check("also-kills", "hlt", "{rax: 0}"))
    result = project.run("-v", "-rs")
    assert verdicts(result)["kills"] == verdict
    assert verdicts(result)["passing"] == "PASSED"
    if verdict == "SKIPPED":
        assert verdicts(result)["also-kills"] == "SKIPPED"
        result.stdout.fnmatch_lines(["*fake-amd cannot do this: bug 7 (targets/inventory.toml:*)"])
        assert "autopsy" not in "".join(project.journal())


def test_native_oracle(project: Project) -> None:
    project.options()
    project.suite(
        check("hidden", "cpuid", "native", given="{rax: 0}")
        + check("shows", "cpuid", "native", given="{rax: 1}")
        + check("before", "cpuid", "native", given="{rax: 1}", phase="native")
    )
    result = project.run("-v")
    assert verdicts(result) == {"before": "PASSED", "hidden": "PASSED", "shows": "FAILED"}
    result.stdout.fnmatch_lines(["    !!  rcx *0x0 *0x4000000, native *0x84000000"])
    assert [line.split()[1] for line in project.journal()] == ["start", "load", "stop"]


def test_probe_that_kills_the_bare_machine_is_infrastructure(project: Project) -> None:
    project.options()
    project.suite(check("kills", "hlt", "native") + PASSING)
    result = project.run("-v")
    assert verdicts(result) == {"kills": "INFRASTRUCTURE", "passing": "PASSED"}
    result.stdout.fnmatch_lines(["*it has no oracle: its probe does not survive on the bare machine*"])
    assert [line.split()[1] for line in project.journal()] == [
        "start", "autopsy", "reset", "autopsy", "reset", "load", "stop",
    ]  # fmt: skip


def test_state_that_the_machine_refuses_is_unsupported(project: Project) -> None:
    project.suite(check("state", "nop", "{rax: 0}", given="{cr4: {pks: 1}}"))
    result = project.run("-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*no such state to start from: state: [#]GP on MOV to CR4"])


def test_exit_counters(project: Project) -> None:
    project.suite(
        check("once", "cpuid", "{rax: 0xd, exits: {cpuid: 1}}") + check("never", "nop", "{exits: {cpuid: 1}}")
    )
    result = project.run("-v")
    assert verdicts(result) == {"once": "PASSED", "never": "FAILED"}
    result.stdout.fnmatch_lines(["    !!  exits.cpuid *1 *0"])


def test_what_the_agent_accesses_counts_as_no_exit_of_the_probe(project: Project) -> None:
    project.options(accesses="2")
    project.suite(
        check("none", "cpuid", "{exits: {cpuid: 1, cr-access: 0}}")
        + check("one", "cpuid", "{exits: {cpuid: 1, cr-access: 1}}")
    )
    result = project.run("-v")
    assert verdicts(result) == {"none": "PASSED", "one": "FAILED"}
    result.stdout.fnmatch_lines(["    !!  exits.cr-access *1 *0"])


def test_all_cases_are_judged(project: Project) -> None:
    project.suite(
        check("cases", "mov eax, {n}", "{rax: 1}", each="{n: [1, 2, 3], cpl: [0, 3]}", claims="true")
    )
    result = project.run()
    result.stdout.fnmatch_lines(["fake-amd: *(and 3 more)"])


def test_bare_machine_fails_checks_of_claims_and_is_never_loaded(project: Project) -> None:
    project.options()
    claim = check("claim", "cpuid", "{exits: {cpuid: 1}}", requires="subject.nested == hidden")
    project.suite(claim + check("transparent", "cpuid", "native") + PASSING)
    result = project.run("-v", "--hypervisor=none")
    assert verdicts(result) == {"claim": "FAILED", "transparent": "PASSED", "passing": "PASSED"}
    result.stdout.fnmatch_lines(["fake-amd: *; no hypervisor"])
    assert [line.split()[1] for line in project.journal()] == ["start", "stop"]


def test_phases_are_gone_through_once(project: Project) -> None:
    project.options()
    phases = ("unloaded", "native", "loaded", "unloaded", "native", "loaded")
    project.suite("".join(check(f"p{n}", "nop", "{rax: 0}", phase=word) for n, word in enumerate(phases)))
    result = project.run("-v")
    assert list(verdicts(result)) == ["p1", "p4", "p2", "p5", "p0", "p3"]
    assert [line.split()[1] for line in project.journal()] == ["start", "load", "unload", "stop"]


def test_refusal_to_load_blocks_all_checks_of_the_phase(project: Project) -> None:
    project.options(load="refuse")
    project.suite(check("native", "nop", "{rax: 0}", phase="native") + PASSING + FAILING)
    result = project.run("-v")
    assert verdicts(result) == {"native": "PASSED", "passing": "BLOCKED", "failing": "BLOCKED"}
    result.stdout.fnmatch_lines(
        ["*loading Veneer on fake-amd was refused: EPERM: the firmware locked it off", "*2 blocked*"]
    )
    assert [line.split()[1] for line in project.journal()] == ["start", "load", "stop"]


def test_death_while_loading_is_a_crash(project: Project) -> None:
    project.options(load="die")
    project.suite("".join(check(f"c{n}", "nop", "{rax: 0}") for n in range(4)))
    result = project.run("-v")
    assert list(verdicts(result).values()) == ["CRASH", "CRASH", "BLOCKED", "BLOCKED"]
    result.stdout.fnmatch_lines(
        ["*the target did not survive loading Veneer on fake-amd: guest triple fault*"]
    )


def test_death_while_the_cpuid_is_read_is_infrastructure(project: Project) -> None:
    """Also if the subject's title is a part of the target's name."""
    project.inventory('[targets.box-amd]\ndriver = "fake"\nvendor = "amd"\ncpus = 2\ncpuid = "die"\n')
    project.file("hypervisor/box.toml", 'name = "box"\ntitle = "box"\n[deploy.bare]\ndirectory = "."\n')
    project.suite(PASSING)
    result = project.run("-v", "--hypervisor=box", target="box-amd")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        [
            "suite.yaml::exits.passing[[]box-amd[]] INFRASTRUCTURE*",
            "box-amd: reading the CPUID of box-amd: it died while its CPUID was read",
        ]
    )


def test_target_that_comes_back_is_used_again(project: Project) -> None:
    project.options(load="die-once")
    project.suite("".join(check(f"c{n}", "nop", "{rax: 0}") for n in range(3)))
    assert list(verdicts(project.run("-v")).values()) == ["CRASH", "PASSED", "PASSED"]


def test_target_that_does_not_start_blocks_the_rest(project: Project) -> None:
    project.options(start="fail")
    project.suite(PASSING + FAILING)
    result = project.run("-v")
    assert verdicts(result) == {"passing": "INFRASTRUCTURE", "failing": "BLOCKED"}
    result.stdout.fnmatch_lines(
        ["fake-amd: starting fake-amd: the fake machine has no power", "fake-amd: not reached"]
    )


def test_target_that_does_not_come_back_blocks_the_rest(project: Project) -> None:
    project.options(reset="fail")
    project.suite(
        check("dies", "invd", "{rax: 0}") + "".join(check(f"c{n}", "nop", "{rax: 0}") for n in range(3))
    )
    result = project.run("-v")
    assert list(verdicts(result).values()) == ["CRASH", "INFRASTRUCTURE", "INFRASTRUCTURE", "BLOCKED"]


def test_interrupt_stops_the_target(project: Project) -> None:
    project.options()
    project.suite(PASSING)
    project.file(
        "test_interrupt.py",
        "import pytest\n"
        "@pytest.mark.touchstone(id='exits.stop', title='t', area='exits', phase='unloaded',"
        " cite={'doc': 'd', 'title': 't', 'says': 's'})\n"
        "def test_stop(target):\n    raise KeyboardInterrupt\n",
    )
    project.run(process=True)
    assert project.journal()[-1] == "fake-amd stop"
