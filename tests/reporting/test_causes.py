"""Many failures with one cause are shown once, and differences have the names of their bits."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import cast

import pytest

from tests.support.project import Project, check, verdicts
from touchstone.engine.records import CheckRecord
from touchstone.journal.read import read_journal
from touchstone.reporting.causes import first_difference
from touchstone.reporting.terminal import parts, plain
from touchstone.words import Verdict

DIES = """
import pytest

@pytest.mark.touchstone(
    id="exits.dies-too", title="It lives", area="exits", cite={"doc": "d", "title": "t", "says": "s"}
)
def test_dies(target, probe):
    probe("hlt")
"""
HIDDEN = check("hidden", "cpuid", "{ecx: 0x4000000}", given="{rax: 1}")


def test_failures_with_one_cause_are_shown_once(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    project.suite("".join(HIDDEN.replace("hidden", f"hidden-{n}") for n in range(9)))
    result = project.run()
    result.assert_outcomes(failed=9)
    text = result.stdout.str()
    assert text.count("- id: exits.hidden-") == 1
    assert text.count("the same first difference as of exits.hidden-0, which is shown in full") == 8
    result.stdout.fnmatch_lines(
        [
            "fake-amd: 9 checks have the same first difference: ecx: expected 0x4000000,",
            "    measured 0x84000000, cpuid",
            "    exits.hidden-0",
            "    exits.hidden-8",
        ]
    )
    assert project.run("-vv").stdout.str().count("- id: exits.hidden-") == 9


def test_crashes_with_one_cause_are_shown_once(project: Project) -> None:
    """However many MSRs a hypervisor reads without a handler for #GP: it is one place in its source."""
    project.options(cause="exception 0d at 10f592 read_msr+0x5 (vmx/msr.c:8)")
    project.suite("".join(check(f"dies-{n}", "hlt", "{rax: 0}", claims="true") for n in range(3)))
    result = project.run()
    assert result.stdout.str().count("autopsy: guest triple fault (fake)") == 1
    result.stdout.fnmatch_lines(
        [
            "the same end as of exits.dies-0, which is shown in full (-vv shows all in full)",
            "the same end as of exits.dies-0, which is shown in full (-vv shows all in full)",
            "fake-amd: 3 checks end the machine in the same way: exception 0d at 10f592 read_msr*",
            "    exits.dies-0",
            "    exits.dies-2",
        ]
    )
    assert project.run("-vv").stdout.str().count("autopsy: guest triple fault (fake)") == 3


def test_hangs_with_one_cause_are_shown_once(project: Project) -> None:
    project.options(cause="in wait (core/nmi.c), called by vmx_exited")
    checks = "".join(check(f"hangs-{n}", "pause", "{rax: 0}", claims="true") for n in range(2))
    project.suite(checks + check("fine", "nop", "{exception: none}"))
    result = project.run("-v")
    assert verdicts(result) == {"hangs-0": "HANG", "hangs-1": "HANG", "fine": "PASSED"}
    assert result.stdout.str().count("autopsy: guest triple fault (fake)") == 1
    result.stdout.fnmatch_lines(
        [
            "the same hang as of exits.hangs-0, which is shown in full (-vv shows all in full)",
            "fake-amd: 2 checks hang in the same way: in wait (core/nmi.c), called by vmx_exited",
            "    exits.hangs-0",
            "    exits.hangs-1",
        ]
    )


HANGS = """
import pytest

@pytest.mark.touchstone(
    id="exits.hangs-too", title="It lives", area="exits", cite={"doc": "d", "title": "t", "says": "s"}
)
def test_hangs(target, probe):
    probe("nop; rdmsr")
"""


def test_hangs_at_one_instruction_of_the_probe_are_shown_once(project: Project) -> None:
    """Whatever the driver can see of a machine, if it has the registers: an exit that never ends is there."""
    project.options(bug="rdmsr-hangs")
    bodies = {"first": "rdmsr", "later": "nop; nop; rdmsr", "other": "pause", "another": "nop; pause"}
    checks = [check(name, body, "{exception: none}", claims="true") for name, body in bodies.items()]
    project.suite("".join(checks))
    project.file("test_hangs.py", HANGS)
    result = project.run("suite.yaml", "test_hangs.py")
    result.assert_outcomes(failed=5)
    # PAUSE is where the CPU was stopped: nothing that two loops have in common.
    assert result.stdout.str().count("autopsy: guest triple fault (fake)") == 3
    result.stdout.fnmatch_lines(
        [
            "the same hang as of exits.first, which is shown in full (-vv shows all in full)",
            "fake-amd: 3 checks hang in the same way: in the probe, at rdmsr",
            "    exits.first",
            "    exits.later",
        ]
    )


