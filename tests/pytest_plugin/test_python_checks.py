"""Checks written in Python."""

from __future__ import annotations

from tests.support.project import Project, check

MARK = """
import pytest
from touchstone.machine.driver import AgentRefused
CITE = {"doc": "intel-sdm", "title": "CPUID", "says": "It clears the upper halves."}
"""


def mark(name: str, more: str = "") -> str:
    return (
        f"@pytest.mark.touchstone(id='exits.{name}', title='Check {name}', area='exits', cite=CITE{more})\n"
        f"def test_{name}"
    )


def test_python_checks(project: Project) -> None:
    project.options()
    project.suite(check("yaml", "nop", "{rax: 0}"))
    project.file(
        "test_checks.py",
        MARK
        + mark("conformant", ", tags=['mine'], level='may'")
        + "(target, subject, probe):\n"
        + "    results = probe('mov eax, 1\\nmov ebx, ecx', rcx=7, on='every-cpu')\n"
        + "    assert [(r.registers['rax'], r.registers['rbx']) for r in results] == [(1, 7), (1, 7)]\n"
        + "    assert (target.vendor, target.cpus, target.phase) == ('amd', 2, 'loaded')\n"
        + "    assert subject.claims['nested'] == 'hidden'\n"
        + mark("cycles", ", phase='native'")
        + "(target):\n"
        + "    for _ in range(3):\n"
        + "        target.load()\n        assert target.query()['cpus'] == '2'\n        target.unload()\n"
        + "    assert target.phase == 'unloaded'\n"
        + mark("refused", ", phase='native'")
        + "(target):\n"
        + "    with pytest.raises(AgentRefused, match='EPERM'):\n        target.load('refuse')\n"
        + "    assert target.phase == 'native'\n"
        + mark("deviation")
        + "(probe):\n    assert probe('cpuid')[0].registers['rax'] == 1\n"
        + mark("crash")
        + "(target, probe):\n    probe('hlt')\n"
        + mark("dies", ", phase='unloaded'")
        + "(target):\n    target.load('die')\n"
        + mark("mistake")
        + "(target):\n    undefined\n"
        + mark("link")
        + "(probe):\n    probe('int1')\n"
        + mark("other", ", requires='cpus >= 4'")
        + "(target):\n    assert False\n",
    )
    result = project.run("-v", "-rs")
    found = {}
    for line in result.outlines:
        if line.startswith(("test_checks.py::", "suite.yaml::")) and "[fake-amd] " in line:
            name, word = line.split("[fake-amd] ")
            found[name.split("::")[1].removeprefix("test_")] = word.split()[0]
    assert found == {
        "conformant": "PASSED",
        "exits.yaml": "PASSED",
        "cycles": "PASSED",
        "refused": "PASSED",
        "deviation": "FAILED",
        "crash": "CRASH",
        "dies": "CRASH",
        "mistake": "INFRASTRUCTURE",
        "link": "INFRASTRUCTURE",
        "other": "SKIPPED",
    }
    result.stdout.fnmatch_lines_random(
        [
            ">*assert probe('cpuid')*registers*rax*== 1",
            "last exits of CPU 0, newest last",
            "autopsy: guest triple fault (fake)",
            "*pytest 'test_checks.py::test_crash[[]fake-amd[]]' --target=fake-amd --hypervisor=veneer",
            "*needs cpus >= 4, fake-amd has 2",
            "exits  4 conformant, 1 deviation, 2 crash, 1 unsupported, 2 infrastructure*",
        ]
    )
    words = [line.split()[1] for line in project.journal()]
    assert words[:9] == ["start", *["load", "unload"] * 3, "reset", "load"], "native again, by a reset"
    assert project.run("-m", "mine and may").parseoutcomes()["passed"] == 1


def test_oracles_are_measured_before_a_check_that_loads_by_itself(project: Project) -> None:
    project.options()
    project.suite(check("yaml", "nop", "native"))
    project.file(
        "test_checks.py",
        MARK + mark("loads", ", phase='native'") + "(target):\n    target.load()\n    target.unload()\n",
    )
    project.run().assert_outcomes(passed=2)


