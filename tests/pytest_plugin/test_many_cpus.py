"""An emulated machine with many CPUs: they share those of the host, and take longer together."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from touchstone.config.inventory import Target
from touchstone.machine.settings import TargetSettings
from touchstone.pytest_plugin.run import Run


@pytest.mark.parametrize(
    ("driver", "cpus", "factor"), [("qemu", 4, 6.0), ("qemu", 16, 6.0), ("bochs", 72, 27.0), ("ssh", 72, 6.0)]
)
def test_timeouts(driver: str, cpus: int, factor: float) -> None:
    settings = TargetSettings("many", driver, "amd", cpus=cpus, timeout_factor=3.0)
    target = SimpleNamespace(settings=settings)
    run = SimpleNamespace(options=SimpleNamespace(timeout_factor=2.0))
    assert Run.settings_of(cast(Run, run), cast(Target, target)).timeout_factor == pytest.approx(factor)
