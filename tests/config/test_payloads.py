"""What ``--payload`` names, the forms of lines, and what is wrong with them."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from tests.support.checkout import ROOT
from touchstone.config.inventory import read_inventory
from touchstone.config.payloads import find_payloads, read_forms, read_lines, said_until_end
from touchstone.config.tomlfile import TomlError
from touchstone.drivers.emulated.payload_image import IMAGE_BASE, START_PAGE, pack
from touchstone.machine.driver import HostError
from touchstone.machine.multiboot import NotMultiboot, Program, Segment, read_program
from touchstone.machine.payload import Payload

MAGIC = 0x1BADB002


def program(flags: int = 0, address: int = 0x100000, bits: int = 1, cut: int = 0) -> bytes:
    """A Multiboot program with a segment of 16 bytes."""
    data = struct.pack("<IIi4x", MAGIC, flags, -MAGIC - flags)
    size = len(data) + cut
    ident = b"\x7fELF" + bytes([bits, 1, 1]) + bytes(9)
    header = ident + struct.pack("<HHIIIIIHHHHHH", 2, 3, 1, address + 12, 52, 0, 0, 52, 32, 1, 0, 0, 0)
    return header + struct.pack("<IIIIIIII", 1, 84, 0, address, size, 32 + cut, 5, 4096) + data


def test_a_program_is_read_as_a_loader_reads_it(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(program())
    found = read_program(tmp_path / "one")
    assert (found.entry, found.segments[0].address, found.segments[0].size) == (0x10000C, 0x100000, 32)
    assert len(found.segments[0].data) == 16


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"#!/bin/sh\n", "no ELF file"),
        (program(bits=2), "no ELF file of 32 bits"),
        (program()[:60], "headers are not in the file"),
        (program(cut=64), "segment 0 is not in the file"),
        (program().replace(struct.pack("<I", MAGIC), bytes(4)), "no Multiboot header"),
        (program(flags=8), "demands what we cannot do (flags 0x8)"),
    ],
)
def test_what_is_no_payload_says_why(data: bytes, says: str, tmp_path: Path) -> None:
    file = tmp_path / "one"
    file.write_bytes(data)
    with pytest.raises(NotMultiboot) as error:
        read_program(file)
    assert says in str(error.value)
    with pytest.raises(TomlError, match=r"^one: "):
        find_payloads(file, "one")


@pytest.mark.parametrize("address", [IMAGE_BASE - 16, START_PAGE - 16, START_PAGE + 4080])
def test_a_payload_in_the_place_of_image_or_start_page_is_refused(address: int, tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(program(address=address))
    image = Program(IMAGE_BASE, (Segment(IMAGE_BASE, 4096, b"x"),))
    with pytest.raises(HostError, match=f"its segment at {address:#x}, 0x20 bytes, is not between"):
        pack(Payload(tmp_path / "one"), image)


def test_a_directory_has_the_programs_in_it(tmp_path: Path) -> None:
    with pytest.raises(TomlError, match="no file in it is a Multiboot program"):
        find_payloads(tmp_path, "here")
    for name in ("b.flat", "a.flat"):
        (tmp_path / name).write_bytes(program())
    (tmp_path / "a.o").write_bytes(program().replace(struct.pack("<I", MAGIC), bytes(4)))
    (tmp_path / "README").write_text("text")
    assert [one.name for one in find_payloads(tmp_path, "here")] == ["a", "b"]


def test_a_list_says_how_payloads_are_run_and_all_that_is_wrong_in_it(tmp_path: Path) -> None:
    (tmp_path / "a.flat").write_bytes(program())
    (tmp_path / "env").write_text("NR_CPUS=1\n")
    good = tmp_path / "good.toml"
    good.write_text(
        '[[payload]]\nfile = "a.flat"\n\n[[payload]]\nfile = "a.flat"\nname = "b"\narguments = "x y"\n'
        "modules = [\"env\"]\ncpus = 2\ntimeout = 5\nend = '^DONE'\n"
    )
    first, second = find_payloads(good, "good.toml")
    assert (first.name, first.cpus, first.timeout, first.payload.arguments) == ("a", 1, 60, "")
    assert (second.name, second.cpus, second.timeout, second.where) == ("b", 2, 5, (good, 4))
    assert second.payload == Payload(tmp_path / "a.flat", "x y", (tmp_path / "env",))
    bad = tmp_path / "bad.toml"
    bad.write_text(
        '[[payload]]\nfile = "a.flat"\ntimeuot = 5\n\n[[payload]]\nfile = "none.flat"\ncpus = 0\n\n'
        '[[payload]]\nfile = "a.flat"\nmodules = ["nothing"]\nend = "("\n'
    )
    with pytest.raises(TomlError) as error:
        find_payloads(bad, "bad.toml")
    found = str(error.value).splitlines()
    for line, text in (
        (3, "unknown key 'timeuot'; did you mean timeout?"),
        (6, "none.flat: No such file or directory"),
        (7, "cpus must be a whole number, 1 to 255, not 0 (a number)"),
        (9, "the name 'a' is used twice: give one of them another with name"),
        (11, "nothing: there is no such file"),
        (12, "end is no regular expression"),
    ):
        assert any(one.startswith(f"bad.toml:{line}: ") and text in one for one in found), (text, found)
    assert len(found) == 6


def test_forms_must_say_what_a_line_is_about(tmp_path: Path) -> None:
    file = tmp_path / "payloads.toml"
    file.write_text("[forms.mine]\npass = '^good'\nfial = '^bad'\n\n[forms.other]\nskip = '(?P<name>.*)'\n")
    with pytest.raises(TomlError) as error:
        read_forms(file, "payloads.toml")
    assert str(error.value).splitlines() == [
        "payloads.toml:2: pass has no group (?P<name>...), which says what the line is about",
        "payloads.toml:3: unknown key 'fial'; did you mean fail?",
        "payloads.toml:5: pass is missing",
    ]


def test_lines_of_the_families_that_come_with_it(tmp_path: Path) -> None:
    forms = read_forms(ROOT / "targets" / "payloads.toml")
    (tmp_path / "a").write_bytes(program())
    (entry,) = find_payloads(tmp_path / "a", "a")
    text = (
        "enabling apic\nPASS: null\r\nFAIL: lock: mov\nPASS: null\nSKIP: no x2APIC\nXFAIL: known\n"
        "PASS: XGETBV(0x517a1f0200000000) succeeds\nPASS: XGETBV(0x5) fails\n"
        "--- Xen Test Framework ---\nTest result: SUCCESS\n"
        "ok 1 - boots\nnot ok 2 - halts\nok 3 - sleeps # SKIP no timer\nSUMMARY: 3 tests\nPASS: cut of"
    )
    assert [(one.name, one.result) for one in read_lines(text, forms)] == [
        ("null", "pass"),
        ("lock: mov", "fail"),
        ("null (2)", "pass"),
        ("no x2APIC", "skip"),
        ("known", "pass"),
        ("XGETBV(0x*) succeeds", "pass"),
        ("XGETBV(0x5) fails", "pass"),
        ("Test result", "pass"),
        ("boots", "pass"),
        ("halts", "fail"),
        ("sleeps", "skip"),
    ]
    end = "Test result: SUCCESS\n"
    assert said_until_end(text, entry, forms) == text[: text.index(end)] + end
    assert said_until_end("--- DONE: 0 ---\r\n", entry, forms) == "--- DONE: 0 ---\r\n"
    assert said_until_end("PASS: null\nTest result: SUCC", entry, forms) is None


def test_a_target_may_be_unable_to_run_payloads_with_several_cpus(tmp_path: Path) -> None:
    file = tmp_path / "inventory.toml"
    entry = (
        '[targets.mine]\ndriver = "bochs"\nvendor = "intel"\n[[targets.mine.unsupported]]\n'
        'check = "payload.*"\nreason = "no INIT"\nemulator = "< 3"\n'
    )
    file.write_text(entry + 'when = "cpus > 1 and subject != none"\n')
    target = read_inventory(file).targets["mine"]
    facts: dict[str, str | int | bool] = {"cpus": 2, "subject": "veneer"}
    assert target.cannot("payload.a", facts, (2, 7)) == f"mine cannot do this: no INIT ({file}:4)"
    assert target.cannot("payload.a", facts, (3, 0)) is None
    assert target.cannot("payload.a", facts | {"cpus": 1}, (2, 7)) is None
    assert target.cannot("payload.a", facts | {"subject": "none"}, (2, 7)) is None
    assert target.cannot("exits.a", facts, (2, 7)) is None
    file.write_text(entry + 'when = "vendor == arm"\n')
    with pytest.raises(TomlError, match="8: when: vendor is intel or amd, never 'arm'"):
        read_inventory(file)