def test_wrong_marks(project: Project) -> None:
    project.file(
        "test_wrong.py",
        "import pytest\n"
        "@pytest.mark.touchstone(id='x', area='exit', phaze='native', cite={'doc': 'd'}, requires='cpu>1')\n"
        "def test_wrong(target): pass\n",
    )
    project.file(
        "test_unused.py", "import pytest\n@pytest.mark.touchstone(id='y')\ndef test_unused(): pass\n"
    )
    project.run().stdout.fnmatch_lines_random(
        [
            "test_wrong.py:2: test_wrong: touchstone mark: unknown argument 'phaze'; did you mean phase?",
            "test_wrong.py:2: test_wrong: touchstone mark: title is missing",
            "test_wrong.py:2: test_wrong: touchstone mark: area must be one of broadcast, exits*",
            "test_wrong.py:2: test_wrong: touchstone mark: cite: *missing*'title' and 'says'*",
            "test_wrong.py:2: test_wrong: touchstone mark: requires: 'cpu' is nothing*",
            "test_unused.py:2: test_unused: touchstone mark: it must use the fixture target or probe",
        ]
    )


def test_ids_are_unique_over_yaml_and_python(project: Project) -> None:
    project.suite(check("same", "nop", "{rax: 0}"))
    project.file("test_same.py", MARK + mark("same") + "(target): pass\n")
    project.run().stdout.fnmatch_lines(["*the id 'exits.same' is already used at *"])


PARAMETERS = (
    MARK
    + """
def one(name, id):
    return pytest.param(name, marks=pytest.mark.touchstone(id=f"exits.{id}", title=f"Check {name}"))
"""
)


def test_a_parameter_may_be_a_check_of_its_own(project: Project) -> None:
    project.file(
        "test_many.py",
        PARAMETERS
        + "@pytest.mark.touchstone(area='exits', cite=CITE, phase='unloaded')\n"
        + "@pytest.mark.parametrize('name', [one('a', 'first'), one('b', 'second')])\n"
        + "def test_many(target, name):\n"
        + "    assert target.phase == 'unloaded'\n"
        + "    assert name == 'a', 'not a'\n",
    )
    result = project.run("-v")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines_random(
        ["*test_many[[]fake-amd-a[]]*PASSED*", "Check b", "*AssertionError: not a"]
    )


def test_what_a_mark_does_not_say_the_ones_around_it_say(project: Project) -> None:
    project.file(
        "test_around.py",
        PARAMETERS
        + "pytestmark = pytest.mark.touchstone(area='exits', cite=CITE, phase='unloaded')\n"
        + "@pytest.mark.touchstone(phase='native', level='may')\n"
        + "class TestNative:\n"
        + "    @pytest.mark.parametrize('name', [one('a', 'first'), one('b', 'second')])\n"
        + "    def test_phase(self, target, name): assert target.phase == 'native'\n"
        + "    @pytest.mark.touchstone(id='exits.third', title='Check c', phase='loaded')\n"
        + "    def test_closest(self, target): assert target.phase == 'loaded'\n"
        + "@pytest.mark.touchstone(id='exits.fourth', title='Check d')\n"
        + "def test_module(target): assert target.phase == 'unloaded'\n",
    )
    project.run("-v").assert_outcomes(passed=4)
    project.run("-m", "may").assert_outcomes(passed=3, deselected=1)
    project.file(
        "test_alone.py",
        MARK + "pytestmark = pytest.mark.touchstone(area='exits', cite=CITE)\ndef test_x(target): pass\n",
    )
    project.run().stdout.fnmatch_lines(["*test_x: touchstone mark: id is missing"])


