"""When the probes of the next check are sent while pytest reports, and when they are not."""

from __future__ import annotations

import pytest

from tests.support.project import Project, check, verdicts
from touchstone.engine.presence import LOOK

JOURNAL = """
from pathlib import Path
import pytest

def note(text):
    with Path("journal").open("a") as file:
        file.write(text + "\\n")

@pytest.hookimpl(trylast=True)
def pytest_runtest_logstart(nodeid):
    note("start " + nodeid.split(".")[-1].split("[")[0])

@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logfinish(nodeid):
    note("finish " + nodeid.split(".")[-1].split("[")[0])
"""
A, B, C = "b801000000", "b802000000", "b803000000"


@pytest.fixture
def journaled(project: Project) -> Project:
    project.options(sends="yes")
    project.file("conftest.py", JOURNAL)
    return project


def suite(b: str = "{rax: 2}", run: str = "'mov eax, 2'") -> str:
    return (
        check("a", "'mov eax, 1'", "{rax: 1}")
        + check("b", run, b, claims="true")
        + check("c", "'mov eax, 3'", "{rax: 3}")
    )


def told(project: Project) -> list[str]:
    lines = (line.removeprefix("fake-amd ").replace(LOOK.hex(), "look") for line in project.journal())
    return [line for line in lines if line.startswith(("start ", "send ", "finish "))]


def test_sent_when_the_check_before_holds(journaled: Project) -> None:
    journaled.suite(suite())
    journaled.run().assert_outcomes(passed=3)
    assert told(journaled) == [
        "start a", f"send {A}", f"send look {B}", "finish a",
        "start b", f"send look {C}", "finish b",
        "start c", "send look", "finish c",
    ]  # fmt: skip


def test_not_sent_when_the_check_before_fails(journaled: Project) -> None:
    journaled.suite(suite(b="{rax: 7}"))
    journaled.run().assert_outcomes(passed=2, failed=1)
    assert told(journaled)[4:] == [
        "start b", "send look", "finish b", "start c", f"send {C}", "send look", "finish c",
    ]  # fmt: skip


def test_crash_by_a_probe_sent_ahead_counts_for_its_own_check(journaled: Project) -> None:
    journaled.suite(suite(run="invd", b="{rax: 0}"))
    assert verdicts(journaled.run("-v")) == {"a": "PASSED", "b": "CRASH", "c": "PASSED"}


COUNTED = "{exits: {cpuid: 1}}"
CPUID = "0fa2"


def test_sent_between_two_readings_of_its_exit_counters(journaled: Project) -> None:
    journaled.suite(suite(run="cpuid", b=COUNTED))
    journaled.run().assert_outcomes(passed=3)
    assert told(journaled)[:7] == [
        "start a", f"send {A}", f"send look exits {CPUID} exits", "finish a",
        "start b", f"send look {C}", "finish b",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "second",
    [
        check("d", "'invd; cpuid'", COUNTED, claims="true"),
        check("d", "'cpuid; invd'", COUNTED, claims="true"),
    ],
    ids=["before", "behind"],
)
def test_crash_between_two_readings_counts_for_the_check_that_is_counted(
    journaled: Project, second: str
) -> None:
    journaled.suite(check("b", "cpuid", COUNTED) + second + check("e", "cpuid", COUNTED))
    assert verdicts(journaled.run("-v")) == {"b": "PASSED", "d": "CRASH", "e": "PASSED"}


def test_not_sent_across_a_python_check(journaled: Project) -> None:
    journaled.file("conftest.py", JOURNAL + "pytest_plugins = ['touchstone.pytest_plugin.fixtures']\n")
    journaled.suite(check("a", "'mov eax, 1'", "{rax: 1}"), "a.yaml")
    journaled.file(
        "test_b.py",
        "import pytest\n"
        "@pytest.mark.touchstone(id='exits.b', title='B', area='exits',"
        " cite={'doc': 'x', 'title': 'x', 'says': 'x'})\n"
        "def test_b(target): pass\n",
    )
    journaled.suite(check("c", "'mov eax, 3'", "{rax: 3}"), "c.yaml")
    journaled.run("a.yaml", "test_b.py", "c.yaml").assert_outcomes(passed=3)
    assert [line for line in told(journaled) if "send" in line] == [
        f"send {A}", "send look", "send look", f"send {C}", "send look",
    ]  # fmt: skip
    assert told(journaled)[-4:] == ["start c", f"send {C}", "send look", "finish c"]


@pytest.mark.parametrize(
    "between",
    [
        "@pytest.fixture(autouse=True)\ndef anything(): yield\n",
        "def pytest_collection_modifyitems(items):\n"
        "    items[1].add_marker(pytest.mark.skipif(False, reason='no'))\n"
        "    items[2].add_marker(pytest.mark.skipif(False, reason='no'))\n",
    ],
    ids=["fixture", "mark"],
)
def test_not_sent_where_a_fixture_or_mark_comes_between(journaled: Project, between: str) -> None:
    journaled.file("conftest.py", JOURNAL + between)
    journaled.suite(suite())
    journaled.run().assert_outcomes(passed=3)
    assert told(journaled) == [
        line
        for name, code in (("a", A), ("b", B), ("c", C))
        for line in (f"start {name}", f"send {code}", "send look", f"finish {name}")
    ]


def test_sent_again_after_another_request_to_the_target(journaled: Project) -> None:
    journaled.file(
        "conftest.py",
        JOURNAL
        + "from touchstone.pytest_plugin.run import existing_run\n"
        + "def pytest_runtest_teardown(item):\n"
        + "    for session in existing_run(item.config)._sessions.values():\n"
        + "        with session.asking() as driver:\n            driver.nmi_counts()\n",
    )
    journaled.suite(suite())
    journaled.run().assert_outcomes(passed=3)
    assert [line for line in told(journaled) if B in line] == [f"send look {B}", f"send {B}"]
