"""Inventories that include others."""

from __future__ import annotations

from pathlib import Path

import pytest

from touchstone.config.inventory import read_inventory
from touchstone.config.tomlfile import TomlError

ENTRY = '[targets.{}]\ndriver = "qemu"\nvendor = "amd"\n'
WAIVER = '[[targets.{}.unsupported]]\ncheck = "{}"\nreason = "cannot"\n'


def write(directory: Path, **files: str) -> Path:
    """Files by their names; the path of the one that is called ``first``."""
    for name, text in files.items():
        path = directory / f"{name.replace('__', '/')}.toml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return directory / "first.toml"


def errors(path: Path) -> list[str]:
    with pytest.raises(TomlError) as raised:
        read_inventory(path, path.name)
    return list(raised.value.errors)


def test_own_targets_come_first_and_each_file_once(tmp_path: Path) -> None:
    include = 'include = ["lab/a.toml", "lab/b.toml"]\n'
    lab = ENTRY.format("x") + WAIVER.format("x", "exits.*")
    first = write(
        tmp_path,
        first=include + ENTRY.format("mine") + 'deviates-like = "x"\n',
        lab__a='include = ["b.toml"]\n' + ENTRY.format("y"),
        lab__b=lab,
    )
    found = read_inventory(first, "first.toml")
    assert (list(found.targets), found.shown) == (["mine", "y", "x"], "first.toml")
    assert [one.where for one in found.targets["mine"].unsupported] == ["lab/b.toml:4"]
    assert found.targets["x"].where == "lab/b.toml:1"


def test_a_stranger_names_a_shipped_target(tmp_path: Path) -> None:
    text = 'include = ["touchstone:inventory.toml"]\n' + ENTRY.format("mine") + 'deviates-like = "qemu-amd"\n'
    found = read_inventory(write(tmp_path, first=text))
    assert found.targets["mine"].unsupported == found.targets["qemu-amd"].unsupported
    assert found.targets["mine"].unsupported[0].where.startswith("touchstone:inventory.toml:")


def test_files_that_include_each_other(tmp_path: Path) -> None:
    first = write(
        tmp_path, first='include = ["b.toml"]\n' + ENTRY.format("x"), b='\ninclude = ["first.toml"]\n'
    )
    assert errors(first) == [
        "b.toml:2: include 'first.toml': the files include each other without an end: "
        "first.toml -> b.toml -> first.toml"
    ]


def test_everything_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    first = write(
        tmp_path,
        first='include = ["nowhere.toml", "lab/bad.toml", "touchstone:nothing.toml", "lab/good.toml"]\n'
        + ENTRY.format("x")
        + 'deviates-like = "zz"\n',
        lab__bad="[targets.a\n",
        lab__good=ENTRY.format("zzz") + "cpus = 999\n\n" + ENTRY.format("x"),
    )
    assert errors(first) == [
        "first.toml:1: include 'nowhere.toml': nowhere.toml: No such file or directory",
        "first.toml:1: include 'lab/bad.toml': lab/bad.toml:1:11: "
        "Expected ']' at the end of a table declaration",
        "first.toml:1: include 'touchstone:nothing.toml': touchstone:nothing.toml: No such file or directory",
        "first.toml:2: there is a target 'x' already (lab/good.toml:6): give this one another name",
        "first.toml:5: there is no target 'zz'; did you mean zzz?",
        "lab/good.toml:4: cpus must be a whole number, 1 to 256, not 999 (a number); "
        "a probe names at most 256 CPUs: boot a larger machine with the kernel argument nr_cpus=256",
    ]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ('"a.toml"', "not 'a.toml' (a text)"),
        ('["a.toml", 3]', "not 3 (a number)"),
        ('[""]', "not '' (a text)"),
    ],
)
def test_what_an_include_may_be(tmp_path: Path, value: str, said: str) -> None:
    wanted = 'first.toml:1: include must be a list of files such as ["lab.toml"], '
    assert errors(write(tmp_path, first=f"include = {value}\n" + ENTRY.format("x"))) == [wanted + said]


def test_a_chain_of_files_has_an_end(tmp_path: Path) -> None:
    chain = {f"f{n}": f'include = ["f{n + 1}.toml"]\n' for n in range(30)}
    (error,) = errors(write(tmp_path, first='include = ["f0.toml"]\n' + ENTRY.format("x"), **chain))
    assert error == "f14.toml:1: include 'f15.toml': more than 16 files include each other in a row"
