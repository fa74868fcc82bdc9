"""Drivers of the inventory's virtual boxes, with Veneer, for tests of the real thing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from touchstone.drivers import registry
from touchstone.drivers.ssh import SshDriver
from touchstone.drivers.ssh_deploy import a_subject
from touchstone.inventory import read_inventory
from touchstone.machine.driver import InfrastructureError
from touchstone.subjects import read_subject

REPOSITORY = Path(__file__).resolve().parents[2]


def say(sentence: str) -> None:
    print(sentence)


def started(target: str, emulator: str, logs: Path) -> Iterator[SshDriver]:
    """A started driver, stopped afterwards. Skips without the emulator, or what its image is made of."""
    if shutil.which(emulator) is None:
        pytest.skip(f"no {emulator}")
    settings = read_inventory(REPOSITORY / "targets" / "inventory.toml").targets[target].settings
    file = REPOSITORY / "hypervisor" / "veneer.toml"
    subject = read_subject(file)
    part = a_subject(subject.name, subject.title, file, subject.options["linux"])
    driver = registry.make_box_driver(settings, part, logs)
    assert isinstance(driver, SshDriver)
    try:
        driver.start(say)
    except InfrastructureError as error:
        if "cannot be had" in str(error) or "fetch" in str(error):
            pytest.skip(f"no image: {error}")
        raise
    yield driver
    driver.stop()
