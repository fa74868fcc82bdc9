"""What a processor's SVM does wrong is measured, where a hosted subject depends on it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.emulators import FACTOR
from touchstone.drivers import registry
from touchstone.engine.intercepts import xsetbv_is_intercepted
from touchstone.machine.settings import TargetSettings


@pytest.mark.parametrize("emulator", ["qemu", "bochs"])
def test_whether_xsetbv_is_an_exit(emulator: str, tmp_path: Path) -> None:
    settings = TargetSettings("intercepts", emulator, "amd", cpus=1, timeout_factor=FACTOR)
    driver = registry.make_driver(settings, None, tmp_path)
    try:
        driver.start(print)
        found = xsetbv_is_intercepted(driver, 30.0)
        version = driver.emulator_version
    finally:
        driver.stop()
    assert version is not None
    if emulator == "bochs":
        assert found
    elif version < (8, 0):
        assert not found
