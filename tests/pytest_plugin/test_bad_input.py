"""Errors in options, inventory, subject and suites name file, line, what is wrong, and what was meant."""

from __future__ import annotations

import codecs
from pathlib import Path

import pytest

from tests.support.project import INVENTORY, SUITE, Project, check
from tests.support.requirement_texts import requirements
from touchstone import shipped

PASSING = check("passing", "nop", "{rax: 0}")


def test_unknown_target(project: Project) -> None:
    project.suite(PASSING)
    result = project.run(target="fake-adm")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: no target 'fake-adm' in targets/inventory.toml; did you mean fake-amd?"]
    )


def test_unknown_target_far_from_any(project: Project) -> None:
    result = project.run(target="zzz")
    result.stderr.fnmatch_lines(["ERROR: no target 'zzz' in *inventory.toml (known: fake-amd, fake-intel)"])


@pytest.mark.parametrize("target", ["fake-amd", None])
def test_no_home_directory(target: str | None, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's user is often in no /etc/passwd. An installed package has no checkout to build in."""
    monkeypatch.setattr(shipped, "checkout", lambda: None)
    monkeypatch.setattr(Path, "home", no_home)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    project.inventory(INVENTORY.replace("fake-amd", target or "qemu-amd"))
    project.suite(PASSING)
    result = project.run(target=target)
    lines = result.stderr if target else result.stdout
    lines.fnmatch_lines(
        ["*user * has no home directory to keep what is built in: set XDG_CACHE_HOME to an *"]
    )
    assert "INTERNALERROR" not in result.stdout.str()
    monkeypatch.setenv("XDG_CACHE_HOME", str(project.path / "cache"))
    assert shipped.build_directory() == project.path / "cache" / "touchstone"


def no_home() -> Path:
    raise RuntimeError("Could not determine home directory.")


def test_no_target_named(project: Project) -> None:
    result = project.run(target=",")
    result.stderr.fnmatch_lines(["ERROR: --target names no target: give a name, a list*"])


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["--target=fake-*"], ["fake-amd", "fake-intel"]),
        (["--target=all"], ["fake-amd", "fake-intel"]),
        (["--target=fake-intel,fake-amd"], ["fake-amd", "fake-intel"]),
        (["--target=fake-intel", "--hv-target=fake-amd"], ["fake-amd", "fake-intel"]),
        (["--hv-target=fake-intel"], ["fake-intel"]),
    ],
)
def test_targets_are_selected(project: Project, words: list[str], names: list[str]) -> None:
    project.suite(PASSING)
    result = project.run("--collect-only", "-q", *words, target=None)
    found = [line.split("[")[1].rstrip("]") for line in result.outlines if "[" in line]
    assert found == names


def test_default_target_that_is_not_there(project: Project) -> None:
    project.suite(PASSING)
    result = project.run(target=None)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["no target 'qemu-amd' in targets/inventory.toml*"])


def test_list_targets(project: Project) -> None:
    result = project.run("--list-targets", target=None)
    assert result.ret == 0
    result.stdout.fnmatch_lines(["fake-amd *fake *amd *2 CPUs*", "fake-intel *fake *intel *4 CPUs*"])


def test_all_errors_of_an_inventory_are_reported_at_once(project: Project) -> None:
    project.inventory(
        INVENTORY
        + """
[targets.bad]
driver = "fake"
vendr = "amd"
cpus = "two"

[targets.worse]
driver = "fake"
vendor = "arm"
cpus = 257
timeout-factor = 0
colour = "red"

[[targets.worse.known-deviations]]
chek = "x"
until = "tomorrow"

[targets.UPPER]
driver = "fake"
vendor = "amd"
journl = "x"

[targets.last]
driver = "fake"
vendor = "amd"
journl = "x"

[target.typo]
"""
    )
    result = project.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [
            "*targets/inventory.toml:12: vendor is missing",
            "*targets/inventory.toml:14: unknown key 'vendr'; did you mean vendor?",
            "*targets/inventory.toml:15: cpus must be a whole number, 1 to 256, not 'two' (a text)",
            "*targets/inventory.toml:19: vendor must be amd or intel, not 'arm'*",
            "*targets/inventory.toml:20: cpus must be a whole number, 1 to 256, not 257 (*; *nr_cpus=256",
            "*targets/inventory.toml:21: timeout-factor must be from 0.01 to 1000, not 0 (a number)",
            "*targets/inventory.toml:24: check is missing",
            "*targets/inventory.toml:24: reason is missing",
            "*targets/inventory.toml:25: unknown key 'chek'; did you mean check?",
            "*targets/inventory.toml:26: until must be a date such as 2027-01-01, not 'tomorrow' (a text)",
            "*targets/inventory.toml:28: 'UPPER' cannot be a target's name*",
            "*targets/inventory.toml:36: journl: unknown key; the fake driver knows journal*",
            "*targets/inventory.toml:38: unknown key 'target'; did you mean targets?",
        ]
    )


