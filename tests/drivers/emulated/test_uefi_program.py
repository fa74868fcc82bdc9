"""The program of [deploy.uefi]: built once for the same sources, and put on the firmware's disk."""

from pathlib import Path

import pytest

from tests.drivers.emulated.test_boot_disk import read_back
from touchstone.drivers.emulated import uefi
from touchstone.drivers.emulated.uefi import UefiProgram, write_disk
from touchstone.machine.driver import HostError


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(uefi, "build_directory", lambda: tmp_path / "build")
    directory = tmp_path / "sources"
    directory.mkdir()
    (directory / "mine.c").write_text("one")
    return directory


def program(sources: Path, build: str, file: str = "mine.efi") -> UefiProgram:
    return UefiProgram("mine", "Mine", file, sources.parent, sources, build)


def test_it_is_built_when_its_sources_change_and_not_before(sources: Path) -> None:
    said: list[str] = []
    mine = program(sources, "test -f {uefi}/uefi.h && cp mine.c {build}/mine.efi && touch beside")
    first = mine.provide(said.append)
    assert first.read_text() == "one"
    assert mine.provide(said.append) == first
    assert said == ["building the UEFI program of mine"]
    assert not (sources / "beside").exists(), "it was not built in a copy"
    (sources / "mine.c").write_text("two")
    assert mine.provide(said.append).read_text() == "two"
    assert len(said) == 2


def test_what_has_its_symbols_is_kept_beside_it(sources: Path) -> None:
    made = program(sources, "cp mine.c {build}/mine.efi; cp mine.c {build}/mine.elf; touch {build}/mine.o")
    file = made.provide(lambda _: None)
    assert {one.name for one in file.parent.iterdir()} >= {"mine.efi", "mine.elf"}
    assert not file.with_suffix(".o").exists()


def test_errors_name_what_failed(sources: Path) -> None:
    with pytest.raises(HostError, match=r"(?s)building the UEFI program of Mine failed.*no such compiler"):
        program(sources, "echo no such compiler >&2; exit 1").provide(lambda _: None)
    with pytest.raises(HostError, match=r"the UEFI program of Mine succeeded, but made no other\.efi"):
        program(sources, "cp mine.c {build}/mine.efi", "other.efi").provide(lambda _: None)
    with pytest.raises(HostError, match=r"there is no .*/gone\.efi, the program of Mine"):
        UefiProgram("mine", "Mine", "gone.efi", sources.parent).provide(lambda _: None)


def test_the_disk_has_the_program_once_the_subject_is_loaded(tmp_path: Path) -> None:
    application, subject, disk = (tmp_path / name for name in ("bare.efi", "mine.efi", "disk.img"))
    application.write_bytes(b"application")
    subject.write_bytes(b"subject")
    write_disk(disk, application, None)
    assert read_back(disk.read_bytes()) == {"EFI/BOOT/BOOTX64.EFI": b"application"}
    write_disk(disk, application, subject)
    assert read_back(disk.read_bytes()) == {
        "EFI/BOOT/BOOTX64.EFI": b"application",
        "EFI/SUBJECT/SUBJECT.EFI": b"subject",
    }
