"""Known deviations that are written from what a run has found, and how little else of a file changes."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from tests.support.checkout import ROOT
from tests.support.journals import a_journal, judged_line, key, target_line
from touchstone.cli import main
from touchstone.config.expectations import ending_soon, when_of, with_entries, without_entry
from touchstone.config.inventory import read_inventory
from touchstone.config.subjects import read_subject
from touchstone.config.tomlfile import TomlFile
from touchstone.config.waivers import Waiver
from touchstone.words import Verdict

GOOD, BAD, MACHINE = Verdict.CONFORMANT, Verdict.DEVIATION, Verdict.MACHINE
SUBJECT = """\
# Ours.
name = "veneer"   # the name
title = "Veneer"

# What is known.
[[known-deviations]]
check = "exits.old"
reason = "it is old"          # and stays
until = 2099-01-01

# Nested virtualization comes later.
[[known-deviations]]
check = "nested.*"
reason = "not yet"

# What it claims.
[claims]
nested = "hidden"
"""
INVENTORY = """\
[targets.qemu-amd]
driver = "qemu"
vendor = "amd"

[[targets.qemu-amd.unsupported]]
check = "a"
reason = "b"

[[targets.qemu-amd.known-deviations]]
check = "exits.machine"
reason = "known"

[[targets.qemu-amd.unsupported]]
check = "c"
reason = "d"

# The other one.
[targets.bochs-amd]
driver = "bochs"
vendor = "amd"
# Machines in a rack come here.
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "hypervisor").mkdir()
    (tmp_path / "targets").mkdir()
    (tmp_path / "hypervisor" / "veneer.toml").write_text(SUBJECT)
    (tmp_path / "targets" / "inventory.toml").write_text(INVENTORY)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def changes(before: str, after: str) -> list[str]:
    """Lines that were added (+) and taken out (-), except for empty ones."""
    import difflib

    found = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
    return [line for line in found if line[:3] not in ("---", "+++") and line[:2] not in ("@@", "+", "-")]