def test_a_check_in_python_and_one_of_a_suite_are_shown_once(project: Project) -> None:
    project.options(cause="exception 0d at 10f592 read_msr+0x5 (vmx/msr.c:8)")
    project.suite(check("dies", "hlt", "{rax: 0}", claims="true"))
    project.file("test_dies.py", DIES)
    result = project.run("suite.yaml", "test_dies.py")
    result.assert_outcomes(failed=2)
    assert result.stdout.str().count("autopsy: guest triple fault (fake)") == 1
    result.stdout.fnmatch_lines(["the same as of exits.dies, which is shown in full (-vv shows all in full)"])


def test_what_is_excused_is_not_what_others_refer_to(project: Project) -> None:
    """Nothing is shown of a known deviation."""
    file = project.path / "hypervisor/veneer.toml"
    entry = '[[known-deviations]]\ncheck = "exits.hidden-0"\nreason = "to be mended"\n'
    file.write_text(file.read_text() + entry)
    project.suite("".join(HIDDEN.replace("hidden", f"hidden-{n}") for n in range(3)))
    result = project.run()
    result.assert_outcomes(xfailed=1, failed=2)
    text = result.stdout.str()
    assert text.count("- id: exits.hidden-") == 1
    assert text.count("the same first difference as of exits.hidden-1, which is shown in full") == 1


def test_a_run_that_goes_on_shows_once_what_its_journal_has(project: Project) -> None:
    """The text of a check that was judged before is in the journal, and not on this terminal."""
    project.suite("".join(HIDDEN.replace("hidden", f"hidden-{n}") for n in range(3)))
    project.run("--journal=journal.jsonl", "-k", "hidden-0").assert_outcomes(failed=1, deselected=2)
    result = project.run("--resume=journal.jsonl")
    result.assert_outcomes(failed=2, deselected=1)
    assert "the same first difference as of exits.hidden-1, which is shown in full" in result.stdout.str()
    evidence = read_journal(project.path / "journal.jsonl").evidence.values()
    assert [(line.check, line.same_as, bool(line.text)) for line in evidence] == [
        ("exits.hidden-0", "", True),
        ("exits.hidden-1", "exits.hidden-0", False),
        ("exits.hidden-2", "exits.hidden-0", False),
    ]


def test_each_process_shows_what_its_target_does(project: Project) -> None:
    project.suite("".join(HIDDEN.replace("hidden", f"hidden-{n}") for n in range(3)))
    result = project.run("-n2", "--target=fake-intel", process=True)
    result.assert_outcomes(failed=6)
    text = result.stdout.str()
    assert text.count("- id: exits.hidden-") == 2
    assert text.count("the same first difference as of exits.hidden-0, which is shown in full") == 4


def test_crashes_of_which_nothing_is_known_are_shown_in_full(project: Project) -> None:
    project.suite("".join(check(f"dies-{n}", "hlt", "{rax: 0}", claims="true") for n in range(3)))
    text = project.run().stdout.str()
    assert text.count("autopsy: guest triple fault (fake)") == 3
    assert "in the same way" not in text


def test_other_registers_that_differ_in_the_same_bits_are_one_group(project: Project) -> None:
    """A sign that is extended to 64 bits, or a bit of an MSR, is seen in the register that is looked at."""
    upper = "|\n      mov {0}, 0xffffffff00000000"
    seen = "|\n      cpuid\n      mov {0}, rcx\n      mov rcx, 0"
    project.suite(
        check("upper-rax", upper.format("rax"), '{"rax[63:32]": 0}', claims="true")
        + check("upper-rbx", upper.format("rbx"), "{rbx: 0}", claims="true")
        + check("bit-rcx", "cpuid", "{rcx: native}", given="{rax: 1}")
        + check("bit-rsi", seen.format("rsi"), "{rsi: native}", given="{rax: 1}")
        + check("other", seen.format("rsi"), "{rsi: 7}", given="{rax: 1}", claims="true")
    )
    lines = project.run().outlines
    start = lines.index("fake-amd: 2 checks differ first in bits 63:32 of a register:")
    assert [line.split(": expected")[0] for line in lines[start : start + 7]] == [
        "fake-amd: 2 checks differ first in bits 63:32 of a register:",
        "    exits.upper-rax: rax[63:32]",
        "    exits.upper-rbx: rbx",
        "fake-amd: 2 checks differ first in bit 31 of a register:",
        "    exits.bit-rcx: rcx",
        "    exits.bit-rsi: rsi",
        "fake-amd: exits.other: rsi",
    ]


def test_failures_with_other_causes_are_shown_in_full(project: Project) -> None:
    project.suite(
        HIDDEN + check("other", "cpuid", "{ecx: 0}", given="{rax: 1}") + check("third", "ud2", "{rax: 0}")
    )
    result = project.run()
    assert result.stdout.str().count("- id: exits.") == 2
    result.stdout.no_fnmatch_line("*have the same first difference*")