def test_box_cannot_exist_twice(project: Project) -> None:
    project.inventory(
        INVENTORY
        + """
[targets.box]
driver = "ssh"
vendor = "amd"
host = "box"
instances = 2

[targets.none]
driver = "fake"
vendor = "amd"
instances = 0
"""
    )
    result = project.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [
            "*targets/inventory.toml:16: instances: there is one box, with one address; only a bare*",
            "*targets/inventory.toml:21: instances must be a whole number, 1 to 64, not 0 (a number)",
        ]
    )


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("[targets.a\n", "targets/inventory.toml:1:11: Expected ']' at the end of a table declaration"),
        ("", "targets/inventory.toml:1: there are no targets: an entry begins with [[]targets.NAME[]]"),
        ("targets = 3\n", "targets/inventory.toml:1: targets must be a table, not 3 (a number)"),
        ("[targets]\na = 1\n", "*targets/inventory.toml:2: a must be a table, not 1 (a number)*"),
        ("\xff", "targets/inventory.toml:1:1: Invalid statement"),
    ],
)
def test_inventory_that_cannot_be_read(project: Project, text: str, error: str) -> None:
    project.inventory(text)
    project.run().stderr.fnmatch_lines([f"ERROR: {error}"])


def test_inventory_that_is_missing(project: Project) -> None:
    project.run("--touchstone-inventory=nowhere.toml").stderr.fnmatch_lines(
        ["ERROR: nowhere.toml: No such file or directory"]
    )


def test_unknown_hypervisor(project: Project) -> None:
    result = project.run("--hypervisor=venner")
    result.stderr.fnmatch_lines(["ERROR: no hypervisor 'venner' in hypervisor/; did you mean veneer?*"])


def test_hypervisor_given_by_path(project: Project) -> None:
    project.file("other/subject.mk", "")
    project.file(
        "other/mine.toml",
        'name = "mine"\n[deploy.bare]\ndirectory = "."\n[claims.cpuid-signature]\nebx = 7\n',
    )
    project.suite(check("claim", "nop", "{rax: 0}", requires="subject.cpuid-signature.ebx == 7"))
    result = project.run("--hypervisor=other/mine.toml")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["touchstone: mine on fake-amd"])


def test_broken_subject(project: Project) -> None:
    project.file(
        "hypervisor/broken.toml",
        'nme = "x"\n[claims]\nnested = 1.5\nbig = -1\n[deploy.bare]\ndirectory = "nowhere"\n',
    )
    project.run("--hypervisor=broken").stderr.fnmatch_lines(
        [
            "*hypervisor/broken.toml:1: unknown key 'nme'; did you mean name?",
            "*hypervisor/broken.toml:1: name is missing",
            "*hypervisor/broken.toml:3: a claim is a text, true or false, or a number*not 1.5*",
            "*hypervisor/broken.toml:4: a claim is a text*not -1*",
            "*hypervisor/broken.toml:6: there is no subject.mk in */hypervisor/nowhere*",
        ]
    )


def test_errors_of_all_suites_are_reported(project: Project) -> None:
    project.suite("  - id: exits.x\n    titel: T\n    run: nop\n    expect: {raxx: 0}\n", "one.yaml")
    project.suite(PASSING.replace("nop", "frobnicate eax"), "two.yaml")
    project.suite(PASSING.replace("passing", "other").replace("nop", "mov eax, [bogus]"), "three.yaml")
    project.suite(check("twice", "nop", "{rax: 0}"), "four.yaml")
    project.suite(check("twice", "nop", "{rax: 0}"), "five.yaml")
    project.file("six.yaml", "suite: [\n")
    result = project.run()
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.assert_outcomes(errors=5)
    result.stdout.fnmatch_lines_random(
        [
            "*ERROR collecting one.yaml*",
            "one.yaml:6:5: *titel*title*",
            "one.yaml:8:*raxx*",
            "two.yaml:7:10: the assembler says: *frobnicate*",
            "three.yaml:7:10: *bogus*",
            "four.yaml:5:*: the id 'exits.twice' is already used at five.yaml:5:*",
            "six.yaml:*",
        ]
    )


