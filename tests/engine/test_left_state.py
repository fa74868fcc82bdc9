"""State that probes leave on the CPUs while the subject is loaded and unloaded, and that it is undone."""

from __future__ import annotations

import pytest

from tests.support.project import Project, check, verdicts

WRITE = '"mov ecx, 0x277; mov eax, 0x77; xor edx, edx; wrmsr"'
READ = '"mov ecx, 0x277; rdmsr"'


@pytest.fixture
def project(project: Project) -> Project:
    project.options()
    return project


def words(project: Project) -> list[str]:
    return [line.split()[1] for line in project.journal()]


def changed(name: str, expect: str = "{rax: 0x77}") -> str:
    return check(name, WRITE, "{exception: none}", then=f"[unload, {{run: {READ}, expect: {expect}}}]")


def at(name: str, when: str, expect: str = "{rax: 0x77}", **more: str) -> str:
    return check(name, READ, expect, **{when: f"{{run: {WRITE}}}"}, **more)


def test_what_was_changed_while_loaded_is_asked_for_after_unloading(project: Project) -> None:
    project.suite(changed("kept", "native") + check("later", READ, "{rax: 0}", phase="unloaded"))
    result = project.run("-v")
    assert verdicts(result) == {"kept": "PASSED", "later": "PASSED"}


def test_a_subject_that_turns_values_back_is_found_out(project: Project) -> None:
    project.options(bug="turns-back")
    project.suite(changed("kept") + at("at-unload", "at-unload"))
    result = project.run("-v")
    assert verdicts(result) == {"kept": "FAILED", "at-unload": "FAILED"}
    result.stdout.fnmatch_lines(["fake-amd: step 2: CPU 0: rax: expected 0x77, measured 0x0*"])


def test_checks_with_the_same_state_share_one_loading(project: Project) -> None:
    """The state of another check in between does not cost them two."""
    other = check("other", READ, "{rax: 0}", **{"at-load": '{run: "nop"}'})
    project.suite(
        at("a", "at-load") + other + at("b", "at-load", "native") + check("plain", READ, "{rax: 0}")
    )
    result = project.run("-v")
    assert verdicts(result) == {"a": "PASSED", "other": "PASSED", "b": "PASSED", "plain": "PASSED"}
    assert words(project).count("load") == 3, words(project)
    assert "reset" not in words(project)


def test_what_is_unloaded_was_loaded_in_the_usual_state(project: Project) -> None:
    """Else a subject that turns values back to those of loading would not be found out behind at-load."""
    project.options(bug="turns-back")
    project.suite(at("at-load", "at-load") + changed("changed") + at("at-unload", "at-unload"))
    result = project.run("-v")
    assert verdicts(result) == {"at-unload": "FAILED", "at-load": "PASSED", "changed": "FAILED"}
    loads = [word for word in words(project) if word in ("load", "unload")]
    assert loads == ["load", "unload", "load", "unload", "load", "unload"]


def test_the_state_is_undone_before_the_next_check(project: Project) -> None:
    """Also behind a check that does not hold."""
    increment = '"mov ecx, 0x277; rdmsr; add eax, 1; wrmsr"'
    then = f"[unload, {{run: {READ}, expect: {{rax: %d}}}}]"
    project.suite(
        check("deviates", increment, "{rax: 1}", then=then % 2)
        + check("again", increment, "{rax: 1}", then=then % 1)
    )
    result = project.run("-v")
    assert verdicts(result)["again"] == "PASSED"
    assert verdicts(result)["deviates"] != "PASSED"


def test_a_target_that_dies_in_a_sequence_is_reset(project: Project) -> None:
    project.options(unload="die")
    project.suite(changed("kept") + check("plain", READ, "{rax: 0}"))
    result = project.run("-v")
    assert verdicts(result) == {"kept": "CRASH", "plain": "PASSED"}
    result.stdout.fnmatch_lines(["*fake-amd did not survive unloading Veneer*"])


def test_a_subject_that_does_not_load_in_a_state_deviates_there_only(project: Project) -> None:
    project.options(**{"refuses-msr": "0x277"})
    project.suite(at("refused", "at-load") + at("fine", "at-unload") + changed("kept"))
    result = project.run("-v")
    assert verdicts(result) == {"refused": "FAILED", "fine": "PASSED", "kept": "PASSED"}
    result.stdout.fnmatch_lines(["*in the state that the check prepares was refused: EBUSY*"])


def test_states_that_a_subject_refuses_are_one_reason(project: Project) -> None:
    project.options(**{"refuses-msr": "0x277"})
    project.suite(at("one", "at-load") + at("two", "at-load"))
    result = project.run()
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(
        [
            "the same reason as of exits.one, which is shown in full*",
            "fake-amd: 2 checks deviate for the same reason: loading Veneer * was refused: EBUSY*",
            "    exits.one",
            "    exits.two",
        ]
    )


def test_an_os_that_needs_its_cpus_makes_it_unsupported(project: Project) -> None:
    project.options(os="linux")
    project.suite(at("a", "at-load") + at("b", "at-unload"))
    result = project.run("-v", "-rs")
    assert set(verdicts(result).values()) == {"SKIPPED"}
    result.stdout.fnmatch_lines(["*has no such state to start from*leave=: this OS needs its CPUs*"])
    assert "load" not in words(project)
    project.suite(changed("c"))
    assert set(verdicts(project.run("-v")).values()) == {"SKIPPED"}


def test_a_probe_that_cannot_prepare_its_state_is_blamed_itself(project: Project) -> None:
    project.suite(check("broken", READ, "native", **{"at-load": "{run: ud2}"}))
    result = project.run("-v")
    assert verdicts(result) == {"broken": "INFRASTRUCTURE"}
    result.stdout.fnmatch_lines(["*the probe that prepares its state ends in #UD*"])


def test_without_a_hypervisor_the_sequence_runs_all_the_same(project: Project) -> None:
    project.suite(changed("kept") + at("a", "at-load") + at("b", "at-unload"))
    result = project.run("-v", "--hypervisor=none")
    assert set(verdicts(result).values()) == {"PASSED"}
