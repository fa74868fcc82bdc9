"""A guest that hangs is followed by another one, which tells whether the subject is accused of it."""

from __future__ import annotations

import json

import pytest

from tests.support.project import Project, check, verdicts
from touchstone.journal.read import read_journal

HANGS = check("hangs", "pause", "{rax: 0}", claims="true")
LATER = check("later", "nop", "{rax: 0}")
PYTHON = """
import pytest

@pytest.mark.touchstone(
    id="exits.python", title="T", area="exits", cite={"doc": "x", "title": "t", "says": "s"}
)
def test_python(target, probe):
    probe("nop")
    probe("pause")
"""
ANOTHER = "a guest hung, and another one did not, asked the same: guest triple fault (fake)"
"""What the fake target's autopsy says of every end."""


def text_of(project: Project) -> str:
    """The evidence that the journal has of exits.hangs."""
    (found,) = read_journal(project.path / "j").evidence.values()
    return found.text


def test_guest_that_hangs_once_accuses_nobody(project: Project) -> None:
    project.options(guest="less", hang="once")
    project.suite(HANGS + LATER)
    result = project.run("-v", "--journal=j", "--alluredir=allure")
    assert verdicts(result) == {"hangs": "INFRASTRUCTURE", "later": "PASSED"}
    result.stdout.fnmatch_lines(
        [
            f"fake-amd: {ANOTHER}",
            "judged before, with another guest, which hung",
            "    autopsy: guest triple fault (fake)",
            "fake-amd: 1 check was tried again, and could not be judged: exits.hangs; the first time: *",
        ]
    )
    # Nothing is held against the subject because it was slow.
    again = ("wait-in-full", "reset", "load", "wait-as-usual")
    words = ("start", "load", "autopsy", *again, "stop")
    assert project.journal() == [f"fake-amd {word}" for word in words]
    assert "judged before, with another guest" in text_of(project)
    results = [json.loads(path.read_text()) for path in (project.path / "allure").glob("*-result.json")]
    names = [one["name"] for result in results for one in result.get("attachments", ())]
    assert names.count("autopsy of the guest before") == 1


def test_some_of_many_that_were_tried_again_are_named(project: Project) -> None:
    project.options(guest="less")
    project.suite("".join(check(f"h{n}", "pause", "{rax: 0}", claims="true") for n in range(6)))
    result = project.run("--journal=j")
    tried = "fake-amd: 6 checks were tried again, and 6 of them judged then"
    named = "exits.h0, exits.h1, exits.h2, exits.h3 and 2 more; exits.h0 the first time: *"
    result.stdout.fnmatch_lines([f"{tried}: {named}"])


def test_guest_that_hangs_again_is_the_subjects(project: Project) -> None:
    project.options(guest="less")
    project.suite(HANGS + LATER)
    result = project.run("-v", "--journal=j")
    assert verdicts(result) == {"hangs": "HANG", "later": "PASSED"}
    result.stdout.fnmatch_lines(
        ["fake-amd: *; the guest before it hung as well: *", "judged before, with another guest, which hung"]
    )
    assert text_of(project).count("autopsy: ") == 2
    assert project.journal().index("fake-amd wait-as-usual") > project.journal().index(
        "fake-amd wait-in-full"
    )


@pytest.mark.parametrize(
    ("hang", "verdict", "line"),
    [
        ("other words", "HANG", "fake-amd: *seen 2 times*; the guest before it*seen 1 times*"),
        (
            "elsewhere",
            "INFRASTRUCTURE",
            "fake-amd: 2 guests hung or deviated, each in another case: *cpl=0*; *cpl=3*",
        ),
    ],
)
def test_case_tells_whether_two_guests_have_hung_at_one_place(
    project: Project, hang: str, verdict: str, line: str
) -> None:
    project.options(guest="less", hang=hang)
    project.suite(check("hangs", "pause", "{rax: 0}", claims="true", each="{cpl: [0, 3]}"))
    result = project.run("-v", "--journal=j")
    assert verdicts(result) == {"hangs": verdict}
    result.stdout.fnmatch_lines([line])


@pytest.mark.parametrize(
    ("hang", "verdict", "line", "loads"),
    [
        ("once", "PASSED", "fake-amd: 1 check was tried again, and judged then: exits.hangs; *", 3),
        # Each guest comes to one PAUSE more than the one before; the fourth holds all, alone.
        (
            "at 1 3 6",
            "INFRASTRUCTURE",
            "fake-amd: 3 guests hung or deviated, each in another case: *n=1*; *n=2*; *n=3*",
            4,
        ),
        ("at 1 5", "HANG", "fake-amd: *n=1*; the guest before it hung as well: *n=1*", 3),
    ],
)
def test_on_an_emulated_processor_two_guests_must_agree(
    project: Project, hang: str, verdict: str, line: str, loads: int
) -> None:
    project.options(guest="less", version="7.2", hang=hang)
    cases = {"given": '{rax: 0, rbx: "{n}"}', "each": "{n: [1, 2, 3]}"}
    project.suite(check("hangs", "pause", "{rax: 0}", claims="true", **cases) + LATER)
    result = project.run("-v", "--journal=j")
    assert verdicts(result) == {"hangs": verdict, "later": "PASSED"}
    result.stdout.fnmatch_lines([line])
    words = project.journal()
    assert words[: words.index("fake-amd stop")].count("fake-amd load") == loads + (verdict == "HANG")
    (retried,) = read_journal(project.path / "j").retried.values()
    assert len(retried) == loads - 1