def test_new_deviations_are_put_behind_the_others(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = key("exits.new")
    verdicts = {
        wrong: judged_line(wrong, BAD, cause='rax: expected "a\\b"'),
        key("exits.mine"): judged_line(key("exits.mine"), MACHINE, listed=False, reason="it is so"),
        key("exits.his", "bochs-amd"): judged_line(
            key("exits.his", "bochs-amd"), MACHINE, listed=False, reason="it is so too"
        ),
        key("exits.listed"): judged_line(key("exits.listed"), MACHINE, listed=True, reason="known"),
        key("exits.lab"): judged_line(key("exits.lab"), Verdict.INFRASTRUCTURE, reason="no power"),
    }
    journal = a_journal(home / "j", verdicts)
    assert main(["expect", "j"]) == 1
    assert (home / "hypervisor" / "veneer.toml").read_text() == SUBJECT
    said = capsys.readouterr().out
    assert 'new: exits.new (veneer, target == qemu-amd): rax: expected "a\\b"\n' in said
    assert "new: exits.mine (qemu-amd): it is so\n" in said
    words = [
        "expect",
        str(journal),
        "--update",
        "--owner=Ada",
        "--link=https://x.example/1",
        "--until=2099-02-03",
    ]
    assert main(words) == 0
    subject, inventory = home / "hypervisor" / "veneer.toml", home / "targets" / "inventory.toml"
    assert changes(SUBJECT, subject.read_text()) == [
        "+[[known-deviations]]",
        '+check = "exits.new"',
        '+reason = "rax: expected \\"a\\\\b\\""',
        '+when = "target == qemu-amd"',
        '+owner = "Ada"',
        '+link = "https://x.example/1"',
        "+until = 2099-02-03",
    ]
    assert changes(INVENTORY, inventory.read_text()) == [
        "+[[targets.qemu-amd.known-deviations]]",
        '+check = "exits.mine"',
        '+reason = "it is so"',
        '+link = "https://x.example/1"',
        "+[[targets.bochs-amd.known-deviations]]",
        '+check = "exits.his"',
        '+reason = "it is so too"',
        '+link = "https://x.example/1"',
    ]
    new = read_subject(subject).known_deviations[-1]
    assert (new.reason, new.owner, new.until) == ('rax: expected "a\\b"', "Ada", datetime.date(2099, 2, 3))
    assert new.applies("exits.new", None, {"target": "qemu-amd"})
    assert not new.applies("exits.new", None, {"target": "bochs-amd"})
    targets = read_inventory(inventory).targets
    assert [one.check for one in targets["bochs-amd"].known_deviations] == ["exits.his"]
    assert [one.check for one in targets["qemu-amd"].known_deviations] == ["exits.machine", "exits.mine"]


def test_a_run_with_nothing_new_changes_nothing(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = judged_line(key("exits.old"), Verdict.KNOWN_DEVIATION, deviation="hypervisor/veneer.toml:6")
    a_journal(home / "j", {key("exits.a"): GOOD, key("exits.old"): line})
    assert main(["expect", "j", "--update"]) == 0
    assert (home / "hypervisor" / "veneer.toml").read_text() == SUBJECT
    assert (home / "targets" / "inventory.toml").read_text() == INVENTORY
    assert capsys.readouterr().out == ""


def test_bare_machine_s_deviations_are_the_inventory_s(home: Path) -> None:
    wrong, claimed = (key(name, subject="none") for name in ("exits.new", "exits.claimed"))
    from tests.support.journals import SUBJECT as SOFTWARE
    from touchstone.journal.lines import Software

    assert SOFTWARE.name != "none"
    verdicts = {one: judged_line(one, BAD, cause="x") for one in (wrong, claimed)}
    a_journal(home / "j", verdicts, subject=Software(name="none"))
    assert main(["expect", "j", "--update"]) == 0
    found = read_inventory(home / "targets" / "inventory.toml").targets["qemu-amd"].known_deviations
    assert [one.check for one in found] == ["exits.machine", "exits.new"]


def test_stale_entries_are_taken_out_if_they_name_one_check(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, nested = key("exits.old"), key("nested.a")
    verdicts = {
        old: judged_line(old, Verdict.IMPROVED, deviation="hypervisor/veneer.toml:6"),
        nested: judged_line(nested, Verdict.IMPROVED, deviation="hypervisor/veneer.toml:12"),
    }
    a_journal(home / "j", verdicts)
    assert main(["expect", "j", "--update"]) == 0
    out = capsys.readouterr().out
    assert "stale: hypervisor/veneer.toml:6: exits.old: these hold now: exits.old[qemu-amd]\n" in out
    assert "nested.a[qemu-amd]; it is a glob: take it out by hand if it says nothing else\n" in out
    assert changes(SUBJECT, (home / "hypervisor" / "veneer.toml").read_text()) == [
        "-[[known-deviations]]",
        '-check = "exits.old"',
        '-reason = "it is old"          # and stays',
        "-until = 2099-01-01",
    ]
    main(["expect", "j", "--update"])
    assert len(read_subject(home / "hypervisor" / "veneer.toml").known_deviations) == 1, (
        "not those that moved up"
    )


def test_one_of_several_in_a_stale_entry_is_named_and_left(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = 'name = "veneer"\n[[known-deviations]]\ncheck = [\n  "exits.a",\n  "exits.b",\n]\nreason = "r"\n'
    (home / "hypervisor" / "veneer.toml").write_text(text)
    mended, still = key("exits.a"), key("exits.b")
    verdicts = {
        mended: judged_line(mended, Verdict.IMPROVED, deviation="hypervisor/veneer.toml:4"),
        still: judged_line(still, Verdict.KNOWN_DEVIATION, deviation="hypervisor/veneer.toml:5"),
    }
    a_journal(home / "j", verdicts)
    assert main(["expect", "j", "--update"]) == 0
    said = capsys.readouterr().out
    assert said == (
        "stale: hypervisor/veneer.toml:4: exits.a: these hold now: exits.a[qemu-amd]; "
        "it is one of several in its entry: take it out by hand\n"
    )
    assert (home / "hypervisor" / "veneer.toml").read_text() == text


def test_entry_that_excuses_elsewhere_is_not_stale(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    here, there = key("exits.old"), key("exits.old", "bochs-amd")
    verdicts = {
        here: judged_line(here, Verdict.IMPROVED, deviation="hypervisor/veneer.toml:6"),
        there: judged_line(there, Verdict.KNOWN_DEVIATION, deviation="hypervisor/veneer.toml:6"),
    }
    a_journal(home / "j", verdicts)
    assert main(["expect", "j"]) == 0
    assert capsys.readouterr().out == ""


def test_expired_entry_is_not_doubled(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = home / "hypervisor" / "veneer.toml"
    path.write_text(SUBJECT.replace("2099-01-01", "2020-01-01"))
    a_journal(home / "j", {key("exits.old"): judged_line(key("exits.old"), BAD, cause="x")})
    assert main(["expect", "j", "--update"]) == 0
    assert "expired: hypervisor/veneer.toml:6: fails again: exits.old[qemu-amd]" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("deviating", "fine", "when"),
    [
        (["a"], [], "target == a"),
        (["a", "b"], [], ""),
        (["a", "b"], ["c"], "target == a or target == b"),
        (["a+cpus=16"], ["a"], "target == a and cpus == 16"),
        (["a+cpus=16", "b"], ["a"], "(target == a and cpus == 16) or target == b"),
        (["a", "a+cpus=16"], [], "target == a"),
        (["a+model=x"], ["a"], "target == a"),
    ],
)
def test_when(deviating: list[str], fine: list[str], when: str) -> None:
    cpus = {"a": "4", "b": "4", "c": "4", "a+cpus=16": "16", "a+model=x": "4"}
    assert when_of(deviating, fine, cpus) == when


def test_end_is_announced_for_two_weeks() -> None:
    today = datetime.date(2026, 11, 1)
    waivers = [
        Waiver(check=f"c{days}", reason="r", where="f:1", until=today + datetime.timedelta(days), owner="Ada")
        for days in (-1, 0, 1, 14, 15)
    ]
    assert list(ending_soon([*waivers, Waiver(check="x", reason="r", where="f:1")], today)) == [
        "f:1: the known deviation c1 ends on 2026-11-02, in 1 day, owner Ada: then it fails again",
        "f:1: the known deviation c14 ends on 2026-11-15, in 14 days, owner Ada: then it fails again",
    ]


def test_what_was_put_in_can_be_taken_out_of_our_files() -> None:
    for name, table in (("hypervisor/veneer.toml", ()), ("targets/inventory.toml", ("targets", "qemu-amd"))):
        text = (ROOT / name).read_text()
        file = TomlFile.parsed(text, ROOT / name, name)
        more = with_entries(file, text, table, [{"check": "exits.x", "reason": "why"}])
        assert len(changes(text, more)) == 3
        header = more.splitlines().index('check = "exits.x"')
        assert TomlFile.parsed(more, ROOT / name, name)
        assert without_entry(more, header).replace("\n\n\n", "\n\n").rstrip() == text.rstrip()


def test_errors(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["expect", "nothing"]) == 2
    assert "error: nothing: No such file or directory" in capsys.readouterr().err
    a_journal(home / "j", {key("exits.a"): GOOD}, target_line("qemu-amd"))
    (home / "hypervisor" / "veneer.toml").write_text('name = "other"\n')
    assert main(["expect", "j"]) == 2
    assert "is about other, and the run about veneer: give --subject=FILE" in capsys.readouterr().err


def test_entries_go_to_the_file_that_has_the_target(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = home / "targets" / "inventory.toml"
    own.write_text(
        'include = ["lab.toml", "touchstone:inventory.toml"]\n' + INVENTORY.replace("qemu-amd", "mine")
    )
    own.write_text(own.read_text().replace("bochs-amd", "mine-too"))
    (home / "targets" / "lab.toml").write_text('[targets.box]\ndriver = "qemu"\nvendor = "amd"\n')
    keys = [key("exits.a", target) for target in ("mine", "box", "bochs-amd", "gone")]
    before = own.read_text()
    a_journal(home / "j", {one: judged_line(one, MACHINE, listed=False, reason="so") for one in keys})
    assert main(["expect", "j", "--update"]) == 0
    said = capsys.readouterr().out
    assert "not written: exits.a: touchstone:inventory.toml comes with Touchstone: include a copy" in said
    assert "not written: exits.a: targets/inventory.toml has no target gone any more" in said
    assert changes(before, own.read_text())[0] == "+[[targets.mine.known-deviations]]"
    assert "[[targets.box.known-deviations]]" in (home / "targets" / "lab.toml").read_text()
