"""A program is found in memory by its headers, which the firmware has put in front of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from touchstone.drivers.emulated.loaded_program import PAGE, find_program
from touchstone.machine.driver import TargetError
from touchstone.machine.symbols import MemoryReader

BASE = 0x7E12_3000
HEADERS = b"MZ" + bytes(58) + (0x80).to_bytes(4, "little") + bytes(64) + b"PE\0\0" + bytes(range(20, 40))
CONTENT = HEADERS.ljust(0x1000, b"\1") + b"\2" * 0x2800


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.efi"
    path.write_bytes(CONTENT)
    return path


def memory(pieces: Mapping[int, bytes]) -> MemoryReader:
    def read(address: int, length: int) -> bytes:
        for at, content in pieces.items():
            if at <= address and address + length <= at + len(content):
                return content[address - at : address - at + length]
        raise TargetError("nothing is mapped there")

    return read


# The image base of the optional header is what the firmware changes.
LOADED = CONTENT[:0xB0] + BASE.to_bytes(8, "little") + CONTENT[0xB8:]
MEMORY = memory({BASE: LOADED})


@pytest.mark.parametrize("offset", [0, 0x1000, 0x1234, 0x37FF])
def test_an_address_anywhere_in_it(file: Path, offset: int) -> None:
    assert find_program(file, [0xF000_0000, BASE + offset], [MEMORY]) == BASE


def test_a_cpu_whose_page_tables_lack_the_headers(file: Path) -> None:
    blind = memory({BASE + PAGE: LOADED[PAGE:]})
    assert find_program(file, [BASE + 0x1234], [blind]) is None
    assert find_program(file, [BASE + 0x1234], [blind, MEMORY]) == BASE


@pytest.mark.parametrize("rip", [0x10_0000, BASE - 1, BASE + 0x5000, 0x100])
def test_no_cpu_is_in_it(file: Path, rip: int) -> None:
    assert find_program(file, [rip], [MEMORY]) is None
    assert find_program(file, [], [MEMORY]) is None


def test_another_program_is_another_one(file: Path) -> None:
    other = memory({BASE: LOADED.replace(bytes(range(20, 40)), bytes(range(21, 41)))})
    assert find_program(file, [BASE + 0x1234], [other]) is None


def test_a_file_that_is_no_program(file: Path) -> None:
    file.write_bytes(CONTENT.replace(b"PE\0\0", b"NE\0\0"))
    assert find_program(file, [BASE], [memory({BASE: file.read_bytes()})]) is None
    file.write_bytes(b"MZ")
    assert find_program(file, [BASE], [memory({BASE: b"MZ".ljust(PAGE, b"x")})]) is None