def test_upper_case_suffix(project: Project) -> None:
    project.suite(PASSING, "suite.YML")
    project.run().assert_outcomes(passed=1)


def test_what_the_assembler_refuses_is_reported_with_all_else_that_is_wrong_in_a_suite(
    project: Project,
) -> None:
    project.suite(
        check("key", "frobnicate eax", "{rax: 0}", levl="must")
        + check("run", "vmrnu rax", "{rax: 0}")
        + check("both", "mov eax, [bogus]", "{raxx: 0}")
        + check("variable", "mov eax, {vlaue}; nop", "{rax: 0}", each="{value: [1]}")
        + check("axis", "mov eax, {value}", "{rax: 0}", each="{value: []}")
    )
    result = project.run()
    result.assert_outcomes(errors=1)
    assert [line for line in result.outlines if line.startswith("suite.yaml:")] == [
        "suite.yaml:7:5: unknown key 'levl' in a check (did you mean 'level'?)",
        "suite.yaml:8:10: the assembler says: no such instruction: `frobnicate eax'",
        "suite.yaml:12:10: the assembler says: no such instruction: `vmrnu rax'",
        "suite.yaml:16:10: 'bogus' is no register, no constant and no label of this body",
        "suite.yaml:17:14: 'raxx' is no register (did you mean 'rax'?)",
        "suite.yaml:21:10: {vlaue} is no variable of `each` and nothing that the assembler knows",
        "suite.yaml:25:19: each.value is an empty list",
        "suite.yaml:26:10: {value} is no variable of `each` and nothing that the assembler knows",
    ]


def test_yaml_file_named_on_the_command_line_is_a_suite(project: Project) -> None:
    project.file("notes.yaml", "a: 1\n")
    project.suite(PASSING)
    assert project.run().parseoutcomes() == {"passed": 1}
    result = project.run("notes.yaml")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["notes.yaml:1:*"])


GOOD = SUITE.lstrip() + PASSING
LOST: dict[str, tuple[bytes, str]] = {
    "byte order mark": (codecs.BOM_UTF8 + GOOD.encode(), ""),
    "indented": (b"# head\n\n  " + GOOD.replace("\n", "\n  ").rstrip(" ").encode(), ""),
    "quoted key": (GOOD.replace("suite:", '"suite":').encode(), ""),
    "old Macintosh": (GOOD.replace("\n", "\r").encode(), ""),
    "UTF-16": (
        codecs.BOM_UTF16_LE + GOOD.encode("utf-16-le"),
        ":1:1: not UTF-8 but UTF-16; save*",
    ),
    "misspelt": (GOOD.replace("suite:", "suit:").encode(), ":1:1: unknown key 'suit' in the suite (did you*"),
    "empty": (b"", ":1:1: the file is empty; a suite has the keys suite, area and checks"),
    "not even near": (b"jobs: [1]\n", ":1:1: the suite has no 'suite'"),
    "late": (b"# x\n" * 20_000 + GOOD.encode(), ""),
}


@pytest.mark.parametrize("folder", ["conformance/area", "suites/below"])
@pytest.mark.parametrize("how", LOST)
def test_no_suite_vanishes(project: Project, how: str, folder: str) -> None:
    text, error = LOST[how]
    project.suite(check("other", "nop", "{rax: 0}"), f"{folder}/other.yaml")
    (project.path / folder / "lost.yml").write_bytes(text)
    result = project.run(folder.partition("/")[0])
    if error:
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines([f"{folder}/lost.yml{error}"])
    else:
        result.assert_outcomes(passed=2)


@pytest.mark.parametrize(
    "how", ["byte order mark", "indented", "quoted key", "old Macintosh", "UTF-16", "misspelt"]
)
def test_no_suite_vanishes_elsewhere(project: Project, how: str) -> None:
    (project.path / "lost.yaml").write_bytes(LOST[how][0])
    assert project.run().parseoutcomes() in ({"passed": 1}, {"errors": 1})


def test_other_yaml_files_are_left_alone(project: Project) -> None:
    project.suite(PASSING, "tests/suite.yaml")
    project.file("compose.yaml", "services: {}\n")
    project.file(".github/workflows/ci.yml", "jobs:\n  suite: x\n")
    project.file("charts/values.yaml", "test:\n  suite: x\n")
    project.file("conformance/requirements.yaml", requirements("one"))
    project.file("conformance/requirements/two.yaml", requirements("two"))
    assert project.run().parseoutcomes() == {"passed": 1}
    assert project.run(".").parseoutcomes() == {"passed": 1}
    assert project.run("charts", "tests").parseoutcomes() == {"passed": 1}