def test_what_is_wrong_with_the_next_guest_is_judged(project: Project) -> None:
    project.options(guest="less", hang="once")
    project.suite(HANGS.replace("{rax: 0}", "{rax: 1}"))
    result = project.run("-v", "--journal=j")
    assert verdicts(result) == {"hangs": "FAILED"}
    result.stdout.fnmatch_lines(["judged before, with another guest, which hung"])


def test_python_check_is_judged_with_another_guest(project: Project) -> None:
    project.options(guest="less", hang="once")
    project.file("test_python.py", PYTHON)
    result = project.run("--journal=j", "test_python.py")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"*{ANOTHER}"])


@pytest.mark.parametrize("kind", ["suite", "python"])
def test_guest_that_hangs_whenever_it_is_started_is_the_subjects(project: Project, kind: str) -> None:
    project.options(guest="less", load="hang")
    if kind == "suite":
        project.suite(LATER + check("more", "nop", "{rax: 0}"))
    else:
        project.file("test_python.py", PYTHON)
    result = project.run("-v", "--journal=j")
    result.stdout.fnmatch_lines(["*the guest before it hung as well*"])
    words = [line.verdict.value for line in read_journal(project.path / "j").judged.values()]
    assert words == ["hang", "blocked"][: len(words)]
    assert project.journal().count("fake-amd load") == 2


def test_hang_that_is_expected_costs_no_second_guest(project: Project) -> None:
    project.options(guest="less")
    project.suite(HANGS)
    file = project.path / "hypervisor" / "veneer.toml"
    file.write_text(f'{file.read_text()}[[known-deviations]]\ncheck = "exits.hangs"\nreason = "It stops."\n')
    result = project.run("-v", "--journal=j")
    assert verdicts(result) == {"hangs": "KNOWN-DEVIATION"}
    assert read_journal(project.path / "j").retried == {}


DEVIATES = check("deviates", "cpuid", "{rbx: native}", given="{rax: 0, rbx: 0xffff_ffff_0000_0000}")


@pytest.mark.parametrize(
    ("options", "verdict", "loads"),
    [
        ({"bug": "upper-halves-once", "version": "7.2"}, "PASSED", 3),
        ({"bug": "upper-halves-odd", "version": "7.2"}, "FAILED", 3),
        ({"bug": "upper-halves", "version": "7.2"}, "FAILED", 2),
        # A processor that is no emulated one is believed at once.
        ({"bug": "upper-halves-once"}, "FAILED", 1),
    ],
)
def test_deviation_on_an_emulated_processor_counts_if_the_next_guest_has_it_too(
    project: Project, options: dict[str, str], verdict: str, loads: int
) -> None:
    project.options(guest="less", **options)
    project.suite(DEVIATES + LATER)
    result = project.run("-v", "--journal=j")
    assert verdicts(result) == {"deviates": verdict, "later": "PASSED"}
    assert project.journal().count("fake-amd load") == loads
    assert "fake-amd wait-in-full" not in project.journal()
    if verdict == "FAILED":
        assert "!!  rbx" in text_of(project)
    else:
        result.stdout.fnmatch_lines(
            ["fake-amd: 1 check was tried again, and judged then: exits.deviates; *: rbx: *"]
        )


def test_deviation_that_is_expected_costs_no_second_guest(project: Project) -> None:
    project.options(guest="less", bug="upper-halves", version="7.2")
    project.suite(DEVIATES)
    file = project.path / "hypervisor" / "veneer.toml"
    file.write_text(f'{file.read_text()}[[known-deviations]]\ncheck = "exits.deviates"\nreason = "Known."\n')
    result = project.run("-v", "--journal=j")
    assert verdicts(result) == {"deviates": "KNOWN-DEVIATION"}
    assert read_journal(project.path / "j").retried == {}


@pytest.mark.parametrize(("hang", "verdict"), [("at 1", "PASSED"), ("at 1 3", "INFRASTRUCTURE")])
def test_guest_that_hangs_where_another_one_has_deviated_accuses_nobody(
    project: Project, hang: str, verdict: str
) -> None:
    project.options(guest="less", bug="upper-halves-then-hang", hang=hang, version="7.2")
    given = '{rax: 0, rbx: 0xffff_ffff_0000_0000, rsi: "{n}"}'
    project.suite(check("deviates", "cpuid", "{rbx: native}", given=given, each="{n: [1, 2]}"))
    result = project.run("-v", "--journal=j")
    assert verdicts(result) == {"deviates": verdict}
    assert project.journal().count("fake-amd load") == 4
    # The one that hung was given as much time as ever, and those behind it all of it.
    assert project.journal().count("fake-amd wait-in-full") == 2
    if verdict == "INFRASTRUCTURE":
        assert "!!  rbx" in text_of(project)  # what was measured