def test_two_parameters_with_one_id(project: Project) -> None:
    project.file(
        "test_twice.py",
        PARAMETERS
        + "@pytest.mark.touchstone(area='exits', cite=CITE)\n"
        + "@pytest.mark.parametrize('name', [one('a', 'same'), one('b', 'same')])\n"
        + "def test_twice(target, name): pass\n",
    )
    project.run().stdout.fnmatch_lines(
        ["test_twice.py:*: test_twice: touchstone mark: two parameters*same id"]
    )


def test_assembly_that_does_not_assemble(project: Project) -> None:
    project.file("test_as.py", MARK + mark("bad") + "(probe):\n    probe('frobnicate')\n")
    result = project.run("-v")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*test_as.py:7:1: the assembler says: *frobnicate*"])


def test_fixture_without_mark(project: Project) -> None:
    project.file("test_no_mark.py", "def test_x(target): pass\n")
    project.run().stdout.fnmatch_lines(["*mark the function with @pytest.mark.touchstone*"])


def test_order_over_files(project: Project) -> None:
    project.suite(check("late", "nop", "{rax: 0}", phase="unloaded"), "a.yaml")
    project.file("test_b.py", MARK + mark("early", ", phase='native'") + "(target): pass\n")
    project.file("test_plain.py", "def test_plain(): pass\n")
    result = project.run("-v", "a.yaml", "test_plain.py", "test_b.py", target="all")
    order = [line.split()[0] for line in result.outlines if "PASSED" in line]
    assert order == [
        "test_b.py::test_early[fake-amd]",
        "a.yaml::exits.late[fake-amd]",
        "test_plain.py::test_plain",
        "test_b.py::test_early[fake-intel]",
        "a.yaml::exits.late[fake-intel]",
    ]


def test_requirements_of_a_python_check_are_measured_without_a_suite(project: Project) -> None:
    project.options()
    project.file(
        "test_checks.py",
        MARK
        + mark("svm", ", requires='cpuid.svm and not cpuid.7.ebx[0]'")
        + "(target):\n    assert target.phase == 'loaded'\n"
        + mark("vmx", ", requires='cpuid.vmx'")
        + "(target):\n    assert False\n",
    )
    result = project.run("-rs", "test_checks.py")
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*needs cpuid.vmx, fake-amd has 0*"])


def test_a_refusal_is_shown_where_the_check_has_asked(project: Project) -> None:
    """And not in the lines of the driver that has read it."""
    project.file(
        "test_refused.py",
        MARK
        + "".join(
            mark(name, ", phase='native'") + "(target):\n    target.load('refuse')\n"
            for name in ("one", "other")
        ),
    )
    result = project.run("test_refused.py")
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(
        [
            ">*target.load('refuse')",
            "E*AgentRefused: EPERM: the firmware locked it off",
            "fake-amd: 2 checks deviate for the same reason: refused: EPERM: the firmware*",
        ]
    )
    assert "fake_target.py" not in result.stdout.str()
    assert "_asking" not in result.stdout.str()


def test_what_was_refused_before_is_shown_once(project: Project) -> None:
    """A subject that offers no counters, or cannot be loaded again, refuses it to each check that asks."""
    checks = "".join(
        mark(name, ", phase='native'") + f"(target):\n    target.load('{option}')\n"
        for name, option in (("one", "refuse"), ("two", "refuse"), ("three", "refuse"), ("other", "die"))
    )
    project.file("test_refused.py", MARK + checks)
    result = project.run("test_refused.py")
    result.assert_outcomes(failed=4)
    text = result.stdout.str()
    assert text.count(">   ") + text.count(">\t") == 2, "two tracebacks"
    result.stdout.fnmatch_lines(
        [
            "Check two",
            "fake-amd: EPERM: the firmware locked it off",
            "the same as of test_refused.py::test_one[[]fake-amd[]], which is shown in full (-vv *",
            "again: pytest 'test_refused.py::test_two[[]fake-amd[]]' *",
            "fake-amd: 3 checks deviate for the same reason: refused: EPERM: the firmware*",
        ]
    )
    assert project.run("-vv", "test_refused.py").stdout.str().count("which is shown in full") == 0
