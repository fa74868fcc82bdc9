"""Recipes: the ones that there are, and what a wrong one is told."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from touchstone.drivers.linux_image.recipe import names, read_recipe
from touchstone.machine.driver import InfrastructureError
from touchstone.shipped import source_root


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    shutil.copytree(source_root() / "targets" / "images", tmp_path / "targets" / "images")
    return tmp_path


def rewrite(checkout: Path, old: str, new: str) -> None:
    path = checkout / "targets" / "images" / "debian-12.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_every_recipe_can_be_read() -> None:
    assert "debian-12" in names()
    for name in names():
        assert read_recipe(name).packages


def test_the_digest_changes_with_the_recipe_and_with_its_files(checkout: Path) -> None:
    first = read_recipe("debian-12", checkout).digest
    assert read_recipe("debian-12", checkout).digest == first
    rewrite(checkout, '"procps"', '"procps", "gdb"')
    second = read_recipe("debian-12", checkout).digest
    init = checkout / "targets" / "images" / "init"
    init.write_text(init.read_text() + "\n")
    third = read_recipe("debian-12", checkout).digest
    assert len({first, second, third}) == 3


def test_an_unknown_image_is_answered_with_what_was_meant(checkout: Path) -> None:
    with pytest.raises(InfrastructureError, match=r"no image 'debain-12'; did you mean 'debian-12'\?"):
        read_recipe("debain-12", checkout)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "leave-out = [",
            "leaveout = [",
            r"debian-12\.toml: unknown key 'leaveout'; did you mean 'leave-out'\?",
        ),
        ('suite = "bookworm"', "suite = 12", r"debian-12\.toml: suite = 12 is not a string"),
        ('kernel = "linux-image-amd64"\n', "", r"debian-12\.toml: kernel is missing"),
        ('suite = "bookworm"', 'suite = "bookworm', r"debian-12\.toml: .*line 2"),
        ('"base-files"', "7", r"debian-12\.toml: packages = .* is not a list of strings"),
    ],
)
def test_a_wrong_recipe_names_the_key(checkout: Path, old: str, new: str, message: str) -> None:
    rewrite(checkout, old, new)
    with pytest.raises(InfrastructureError, match=message):
        read_recipe("debian-12", checkout)
