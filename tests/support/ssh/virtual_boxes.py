"""Drivers of the inventory's virtual boxes, with Veneer, for tests of the real thing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from touchstone.config.inventory import read_inventory
from touchstone.config.subjects import read_subject
from touchstone.drivers import registry
from touchstone.drivers.ssh.deployable import a_subject
from touchstone.drivers.ssh.driver import SshDriver
from touchstone.machine.probe import ProbeRequest, ProbeResult

REPOSITORY = Path(__file__).resolve().parents[3]


def say(sentence: str) -> None:
    print(sentence)


def started(target: str, emulator: str, logs: Path) -> Iterator[SshDriver]:
    """A started driver, stopped afterwards. Skips without the emulator."""
    if shutil.which(emulator) is None:
        pytest.skip(f"no {emulator}")
    settings = read_inventory(REPOSITORY / "targets" / "inventory.toml").targets[target].settings
    file = REPOSITORY / "hypervisor" / "veneer.toml"
    subject = read_subject(file)
    part = a_subject(subject.name, subject.title, file, subject.options["linux"])
    driver = registry.make_box_driver(settings, part, logs)
    assert isinstance(driver, SshDriver)
    driver.start(say)
    yield driver
    driver.stop()


def run_counted(
    driver: SshDriver, request: ProbeRequest, exit_name: str
) -> tuple[list[ProbeResult], list[int]]:
    """The results of a probe, and how often its CPUs had this exit meanwhile.

    Counters don't tell whose exits they count, and the box starts programs of its own when it likes, which
    execute CPUID (glibc asks it what the processor has). The least of several goes is the probe's.
    """
    goes: list[tuple[list[ProbeResult], list[int]]] = []
    while len(goes) < 8:
        before = [driver.exits(cpu)[exit_name] for cpu in request.cpus]
        results = driver.run(request)
        after = [driver.exits(cpu)[exit_name] for cpu in request.cpus]
        goes.append((results, [late - early for early, late in zip(before, after, strict=True)]))
        if max(goes[-1][1]) <= 1:
            break
    return min(goes, key=lambda one: sum(one[1]))