def test_requirements_are_known(project: Project) -> None:
    project.file("conformance/requirements.yaml", requirements("one", "two"))
    project.suite(check("a", "nop", "{rax: 0}", proves="[twoo]"))
    project.run().stdout.fnmatch_lines(["suite.yaml:*twoo*two*"])
    project.file("conformance/requirements.yaml", "- 1\n")
    project.run().stdout.fnmatch_lines(
        ["conformance/requirements.yaml:1:3: a requirement must be a mapping*"]
    )


def test_touchstone_s_suites_are_added_where_a_project_wants_them(project: Project) -> None:
    """A project with targets of its own does not get them unasked."""
    project.suite(PASSING)
    settings = (project.path / "pyproject.toml").read_text()
    unasked = project.run("--collect-only", "-q").outlines
    project.file("pyproject.toml", settings + "touchstone_shipped_suites = true\n")
    wanted = project.run("--collect-only", "-q").outlines
    named = project.run("--collect-only", "-q", "suite.yaml").outlines
    ids = [sum("[fake-amd]" in line for line in lines) for lines in (unasked, wanted, named)]
    assert ids[0] == ids[2] > 0
    assert ids[1] > 300
    assert any("exits/cpuid.yaml::exits.cpuid.hundred-exits[fake-amd]" in line for line in wanted)


@pytest.mark.parametrize(
    ("setting", "why"),
    [("", "the project has targets/inventory.toml"), ("false", "touchstone_shipped_suites is off")],
)
def test_project_without_suites_learns_how_to_get_them(project: Project, setting: str, why: str) -> None:
    if setting:
        settings = (project.path / "pyproject.toml").read_text()
        project.file("pyproject.toml", f"{settings}touchstone_shipped_suites = {setting}\n")
    said = f"no check was found, and Touchstone's own suites are not run since {why}: set"
    for words in ([], ["-q"], ["--collect-only"]):
        result = project.run(*words)
        assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
        result.stdout.fnmatch_lines(
            [f"{said} touchstone_shipped_suites = true in the *pyproject.toml, or name suites, such as /*"]
        )
    project.suite(PASSING)
    project.run().stdout.no_fnmatch_line("no check was found*")


def test_selection_by_marks_and_words(project: Project) -> None:
    project.file("conformance/requirements.yaml", requirements("some.need"))
    project.suite(
        check("first", "nop", "{rax: 0}", level="may", tags="[slow-one]", proves="[some.need]")
        + check("second", "nop", "{rax: 0}", phase="unloaded")
    )
    for words, count in (
        (("-m", "may"), 1),
        (("-m", "exits and not may"), 1),
        (("-m", "slow-one"), 1),
        (("-m", "some.need"), 1),
        (("-m", "unloaded"), 1),
        (("-k", "first"), 1),
        (("-k", "exits"), 2),
        (("-k", "fake-amd and second"), 1),
    ):
        assert project.run(*words).parseoutcomes().get("passed") == count, words
    assert project.run("suite.yaml::exits.first[fake-amd]").parseoutcomes() == {"passed": 1}


def test_timeout_factor(project: Project) -> None:
    result = project.run("--touchstone-timeout-factor=none")
    result.stderr.fnmatch_lines(["*'none' is not a factor from 0.01 to 1000"])


def test_target_option_of_another_plugin(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.file("rival.py", "def pytest_addoption(parser):\n    parser.addoption('--target')\n")
    project.suite(PASSING)
    monkeypatch.setenv("TOUCHSTONE_NO_TARGET_OPTION", "1")
    monkeypatch.syspath_prepend(str(project.path))
    result = project.run("-p", "rival", "--hv-target=fake-amd", "--target=esp32", target=None)
    result.assert_outcomes(passed=1)
    result = project.run("-p", "rival", "--target=fake-amd", target=None)
    result.stdout.fnmatch_lines(
        ["--target=fake-amd belongs to nobody*name Touchstone's targets with --hv-target"]
    )


def test_suite_line_after_comments_is_found(project: Project) -> None:
    project.suite(PASSING, head="# comment\n" * 50 + SUITE)
    project.run().assert_outcomes(passed=1)
