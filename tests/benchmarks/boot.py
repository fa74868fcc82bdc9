"""How long a virtual target takes from the start of its process to the first answer of its agent."""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

from machines import ROOT, settings_of

from touchstone.drivers.build import build_bare
from touchstone.drivers.emulated.driver import EmulatorDriver
from touchstone.drivers.registry import make_driver


def main() -> None:
    """Start targets several times, and print minimum, median and maximum."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", default=["qemu-amd", "bochs-intel"], help="of the inventory")
    parser.add_argument("-n", type=int, default=11, help="starts of each (default %(default)s)")
    arguments = parser.parse_args()
    image = build_bare(ROOT / "hypervisor", print)
    for name in arguments.targets:
        seconds = []
        with tempfile.TemporaryDirectory() as logs:
            for _ in range(arguments.n):
                driver = make_driver(settings_of(name), image, Path(logs))
                assert isinstance(driver, EmulatorDriver)
                try:
                    driver.start(lambda _: None)
                    seconds.append(driver.reach_seconds)
                finally:
                    driver.stop()
        print(
            f"{name}: process start to agent's answer, {arguments.n} starts: min {min(seconds):.3f} s, "
            f"median {statistics.median(seconds):.3f} s, max {max(seconds):.3f} s"
        )


if __name__ == "__main__":
    main()
