"""The cells of a matrix, and what is said of one that is wrong."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.support.checkout import ROOT
from tests.support.fuzz.mutations import mutated_text
from touchstone.config.inventory import Inventory, read_inventory
from touchstone.config.matrix import Matrix, read_matrix
from touchstone.config.tomlfile import TomlError
from touchstone.drivers import registry

INVENTORY = """
[targets.one]
title = "One"
driver = "qemu"
vendor = "amd"
cpus = 4
cpu-model = "EPYC"
[[targets.one.known-deviations]]
check = "exits.a"
reason = "it is old"

[targets.two]
driver = "qemu"
vendor = "amd"

[targets.linux]
driver = "ssh"
vendor = "amd"
image = "debian-12"
"""


@pytest.fixture
def inventory(tmp_path: Path) -> Inventory:
    path = tmp_path / "inventory.toml"
    path.write_text(INVENTORY)
    return read_inventory(path, "inventory.toml", registry.validate)


def read(tmp_path: Path, inventory: Inventory, text: str) -> Matrix:
    path = tmp_path / "matrix.toml"
    path.write_text(text, errors="replace")
    return read_matrix(path, "night", inventory, "matrix.toml", registry.validate)


def cells(matrix: Matrix) -> list[str]:
    return [f"{cell.target.name} {cell.subject}" for cell in matrix.cells]


def test_many_cpus_have_memory_for_their_stacks(tmp_path: Path, inventory: Inventory) -> None:
    include = '[[matrix.night.include]]\ntarget = "two"\ncpus = [16, 255]\n'
    found = [cell.target.settings.memory_mib for cell in read(tmp_path, inventory, include).cells]
    assert found == [64, 128]
    found = [
        cell.target.settings.memory_mib
        for cell in read(tmp_path, inventory, f"{include}memory-mib = [64, 96]\n").cells
    ]
    assert found == [64, 96, 64, 96], "what is said counts"
    path = tmp_path / "many.toml"
    path.write_text('[targets.many]\ndriver = "qemu"\nvendor = "amd"\ncpus = 255\n')
    assert read_inventory(path).targets["many"].settings.memory_mib == 128


def test_product_and_names(tmp_path: Path, inventory: Inventory) -> None:
    matrix = read(
        tmp_path,
        inventory,
        '[[matrix.night.include]]\ntarget = ["one", "t*"]\ncpus = [1, 4, 16]\nsubject = ["veneer", "none"]\n',
    )
    assert cells(matrix)[:6] == [
        "one+cpus=1 veneer",
        "one+cpus=1 none",
        "one veneer",
        "one none",
        "one+cpus=16 veneer",
        "one+cpus=16 none",
    ]
    assert len(matrix.cells) == 12
    assert matrix.subjects == ["veneer", "none"]
    assert [target.name for target in matrix.targets("none")][:2] == ["one+cpus=1", "one"]


def test_cell_is_its_target_with_other_values(tmp_path: Path, inventory: Inventory) -> None:
    (cell,) = read(
        tmp_path,
        inventory,
        '[[matrix.night.include]]\ntarget = "one"\ncpus = 2\nmemory-mib = 128\n'
        'cpu-model = "EPYC-Rome,+svm"\n',
    ).cells
    assert cell.target.name == "one+cpus=2+mib=128+model=EPYC-Rome_svm"
    settings = cell.target.settings
    assert (settings.cpus, settings.memory_mib, settings.cpu_model) == (2, 128, "EPYC-Rome,+svm")
    assert cell.target.title == "One; cpus 2, memory-mib 128, cpu-model EPYC-Rome,+svm"
    assert cell.target.known_deviation("exits.a", None, {}) is not None, "it has all that its target has"
    assert cell.target.inventory_name == "one"
    assert cell.where == "matrix.toml:1"


def test_kernel_is_of_machines_with_an_image(tmp_path: Path, inventory: Inventory) -> None:
    matrix = read(
        tmp_path,
        inventory,
        '[[matrix.night.include]]\ntarget = ["one", "linux"]\nkernel = ["debian-12", "debian-13"]\n',
    )
    assert cells(matrix) == ["one veneer", "linux veneer", "linux+kernel=debian-13 veneer"]
    assert matrix.cells[-1].target.settings.options["image"] == "debian-13"


def test_exclude(tmp_path: Path, inventory: Inventory) -> None:
    matrix = read(
        tmp_path,
        inventory,
        '[[matrix.night.include]]\ntarget = "all"\ncpus = [1, 16]\nsubject = ["veneer", "none"]\n'
        '[[matrix.night.exclude]]\ntarget = "two"\ncpus = 16\nreason = "slow"\n'
        '[[matrix.night.exclude]]\ntarget = ["one", "linux"]\nsubject = "none"\nreason = "dull"\n',
    )
    assert cells(matrix) == [
        "one+cpus=1 veneer",
        "one+cpus=16 veneer",
        "two+cpus=1 veneer",
        "two+cpus=1 none",
        "linux+cpus=1 veneer",
        "linux+cpus=16 veneer",
    ]
    assert {(one.cell.target.name, one.reason, one.where) for one in matrix.excluded} >= {
        ("two+cpus=16", "slow", "matrix.toml:5"),
        ("one+cpus=1", "dull", "matrix.toml:9"),
    }


def test_cell_of_two_products_is_one(tmp_path: Path, inventory: Inventory) -> None:
    text = '[[matrix.night.include]]\ntarget = "one"\n[[matrix.night.include]]\ntarget = ["one", "two"]\n'
    assert cells(read(tmp_path, inventory, text)) == ["one veneer", "two veneer"]


@pytest.mark.parametrize(
    ("text", "errors"),
    [
        ("", ["1: there is no matrix 'night' (known: )"]),
        ("[matrix.nigth]\n", ["1: nothing is included: write [[matrix.nigth.include]] tables"]),
        ("[matrix.night]\ninclude = 3\n", ["2: include must be written as [[matrix.night.include]] tables"]),
        (
            '[[matrix.night.include]]\ntarget = "oen"\ncpu = 3\ncpus = [0, "1", 257]\nsubject = []\n',
            [
                "2: no target 'oen' in inventory.toml; did you mean one?",
                "3: unknown key 'cpu'; did you mean cpus?",
                "4: cpus must be whole numbers, 1 to 256, not 0 (a number)",
                "4: cpus must be whole numbers, 1 to 256, not '1' (a text)",
                "4: cpus must be whole numbers, 1 to 256, not 257 (a number)",
                "5: subject is an empty list",
            ],
        ),
        ("[[matrix.night.include]]\ncpus = 3\n", ["1: target is missing"]),
        (
            '[[matrix.night.include]]\ntarget = "one"\n'
            '[[matrix.night.exclude]]\ntarget = "two"\nreason = "x"\n',
            ["3: this excludes no cell: none fits all of it"],
        ),
        (
            '[[matrix.night.include]]\ntarget = "one"\n[[matrix.night.exclude]]\ntarget = "one"\n',
            ["3: reason is missing"],
        ),
        (
            '[[matrix.night.include]]\ntarget = "linux"\nkernel = "debian-99"\n',
            [
                "1: linux+kernel=debian-99: image: 'debian-99' is none of debian-12, debian-13 "
                "in targets/images"
            ],
        ),
        (
            '[[matrix.night.include]]\ntarget = "one"\ncpu-model = ["a,b", "a+b"]\n',
            ["1: two cells would be called one+model=a_b: their values differ in signs only"],
        ),
    ],
)
def test_errors(tmp_path: Path, inventory: Inventory, text: str, errors: list[str]) -> None:
    with pytest.raises(TomlError) as caught:
        read(tmp_path, inventory, text)
    found = [error.removeprefix("matrix.toml:") for error in caught.value.errors]
    if "nigth" in text:
        found = found[:1]
    assert found == errors


def test_ours_is_right() -> None:
    inventory = read_inventory(ROOT / "targets" / "inventory.toml")
    for name in ("nightly", "short"):
        matrix = read_matrix(ROOT / "targets" / "matrix.toml", name, inventory, None, registry.validate)
        assert matrix.cells


def test_whatever_stands_there_is_read_or_named(tmp_path: Path, inventory: Inventory) -> None:
    text = (ROOT / "targets" / "matrix.toml").read_text()
    text += '[[matrix.night.include]]\ntarget = "one"\ncpus = [1, 2]\n'
    chance = random.Random(13)
    said: list[str] = []
    for _ in range(200):
        try:
            read(tmp_path, inventory, mutated_text(chance, text, text.split()))
        except TomlError as error:
            said += error.errors
    assert len(said) > 20
    assert [one for one in said if not one.startswith("matrix.toml:")] == []
