"""Veneer on machines of all sizes: set up, checked, torn down; and a hundred times in one boot.

Beyond 64 CPUs, a mask of them does not fit into a register.
"""

from pathlib import Path

import pytest

from tests.support.checkout import ROOT
from tests.support.runs import run_suites
from touchstone.drivers.registry import make_driver
from touchstone.machine.settings import TargetSettings

SUITES = ("broadcast/signature.yaml", "broadcast/exits.yaml", "teardown/gone.yaml", "teardown/hardware.yaml")
# Of many CPUs, what is asked of each of them, and of all together: it takes their number's time.
OF_MANY = (
    "broadcast/signature.yaml::broadcast.signature.every-cpu",
    "broadcast/exits.yaml::broadcast.exits.together",
    "teardown/gone.yaml::teardown.gone.signature",
    "teardown/hardware.yaml::teardown.svm.efer-svme-clear",
)


@pytest.mark.parametrize(
    ("cpus", "suites"), [(1, SUITES), (2, SUITES), (16, OF_MANY), (72, OF_MANY)], ids=["1", "2", "16", "72"]
)
def test_every_size(cpus: int, suites: tuple[str, ...], tmp_path: Path) -> None:
    inventory = tmp_path / "inventory.toml"
    inventory.write_text(
        f'[targets.sized]\ndriver = "qemu"\nvendor = "amd"\ncpus = {cpus}\ntimeout-factor = 10\n',
        encoding="utf-8",
    )
    paths = [f"conformance/{suite}" for suite in suites]
    run = run_suites(tmp_path, *paths, "--target=sized", f"--touchstone-inventory={inventory}")
    assert run.status == 0, run.printed
    assert f"on {cpus} of {cpus} CPU" in run.printed
    assert run.words() <= {"conformant", "unsupported"}


def test_a_hundred_cycles_in_one_boot(tmp_path: Path) -> None:
    driver = make_driver(
        TargetSettings("cycles", "qemu", "amd", timeout_factor=10), ROOT / "hypervisor", tmp_path
    )
    try:
        driver.start(lambda _: None)
        free = driver.query()["free-pages"]
        for _ in range(100):
            driver.load()
            assert driver.query()["cpus"] == "4"
            driver.unload()
        assert driver.query()["free-pages"] == free
    finally:
        driver.stop()
