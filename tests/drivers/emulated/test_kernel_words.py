"""The keys of an image's target for its kernel's command line and memory map."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from touchstone.config.inventory import read_inventory
from touchstone.drivers import registry
from touchstone.drivers.emulated.kernel_words import kernel_words
from touchstone.machine.settings import SettingsError, TargetSettings

BOX = TargetSettings("box", "ssh", "amd", memory_mib=512, options={"image": "debian-12"})


def box(**options: object) -> TargetSettings:
    return replace(BOX, options={**BOX.options, **options})


def test_words_and_ranges() -> None:
    settings = box(**{"kernel-arguments": "nokaslr  mitigations=off", "memmap": ["64M$448M", "0x1000!4K"]})
    registry.validate(settings)
    assert kernel_words(settings) == "nokaslr mitigations=off memmap=64M$448M memmap=0x1000!4K"
    assert kernel_words(BOX) == ""


@pytest.mark.parametrize(
    ("options", "key", "said"),
    [
        ({"memmap": ["64M"]}, "memmap", "'64M' is no range"),
        ({"memmap": ["64M$449M"]}, "memmap", "'64M[$]449M' is not within the machine's 512 MiB"),
        ({"memmap": ["0$1M"]}, "memmap", "is not within"),
        ({"memmap": "64M$448M"}, "memmap", "is not a list"),
        ({"memmap": [3]}, "memmap", "3 is no range"),
        ({"kernel-arguments": "a\nb"}, "kernel_arguments", "is not a line of ASCII"),
        ({"kernel-arguments": "a" * 1025}, "kernel_arguments", "1025 characters are more than 1024"),
    ],
)
def test_what_a_kernel_would_not_take(options: dict[str, object], key: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said) as raised:
        registry.validate(box(**options))
    assert raised.value.key == key


def test_an_error_has_the_line_of_its_key(tmp_path: Path) -> None:
    path = tmp_path / "inventory.toml"
    path.write_text('[targets.box]\ndriver = "ssh"\nvendor = "amd"\nimage = "debian-12"\nmemmap = ["1M"]\n')
    with pytest.raises(Exception, match=r"inventory\.toml:5: memmap: '1M' is no range"):
        read_inventory(path, validate=registry.validate)
