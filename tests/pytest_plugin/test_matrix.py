"""Runs on the cells of a matrix, in parts, and what is only planned."""

from __future__ import annotations

import re

import pytest

from tests.support.project import INVENTORY, Project, check
from touchstone.journal.lines import Key
from touchstone.journal.read import read_journal
from touchstone.pytest_plugin.shards import Shard

MATRIX = """
[[matrix.night.include]]
target = "fake-*"
cpus = [1, 2]
[[matrix.night.include]]
target = "fake-amd"
subject = "none"
[[matrix.night.exclude]]
target = "fake-intel"
cpus = 1
reason = "one is dull"
"""
CHECKS = "".join(check(f"c{n}", "nop", "{rax: 0}") for n in range(20))
TWO = check("two", "nop", "{rax: 0}", requires="cpus >= 2")
NAMED = check("named", "nop", "{rax: 0}", requires="target == fake-amd")


@pytest.fixture
def night(project: Project) -> Project:
    project.file("targets/matrix.toml", MATRIX)
    project.suite(CHECKS + TWO + NAMED)
    return project


def test_cells_are_targets(night: Project) -> None:
    result = night.run("--matrix=night", "--journal=j", "-v", target=None)
    assert result.ret == 0
    result.stdout.fnmatch_lines(["touchstone: Veneer on fake-amd+cpus=1, fake-amd, fake-intel+cpus=2"])
    found = read_journal(night.path / "j")
    assert set(found.targets) == {"fake-amd+cpus=1", "fake-amd", "fake-intel+cpus=2"}
    assert {name: line.facts["cpus"] for name, line in found.targets.items()} == {
        "fake-amd+cpus=1": "1",
        "fake-amd": "2",
        "fake-intel+cpus=2": "2",
    }
    unsupported = {str(key): line.reason for key, line in found.judged.items() if line.reason}
    assert unsupported == {
        "exits.two[fake-amd+cpus=1]": "needs cpus >= 2, fake-amd+cpus=1 has 1",
        "exits.named[fake-intel+cpus=2]": "needs target == fake-amd, fake-intel+cpus=2 has fake-intel",
    }


def test_target_picks_cells_and_failures_name_them(night: Project) -> None:
    night.suite(check("wrong", "nop", "{rax: 1}", claims="true"))
    result = night.run("--matrix=night", "-n", "auto", target="*+cpus=1", process=True)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["again: pytest 'suite.yaml::exits.wrong[[]fake-amd+cpus=1[]]' --target=*+cpus=1 --matrix=night *"]
    )


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--matrix=nihgt"], "targets/matrix.toml:*: there is no matrix 'nihgt'; did you mean night?"),
        (["--matrix=night", "--target=qemu"], "no target 'qemu' in the matrix night*"),
        (
            ["--matrix=night", "--hypervisor=hypervisor/veneer.toml"],
            "the matrix night judges veneer, none, and not *",
        ),
    ],
)
def test_what_is_asked_wrongly(night: Project, arguments: list[str], text: str) -> None:
    result = night.run(*arguments, target=None)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {text}"])


def test_plan_says_what_would_run_and_contacts_nothing(night: Project) -> None:
    options = f'journal = "{night.path / "journal"}"\n'
    night.inventory(INVENTORY.replace("cpus = 2\n", f"cpus = 2\n{options}"))
    result = night.run("--matrix=night", "--plan", "-n", "auto", target=None)
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        [
            "Veneer on 3 targets of the matrix night: 64 checks to judge",
            "how long it takes is not known: *",
            "fake-amd+cpus=1: 21 checks (fake-amd; cpus 1)",
            "    1 not: needs cpus >= 2, fake-amd+cpus=1 has 1",
            "fake-amd: 22 checks (fake-amd)",
            "fake-intel+cpus=2: 21 checks (fake-intel; cpus 2)",
            "    1 not: needs target == fake-amd, fake-intel+cpus=2 has fake-intel",
            "fake-intel+cpus=1 with veneer: left out: one is dull (targets/matrix.toml:8)",
            "another run (--hypervisor=none): fake-amd",
        ]
    )
    assert night.journal() == []
    assert not list((night.path / "build" / "journals").iterdir())
    night.run("--matrix=night", target="fake-amd")
    result = night.run("--matrix=night", "--plan", target=None)
    result.stdout.re_match_lines(
        [
            r"by build/journals/\S+: [\d.]+ s in all, [\d.]+ s with a worker for each target, without "
            r"fake-amd\+cpus=1, fake-intel\+cpus=2, which nothing is known of",
            r"fake-amd: 22 checks, [\d.]+ s \(fake-amd\)",
        ]
    )
    night.run(target="fake-intel")  # a newer journal, which knows none of these
    # As it is for a run that has listed the journals just before another one removed the oldest.
    (night.path / "build" / "journals" / "removed.jsonl").symlink_to("nowhere")
    result = night.run("--matrix=night", "--plan", target="fake-amd")
    result.stdout.re_match_lines([r"fake-amd: 22 checks, [\d.]+ s \(fake-amd\)"])


def test_plan_names_targets_that_this_host_cannot_run(project: Project) -> None:
    project.inventory(INVENTORY + '[targets.kvm]\ndriver = "qemu"\nvendor = "intel"\naccel = "kvm"\n')
    project.file(
        "conftest.py",
        "from touchstone.drivers import registry\n"
        "registry.unavailable = lambda one: 'the CPU has no vmx flag' if one.name == 'kvm' else ''\n",
    )
    project.suite(TWO)
    result = project.run("--plan", target="all", process=True)
    result.stdout.fnmatch_lines(
        ["kvm: 0 checks*", "    1 not: this host cannot run it: the CPU has no vmx flag"]
    )


def test_parts_are_the_whole_and_nothing_is_in_two(night: Project) -> None:
    planned: list[Key] = []
    for number in (1, 2, 3):
        result = night.run("--matrix=night", f"--shard={number}/3", f"--journal=j{number}", target=None)
        assert result.ret == 0
        planned += read_journal(night.path / f"j{number}").planned
    night.run("--matrix=night", "--journal=whole", target=None)
    whole = list(read_journal(night.path / "whole").planned)
    assert sorted(planned) == sorted(whole)
    assert len(whole) == 66
    plan = night.run("--matrix=night", "--shard=2/3", "--plan", target=None)
    said = next(line for line in plan.outlines if "part 2/3" in line)
    (others,) = map(int, re.findall(r"part 2/3 \((\d+) checks are in others\)", said))
    assert others == len(whole) - len(read_journal(night.path / "j2").planned)


def test_what_is_added_moves_nothing() -> None:
    """Which part a check is in depends on its identity alone; parts are about equally long."""
    shards = [Shard(number, 5) for number in range(1, 6)]
    names = [f"exits.c{n}\0qemu-amd\0veneer" for n in range(1000)]
    parts = [[name for name in names if shard.has(name)] for shard in shards]
    assert sorted(name for part in parts for name in part) == sorted(names)
    assert all(150 < len(part) < 250 for part in parts)
    # Seen once, and never to be another: a part of tonight is compared with the same part of last night.
    assert [next(s.number for s in shards if s.has(name)) for name in names[:8]] == EXPECTED


EXPECTED = [1, 5, 4, 1, 5, 4, 1, 4]


@pytest.mark.parametrize("text", ["0/5", "6/5", "2", "/", "a/b", "1/0", "-1/5", "1/1000000"])
def test_what_is_no_part(project: Project, text: str) -> None:
    project.suite(TWO)
    result = project.run(f"--shard={text}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*'{text}' is no part such as 2/5*"])
