# ruff: noqa: E501 (the messages are looked for as they are, in one piece)
"""[deploy.linux] of a subject: Veneer's is complete, and all errors of a wrong one are reported."""

from pathlib import Path

import pytest

from tests.support.emulators import qemu
from touchstone.config.subjects import read_subject
from touchstone.config.tomlfile import TomlError
from touchstone.drivers.ssh.deployable import COMMANDS, a_subject

ROOT = Path(__file__).parents[2]


def test_veneer_has_every_command() -> None:
    path = ROOT / "hypervisor" / "veneer.toml"
    subject = read_subject(path)
    deployable = a_subject(subject.name, subject.title, path, subject.options["linux"])
    assert set(deployable.commands) == set(COMMANDS)
    assert (deployable.sources / "hosts/linux/Makefile").is_file()
    assert deployable.file_names("6.1.0-1-amd64") == ["veneer.ko"]
    assert "1 exits 3 " in deployable.command("exits", cpu="3")


def test_all_errors_are_reported_at_once(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'name = "mine"\n[deploy.linux]\nsources = "nowhere"\nbuild = "make"\nfiles = 7\nlaod = "x"\n'
        'present = "true"\ninsert = "true"\nremove = "true"\nunload = "true"\n'
    )
    with pytest.raises(TomlError) as refused:
        read_subject(path)
    said = str(refused.value)
    for part in (
        "unknown key 'laod'",
        "load is missing",
        "query is missing",
        "no directory",
        "files must be a text",
    ):
        assert part in said


def test_claims_that_nobody_can_make_are_errors_with_a_suggestion(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'name = "mine"\n[claims]\nnestd = "hidden"\nnested = "visible"\ncounters = "yes"\n'
        "[claims.cpuid-signature]\nebx = true\nebp = 1\n"
        '[claims.own]\nflavour = "sweet"\n[claims.refuses]\nloaded = "EBUSI"\n'
    )
    with pytest.raises(TomlError) as refused:
        read_subject(path)
    found = [line.partition("mine.toml:")[2] for line in str(refused.value).splitlines()]
    assert found == [
        "3: there is no claim 'nestd' (did you mean 'nested'?). One of your own is own.NAME",
        "4: nested must be hidden, not 'visible' (a text)",
        "5: counters must be true or false, not 'yes' (a text)",
        "7: cpuid-signature.ebx must be a number from 0 to 2**64-1, not True (true or false)",
        "8: there is no claim 'cpuid-signature.ebp' (did you mean 'cpuid-signature.ebx'?). One of your own is own.NAME",
        "12: refuses.loaded must be EBUSY, EPERM, EINVAL, EEXIST, EACCES, ENODEV or EOPNOTSUPP, not 'EBUSI' (a text)",
    ]


def test_claims_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"\n[claims.own]\nflavour = "sweet"\n')
    assert read_subject(path).claims == {"own.flavour": "sweet"}


def test_known_deviations_are_read_with_all_their_errors(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'name = "mine"\n[[known-deviations]]\ncheck = "exits.a"\nwhen = "vendor == arm"\n'
        '[[known-deviations]]\ncheck = "exits.b"\nreason = "r"\nowna = "me"\nemulator = "new"\n'
    )
    with pytest.raises(TomlError) as refused:
        read_subject(path)
    found = [line.partition("mine.toml:")[2] for line in str(refused.value).splitlines()]
    assert found == [
        "2: reason is missing",
        "4: when: vendor is intel or amd, never 'arm' (did you mean 'amd'?)",
        "8: unknown key 'owna'; did you mean owner?",
        "9: emulator must be versions such as '>= 10' or '< 8.2', not 'new' (a text)",
    ]


def test_an_entry_names_several_checks_each_in_its_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'name = "mine"\n[[known-deviations]]\ncheck = [  # of one reason\n  "exits.a", "exits.b[1]",\n\n'
        '  # and\n  \'exits.c.*\' ]\nreason = "r"\nwhen = "vendor == amd"\n'
        '[[known-deviations]]\ncheck = ["exits.d"]\nreason = "s"\n'
    )
    known = read_subject(path).known_deviations
    shown = [(one.check, one.where.rpartition(":")[2], one.reason, one.when, one.alone) for one in known]
    assert shown == [
        ("exits.a", "4", "r", "vendor == amd", False),
        ("exits.b[1]", "4", "r", "vendor == amd", False),
        ("exits.c.*", "7", "r", "vendor == amd", False),
        ("exits.d", "10", "s", None, True),
    ]


