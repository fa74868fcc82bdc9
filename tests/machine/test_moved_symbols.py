"""Symbols of an image that lies elsewhere than it was linked to, and of several images."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from touchstone.machine.moved_symbols import MovedSymbols, SeveralSymbols
from touchstone.machine.symbols import Symbols

BASE = 0x7E00_0000
SOURCE = """\
int {name};
__attribute__((noinline)) void {name}_waits(void)
{{
	while (!{name})
		;
}}
void _start(void)
{{
	{name}_waits();
}}
"""


def built(name: str, folder: Path) -> Path:
    source = folder / "room" / f"{name}.c"
    source.parent.mkdir(exist_ok=True)
    source.write_text(SOURCE.format(name=name))
    flags = ["-O1", "-g", "-static", "-nostdlib", "-no-pie", "-fcf-protection=none"]
    subprocess.run(["gcc", *flags, "-o", str(folder / name), str(source)], check=True)
    return folder / name


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built("system", tmp_path_factory.mktemp("elf"))


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built("subject", tmp_path_factory.mktemp("elf"))


def test_everything_of_an_image_is_where_it_was_put(subject: Path) -> None:
    linked, moved = Symbols(subject), MovedSymbols(subject, BASE)
    there = linked.find("subject_waits")
    assert there is not None
    here = moved.find("subject_waits")
    assert here is not None
    assert (here.address, here.size) == (there.address + BASE, there.size)
    assert moved.code(here.address, here.size) == linked.code(there.address, there.size) != b""
    assert moved.describe(here.address) == linked.describe(there.address)
    assert moved.describe(here.address).startswith("subject_waits+0x0 (room/subject.c:")
    assert moved.describe(there.address) == ""
    assert moved.is_subjects(here.address)
    assert not moved.is_subjects(there.address)


def test_each_image_answers_for_its_own_addresses(system: Path, subject: Path) -> None:
    ours, theirs = Symbols(system), MovedSymbols(subject, BASE)
    both = SeveralSymbols([ours, theirs])
    for one, name in ((ours, "system"), (theirs, "subject")):
        place = one.find(f"{name}_waits")
        assert place is not None
        assert both.find(f"{name}_waits") == place
        assert both.is_code(place.address)
        assert both.code(place.address, 4) == one.code(place.address, 4) != b""
        assert both.function(place.address) == place
        assert both.line(place.address).startswith(f"room/{name}.c:")
        assert both.describe(place.address + 1).startswith(f"{name}_waits+0x1 (room/{name}.c:")
        assert both.is_subjects(place.address) == (name == "subject")
    # Which of the two it is makes no difference where both have a name, and for what neither has.
    assert both.find("_start") == ours.find("_start")
    assert both.find("nothing") is None
    assert not both.is_code(0x10)
    assert both.describe(0x10) == ""