def test_a_control_register_is_part_of_what_failures_have_in_common(project: Project) -> None:
    wrong = "{exception: '#GP(0)', rip: start}"
    checks = [("one", "mov rbx, cr0"), ("two", "mov rbx, cr0"), ("three", "mov rbx, cr4")]
    project.suite("".join(check(name, insn, wrong, claims="true") for name, insn in checks))
    lines = project.run().outlines
    start = next(n for n, line in enumerate(lines) if "have the same first difference" in line)
    assert lines[start].endswith("measured no exception, mov cr0")
    assert [line.strip() for line in lines[start + 1 : start + 3]] == ["exits.one", "exits.two"]
    assert lines[start + 3].startswith("fake-amd: exits.three: ")
    assert lines[start + 3].endswith("mov cr4")


def test_a_rip_beyond_4_gib_is_not_what_was_expected() -> None:
    """In 32-bit code it is the same place, and the numbers are all that tells the two apart."""
    wrong = SimpleNamespace(cpu=0, what="rip", expected="0x1 (start+0x3)", measured="0x100000001 (start+0x3)")
    run = SimpleNamespace(accused=[wrong], results=[], code=b"", request=SimpleNamespace(code_bits=32))
    record = cast(CheckRecord, SimpleNamespace(runs=[run]))
    assert first_difference(record) == "rip: expected 0x1 (start+0x3), measured 0x100000001 (start+0x3)"


def test_differences_have_the_names_of_their_bits(project: Project) -> None:
    project.suite(
        HIDDEN
        + check("svm", "cpuid", "{rcx: 0x4}", given="{rax: 0x8000_0001}")
        + check("efer", "rdmsr", "{eax: 0xd01}", given="{rcx: IA32_EFER}", claims="true")
        + check("late", "|\n      cpuid\n      nop", "{ecx: 0x4000000}", given="{rax: 1}")
    )
    result = project.run()
    result.stdout.fnmatch_lines_random(
        [
            "*ecx: expected 0x4000000, measured 0x84000000 (cpuid.0x1.ecx: hypervisor)*",
            "        ecx differs in cpuid.0x1.ecx: hypervisor",
            "        rcx differs in cpuid.0x80000001.ecx: svm",
            "        eax differs in ia32-efer: sce, lme, lma, nxe",
        ]
    )
    assert "exits.late" in result.stdout.str()
    assert result.stdout.str().count("ecx differs in cpuid.0x1.ecx") == 1


def test_the_upper_half_behind_an_rdmsr_is_none_of_the_msr(project: Project) -> None:
    project.suite(check("upper", "rdmsr", "{rdx: 0x100_0000_0000}", given="{rcx: IA32_EFER}", claims="true"))
    text = project.run().stdout.str()
    assert "0x10000000000" in text
    assert "bit 72" not in text


def test_what_blocks_many_checks_is_said_once(project: Project) -> None:
    project.options(load="refuse")
    project.suite("".join(check(f"c{n}", "nop", "{rax: 0}") for n in range(50)))
    result = project.run("-v")
    assert set(verdicts(result).values()) == {"BLOCKED"}
    assert result.stdout.str().count("the firmware locked it off") == 1
    result.stdout.fnmatch_lines(
        ["fake-amd: 50 blocked: loading Veneer on fake-amd was refused: EPERM: the firmware locked it off"]
    )


def test_the_words_of_a_compiler_are_shown_once(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    # In CI, pytest cuts nothing off its own list of failures.
    monkeypatch.delenv("CI", raising=False)
    project.options(start="compile")
    project.suite("".join(check(f"c{n}", "nop", "{rax: 0}") for n in range(50)))
    result = project.run("-v")
    assert list(verdicts(result).values()) == ["INFRASTRUCTURE", *["BLOCKED"] * 49]
    text = result.stdout.str()
    assert text.count("toy.c:7: error: no such thing") == 1
    assert len(result.outlines) < 90


def test_the_summary_has_the_reason_and_fits_the_terminal(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pytest's own list of failures cuts the reason off, because node ids are long."""
    monkeypatch.setenv("COLUMNS", "80")
    project.suite(check("other", "cpuid", "{ecx: 0x12345678}", given="{rax: 1}"))
    lines = project.run().outlines
    start = lines.index("exits  1 deviation  ")
    assert lines[start + 1] == "fake-amd: exits.other: ecx: expected 0x12345678, measured 0x84000000, cpuid"
    assert lines[start + 2].startswith("journal: build/journals/")
    assert lines[start + 3] == f"{' short test summary info ':=^80}"


def test_a_long_row_of_the_table_is_broken() -> None:
    cell = Counter({verdict: 111 for verdict in Verdict})
    found = list(parts(cell, 60))
    assert len(found) > 1
    assert all(len(plain(part)) <= 60 for part in found)
    assert sum((Counter(part) for part in found), Counter()) == cell
