"""What Touchstone writes itself fits a terminal of 80 columns, and names the CPUs and cases that differ."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from tests.support.project import INVENTORY, Project, check
from touchstone.engine.records import CaseRun
from touchstone.reporting.failure import table_lines
from touchstone.reporting.wrapping import wrapped
from touchstone.suite.judgement import Demand, Row, Table

LONG = "The processor raises the exception before it has changed anything, in every mode and at every level"
SUITE = f"""
suite: A suite for the plugin's own tests
area: exits
cite:
  doc: intel-sdm
  title: Information Returned by the Instruction that Identifies a Processor and All of Its Features
  says: "{LONG}; {LONG}."
checks:
"""


@pytest.fixture
def narrow(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("COLUMNS", "80")
    return project


def too_wide(project: Project, lines: list[str]) -> list[str]:
    """Those that neither pytest wrote, nor quote the suite, nor are commands to be copied."""
    quoted = [line.strip() for line in (project.path / "suite.yaml").read_text().splitlines()]
    others = ("FAILED ", "INFRASTRUCTURE ", "rootdir: ", "____", "again: ", "    pytest ")
    return [
        line
        for line in lines
        if len(line) > 80 and line.strip() not in quoted and not line.startswith(others)
    ]


def test_a_failure_fits_80_columns(narrow: Project) -> None:
    text = check(
        "long", "mov rax, rbx", "{rax: 0x1122_3344_5566_7788}", given="{gprs: random}", claims="true"
    )
    narrow.suite(text.replace("Check long", LONG), head=SUITE)
    result = narrow.run()
    result.assert_outcomes(failed=1)
    assert too_wide(narrow, result.outlines) == []
    result.stdout.fnmatch_lines(
        [
            "The processor raises the exception before it has changed anything, in every mode",
            "    and at every level",
            "intel-sdm, Information Returned by the Instruction that Identifies a Processor",
            "    and All of Its Features:",
        ]
    )


def test_a_table_that_is_too_wide_has_what_was_given_below_it(narrow: Project) -> None:
    expect = '{"ecx as cpuid.0x80000001.ecx": {svm: 1}, rdx: 0x1122_3344_5566_7788, rbx: unchanged}'
    narrow.suite(check("wide", "mov rcx, rdi", expect, given="{gprs: random}", claims="true"))
    lines = narrow.run().outlines
    assert too_wide(narrow, lines) == []
    (head,) = (line for line in lines if line.split() == ["expected", "measured"])
    below = next(line for line in lines if line.startswith("        given: "))
    assert lines.index(head) < lines.index(below)


def test_events_of_a_table_that_is_too_wide_are_below_it_one_a_line() -> None:
    """Three or four of them on each side are wider than any terminal."""
    steps = [f"#DB at {0xF0000001 + at:#x} (start+{at + 1:#x}) (0xffff4ff0 (bld bs rtm))" for at in range(3)]
    wanted, found = f"{', '.join(steps)}, native", f"{steps[0]}, {steps[2]}"
    row = Row("events", ("", wanted, found), False, demand=Demand.NATIVE)
    run = cast(CaseRun, SimpleNamespace(label="", accused=[], case=None, results=[]))
    lines = list(table_lines(run, Table(0, (row,)), width=80))
    assert all(len(line) <= 80 for line in lines), lines
    assert lines[1:3] == ["                expected   measured", "    mm  events  3, native  2"]
    numbered = [f"            {number}. {step}" for number, step in enumerate(steps, 1)]
    assert lines[3:10] == [
        "        events expected:",
        *numbered,
        "        events measured:",
        numbered[0],
        f"            2. {steps[2]}",
    ]
    assert any(wanted in line for line in table_lines(run, Table(0, (row,))))


def test_what_blocks_and_what_is_judged_again_fit_80_columns(narrow: Project) -> None:
    narrow.options(start="fail")
    narrow.suite(check("one", "nop", "{rax: 0}") + check("two", "nop", "{rax: 0}"))
    lines = narrow.run().outlines
    assert too_wide(narrow, lines) == []
    assert any(line.startswith("fake-amd: 1 blocked: ") for line in lines)
    assert any(line.startswith("fake-amd: 1 check was tried again, ") for line in lines)


def test_where_results_are_and_how_to_go_on_are_lines_of_their_own(narrow: Project) -> None:
    narrow.suite(check("one", "nop", "{rax: 0}", given="{rax: 0}"))
    lines = narrow.run("--alluredir=results-of-a-run-that-has-a-long-name").outlines
    where = lines.index("results: results-of-a-run-that-has-a-long-name; make a report of them with:")
    assert lines[where + 1] == "    touchstone report results-of-a-run-that-has-a-long-name"


def test_cases_and_cpus_without_a_table_are_named(project: Project) -> None:
    """Three tables are shown. CPU 0 and 1 have the same differences, and the others have not."""
    each = "{value: [1, 2, 3, 4, 5], on: [every-cpu]}"
    body = "|\n      mov eax, 1\n      mov ebx, {value}"
    project.inventory(INVENTORY.replace("cpus = 2", "cpus = 3"))
    project.suite(check("cases", body, "{rax: 2, rbx: 2}", each=each, claims="true"))
    project.run().stdout.fnmatch_lines(
        [
            "value=1, on=every-cpu, CPU 0 (and the same on CPUs 1-2)",
            "value=2, on=every-cpu, CPU 0 (and the same on CPUs 1-2)",
            "value=3, on=every-cpu, CPU 0 (and the same on CPUs 1-2)",
            "something else differs in:",
            "    value=4, on=every-cpu, CPUs 0-2",
            "    value=5, on=every-cpu, CPUs 0-2",
        ]
    )


def test_many_cases_with_the_differences_of_a_table_are_counted(project: Project) -> None:
    each = f"{{value: {list(range(20))}, on: [every-cpu]}}"
    body = "|\n      mov eax, 1\n      mov ecx, {value}"
    project.suite(check("cases", body, "{rax: 2}", each=each, claims="true"))
    lines = project.run().outlines
    start = lines.index("the same differs in:")
    assert lines[start + 1] == "    value=3, on=every-cpu, CPUs 0-1"
    assert lines[start + 9] == "    and 9 more cases"
    assert "something else differs in:" not in lines


def test_bits_without_names_are_ranges(project: Project) -> None:
    project.suite(check("bits", "rdmsr", "{eax: 0x1f7}", given="{rcx: VM_HSAVE_PA}", claims="true"))
    project.run().stdout.fnmatch_lines(["        eax differs in vm-hsave-pa: bits 0-2, 4-8"])


def test_a_check_of_several_items_is_named_once(project: Project) -> None:
    cite = "{'doc': 'intel-sdm', 'title': 'CPUID', 'says': 'It clears the upper halves.'}"
    project.file(
        "test_it.py",
        "import pytest\n\n\n@pytest.mark.parametrize('number', [1, 2, 3])\n"
        "@pytest.mark.touchstone(id='exits.it', title='Check it', area='exits', phase='native',\n"
        f"    cite={cite})\n"
        "def test_it(target, number):\n    target.load('refuse')\n",
    )
    lines = project.run().outlines
    start = next(
        n for n, line in enumerate(lines) if line.startswith("fake-amd: 3 checks deviate for the same")
    )
    assert lines[start + 1] == "    exits.it (3 times)"
    assert lines[start + 2].startswith("journal: ")


def test_a_run_that_judged_nothing_says_so_and_why(narrow: Project) -> None:
    needs = check("one", "nop", "{rax: 0}", requires="vendor == intel")
    narrow.suite(
        needs + needs.replace("one", "two") + check("three", "nop", "{rax: 0}", requires="cpus >= 99")
    )
    result = narrow.run()
    result.assert_outcomes(skipped=3)
    lines = result.outlines
    assert "fake-amd: not started, since nothing here can be judged on it" in lines
    start = lines.index("fake-amd: nothing was judged, all 3 are unsupported (-rs says why of each):")
    assert lines[start + 1 : start + 3] == [
        "    2: needs vendor == intel, fake-amd has amd",
        "    1: needs cpus >= 99, fake-amd has 2",
    ]
    narrow.suite(check("four", "nop", "{rax: 0}", given="{rax: 0}"), "another.yaml")
    assert "nothing was judged" not in narrow.run().stdout.str()
    # Nor is it said of a run that was broken off: more than it says there would have been judged.
    narrow.file("test_broken.py", "def test_broken():\n    raise KeyboardInterrupt\n")
    broken = narrow.run("suite.yaml", "test_broken.py", "another.yaml", process=True).stdout.str()
    assert "1 of 4 planned checks have no verdict" in broken
    assert "nothing was judged" not in broken


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("a b", ["a b"]),
        ("one two three four", ["one two", "    three", "    four"]),
        ("one\n\ntwo", ["one", "", "two"]),
        ("/a/long-path/that-is/kept", ["/a/long-path/that-is/kept"]),
    ],
)
def test_lines_are_broken_between_words_only(text: str, lines: list[str]) -> None:
    assert wrapped(text, 10) == lines
    assert wrapped(text, None) == text.split("\n")
