"""The agent's module in the kernel of the machine that we run on: put there, and taken out again.

No test here inserts one: insmod, rmmod and the kernel are files. tests/acceptance/test_here_ring0.py does.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from touchstone.drivers.here import module
from touchstone.drivers.here.machine import this_machine
from touchstone.drivers.here.module import AgentsModule, ModuleDriver
from touchstone.drivers.here.program import provide_program
from touchstone.drivers.ssh.deployable import Deployable
from touchstone.machine.driver import HostError, InfrastructureError
from touchstone.machine.probe import ProbeRequest

# Each does what its file says first, if there is one: a line that fails stands for the kernel's refusal.
INSMOD = """#!/bin/sh
echo "insmod ${1##*/}" >>$KERNEL/log; . $KERNEL/insmod 2>&1; : >$KERNEL/touchstone_agent
"""
RMMOD = """#!/bin/sh
echo "rmmod $1" >>$KERNEL/log; . $KERNEL/rmmod 2>&1; rm $KERNEL/touchstone_agent
"""


@dataclass
class Kernel:
    """Files in the place of a kernel."""

    directory: Path

    def will(self, tool: str, line: str) -> None:
        """From now on."""
        (self.directory / tool).write_text(f"{line}\n")

    @property
    def said(self) -> list[str]:
        """What it was told."""
        return (self.directory / "log").read_text().splitlines()

    @property
    def symbols(self) -> Path:
        """What tells that the kernel's headers are there."""
        return self.directory / "modules" / platform.release() / "build" / "Module.symvers"

    def module(self) -> AgentsModule:
        """The agent's; its program is that of ``--target=here`` without it."""
        sources = self.directory / "src"
        sources.mkdir(exist_ok=True)
        (sources / "agent.c").touch()
        self.symbols.parent.mkdir(parents=True)
        self.symbols.touch()
        program = provide_program(lambda _: None)
        agent = Deployable(
            "agent",
            "the agent",
            sources,
            f": >{{build}}/touchstone_agent.ko; cp {program} {{build}}/touchstone-agent",
            ("touchstone_agent.ko", "touchstone-agent"),
        )
        loaded = self.directory / "touchstone_agent"
        return AgentsModule(self.directory / "cache", agent, loaded, self.directory / "modules")


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    found = Kernel(tmp_path)
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, text in (("insmod", INSMOD), ("rmmod", RMMOD)):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
        found.will(name, ":")
    monkeypatch.setenv("KERNEL", str(tmp_path))
    monkeypatch.setattr(module, "SEARCHED", str(tools))
    inserted = tmp_path / "inserted"
    inserted.touch()
    monkeypatch.setattr(module, "INSERTED", inserted)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(module, "TAINTED", tmp_path / "tainted")
    monkeypatch.setattr(module, "KERNEL_LOG", tmp_path / "kmsg")
    module.TAINTED.write_text("12288\n")  # out of tree, unsigned
    return found


@pytest.fixture
def driver(kernel: Kernel, tmp_path: Path) -> Iterator[ModuleDriver]:
    made = ModuleDriver(this_machine(ring0=True), kernel.module(), tmp_path / "logs")
    yield made
    kernel.will("rmmod", ":")
    made.stop()


def test_it_is_there_while_the_program_runs_and_not_longer(
    kernel: Kernel, driver: ModuleDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove = driver._module.remove

    def without_a_program() -> None:
        assert driver._process is None, "Linux does not remove a module that is in use"
        remove()

    monkeypatch.setattr(driver._module, "remove", without_a_program)
    driver.start(lambda _: None)
    assert kernel.said == ["insmod touchstone_agent.ko"]
    assert driver.run(ProbeRequest(b"\x90", cpl=3))[0].vector is None
    driver.reset(lambda _: None)
    driver.stop()
    driver.stop()
    once = ["insmod touchstone_agent.ko", "rmmod touchstone_agent"]
    assert kernel.said == [*once, *once]


def test_what_a_killed_run_has_left_goes_first(kernel: Kernel, driver: ModuleDriver) -> None:
    (kernel.directory / "touchstone_agent").touch()
    driver.start(lambda _: None)
    assert kernel.said == ["rmmod touchstone_agent", "insmod touchstone_agent.ko"]


def test_another_runs_module_is_left_alone(kernel: Kernel, driver: ModuleDriver) -> None:
    (kernel.directory / "touchstone_agent").touch()
    kernel.will("rmmod", "echo Module touchstone_agent is in use; exit 1")
    with pytest.raises(HostError, match=r"another run .*: Module touchstone_agent is in use"):
        driver.start(lambda _: None)
    driver.stop()
    assert kernel.said == ["rmmod touchstone_agent"]


def test_what_stands_in_its_way_is_said(
    kernel: Kernel, driver: ModuleDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel.will("insmod", "echo Key was rejected by service; exit 1")
    with pytest.raises(HostError, match=r"Key was rejected by service\. .*Secure Boot"):
        driver.start(lambda _: None)
    driver.stop()
    assert kernel.said == ["insmod touchstone_agent.ko"], "it was never there"
    monkeypatch.setattr(module, "SEARCHED", "")
    with pytest.raises(HostError, match=r"insmod: No such file"):
        driver.start(lambda _: None)
    kernel.symbols.unlink()
    with pytest.raises(HostError, match=r"no headers in .*apt-get install linux-headers-"):
        driver.start(lambda _: None)
    module.INSERTED.unlink()
    with pytest.raises(HostError, match=r"takes no modules .*leave out --ring0"):
        driver.start(lambda _: None)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(HostError, match=r"--ring0 needs root"):
        driver.start(lambda _: None)


def test_a_module_that_stays_is_told(kernel: Kernel, driver: ModuleDriver) -> None:
    driver.start(lambda _: None)
    kernel.will("rmmod", "echo Device or resource busy; exit 1")
    with pytest.raises(InfrastructureError, match=r"stays in this machine's kernel: Device or resource busy"):
        driver.stop()


def kill_program(driver: ModuleDriver) -> None:
    assert driver._process is not None
    driver._process.kill()
    driver._process.wait()


def test_an_oops_is_told_and_nothing_more_is_asked(kernel: Kernel, driver: ModuleDriver) -> None:
    driver.start(lambda _: None)
    line = "BUG: unable to handle page fault for address: ffff8000"
    module.KERNEL_LOG.write_text(f"1,77,88,-;{line}\n SUBSYSTEM=cpu\n")
    module.TAINTED.write_text(f"{12288 + 128}\n")
    kill_program(driver)
    with pytest.raises(HostError, match=rf"oopsed while .*: {line}\. Nothing tells here whether .*Restart"):
        driver.run(ProbeRequest(b"\x90", cpl=3))
    with pytest.raises(HostError, match="oopsed"):
        driver.reset(lambda _: None)
    driver.stop()
    assert kernel.said == ["insmod touchstone_agent.ko"], "it does not go"


@pytest.mark.parametrize("before", ["12288", "12416", "none"])
def test_a_program_that_somebody_kills_is_no_oops(driver: ModuleDriver, before: str) -> None:
    """Nor is one for which the kernel has oopsed long ago."""
    module.TAINTED.write_text(before)
    driver.start(lambda _: None)
    kill_program(driver)
    with pytest.raises(InfrastructureError, match=r"the agent's program ended \(signal 9\)") as told:
        driver.run(ProbeRequest(b"\x90", cpl=3))
    assert not isinstance(told.value, HostError)
