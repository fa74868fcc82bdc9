"""Bochs machines of both vendors that run a Veneer which fails on request, for tests that share them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from touchstone.drivers.build import BareImage
from touchstone.drivers.registry import make_driver
from touchstone.machine.driver import Driver
from touchstone.machine.probe import Operand, ProbeRequest
from touchstone.machine.settings import TargetSettings
from touchstone.machine.symbols import Symbols

Vendor = Literal["intel", "amd"]
CPU_MODELS = {"intel": "corei7_skylake_x", "amd": "ryzen"}
ASKED = "asked_failure"
"""Variable in Veneer: the number of the failure that is wanted next, from 1; 0 is none."""


class FailingMachines:
    """A machine of each vendor, started when it is first asked for, and again after a case that failed."""

    def __init__(self, image: BareImage, cpus: int, directory: Path) -> None:
        """``image`` has the variable ``ASKED``; ``directory`` gets logs."""
        self._image = image
        self._cpus = cpus
        self._directory = directory
        self._drivers: dict[Vendor, Driver] = {}

    def get(self, vendor: Vendor) -> Driver:
        """The machine of a vendor, which is running."""
        if vendor not in self._drivers:
            settings = TargetSettings(
                "failing", "bochs", vendor, self._cpus, 64, CPU_MODELS[vendor], timeout_factor=10.0
            )
            self._drivers[vendor] = driver = make_driver(settings, self._image, self._directory)
            driver.start(lambda _: None)
        return self._drivers[vendor]

    def stop(self) -> None:
        """Stop what runs."""
        while self._drivers:
            self._drivers.popitem()[1].stop()

    def ask_for(self, driver: Driver, number: int) -> None:
        """Have the next load or unload fail in the way of this number."""
        variable = Symbols(self._image.symbols).find(ASKED)
        assert variable is not None
        registers = {"rax": Operand(offset=number), "rdi": Operand(offset=variable.address)}
        code = bytes.fromhex("8907")  # mov [rdi], eax
        (result,) = driver.run(ProbeRequest(code=code, registers=registers))
        assert result.vector is None