def test_mistakes_in_a_list_of_checks_have_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'name = "mine"\n[[known-deviations]]\ncheck = []\nreason = "r"\n'
        '[[known-deviations]]\ncheck = [\n  "exits.a",\n  "",\n  "exits.a",\n  7,\n]\nreason = ""\n'
    )
    with pytest.raises(TomlError) as refused:
        read_subject(path)
    found = [line.partition("mine.toml:")[2] for line in str(refused.value).splitlines()]
    assert found == [
        "3: check must be a text or a list of texts, and this list is empty",
        "6: check must be a list of texts, and has 7 (a number) in it",
        "8: check must be a list of texts, and has '' (a text) in it",
        "9: check names exits.a twice",
        "12: reason must be a text, not '' (a text)",
    ]


def test_a_hosted_subject_says_how_its_guest_starts(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"\n[deploy.hosted]\nrun = "exec qemu -kernel {image}"\n')
    assert read_subject(path).hosted
    assert not read_subject(ROOT / "hypervisor" / "veneer.toml").hosted
    path.write_text(
        'name = "mine"\n[deploy.hosted]\nrun = "qemu"\nend = "("\nsources = "nowhere"\nupp = "true"\n'
        '[deploy.linux]\nsources = "."\nbuild = "x"\nfiles = "x"\npresent = "x"\ninsert = "x"\nremove = "x"\n'
        'load = "x"\nunload = "x"\nquery = "x"\n'
    )
    with pytest.raises(TomlError) as raised:
        read_subject(path, "mine.toml")
    assert list(raised.value.errors) == [
        "mine.toml:2: build is missing: a program that is built needs sources, build, files",
        "mine.toml:2: files is missing: a program that is built needs sources, build, files",
        "mine.toml:2: [deploy.linux] is there too: on a box with Linux, a subject has one of the two ways in",
        "mine.toml:3: run must begin with `exec`: whoever ends its process must end the guest",
        "mine.toml:3: run must have {image}, which is what the guest boots",
        "mine.toml:4: end is no regular expression: missing ), unterminated subpattern at position 0",
        f"mine.toml:5: there is no directory {tmp_path / 'nowhere'}",
        "mine.toml:6: unknown key 'upp'; did you mean up?",
    ]


def test_errors_of_a_uefi_program_are_reported_at_once(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'name = "mine"\n[deploy.uefi]\nfile = "mine.efi"\nbuild = "make"\nfiel = "x"\n'
        'not-claimed = "unloadabel refuses cpuid-signature.ebx"\n'
    )
    with pytest.raises(TomlError) as refused:
        read_subject(path)
    found = [line.partition("mine.toml:")[2] for line in str(refused.value).splitlines()]
    assert found == [
        "2: sources is missing: sources and build go together; a file that is there needs neither",
        f"3: there is no file {tmp_path}/mine.efi",
        "5: unknown key 'fiel'; did you mean file?",
        "6: there is no claim 'unloadabel'; did you mean unloadable?",
    ]


def test_what_is_not_claimed_on_uefi_is_claimed_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    (tmp_path / "mine.efi").write_bytes(b"MZ")
    path.write_text(
        'name = "mine"\n[claims]\nnested = "hidden"\nunloadable = true\n'
        '[claims.refuses]\nloaded = "EBUSY"\n'
        '[deploy.uefi]\nfile = "mine.efi"\nnot-claimed = "unloadable refuses"\n'
    )
    subject = read_subject(path)
    assert subject.on(qemu()).claims == subject.claims
    assert subject.on(qemu(uefi=True)).claims == {"nested": "hidden"}


def test_names_that_no_file_can_have(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    long = "9" * 5000
    path.write_text(f'title = "Mine"\n[deploy.bare]\ndirectory = "{long}"\n[deploy.uefi]\nfile = "{long}"\n')
    with pytest.raises(TomlError) as caught:
        read_subject(path, "mine.toml")
    assert "there is no subject.mk" in str(caught.value)
    assert "there is no file" in str(caught.value)
