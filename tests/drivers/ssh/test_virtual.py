"""The real thing: a Linux of ours in QEMU, the agent's module, Veneer's module, entered over SSH."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.support.ssh.virtual_boxes import run_counted, say, started
from touchstone.drivers.ssh.driver import SshDriver
from touchstone.machine.driver import InfrastructureError, TargetDied
from touchstone.machine.probe import ProbeRequest

CPUID = ProbeRequest(code=bytes.fromhex("0fa2"), cpus=(0, 1, 2, 3), together=True)


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshDriver]:
    yield from started("linux-amd", "qemu-system-x86_64", tmp_path_factory.mktemp("logs"))


def test_veneer_is_loaded_and_asked(driver: SshDriver) -> None:
    info = driver.reset(say)
    assert (info.os, info.vendor, info.cpus) == ("linux", "amd", 4)
    native = driver.run(CPUID)
    driver.load()
    status = driver.query()
    assert (status["loaded"], status["cpus"]) == ("1", "4")
    assert driver._visit is not None
    (module,) = driver._modules_of_subject()
    at, _, name, _ = driver._visit.root.run("grep 'handle_cpuid[[:space:]]' /proc/kallsyms").text.split()
    assert module.find(int(at, 16)) == (name, 0) == ("handle_cpuid", 0)
    loaded, exits = run_counted(driver, CPUID, "cpuid")
    assert exits == [1, 1, 1, 1]
    assert [result.registers for result in loaded] == [result.registers for result in native]
    assert len(driver.trace(0, 4)) > 0
    driver.unload()
    assert driver.query()["loaded"] == "0"
    assert "veneer: loaded on 4 CPUs" in driver.serial_since(0)


def end_by(driver: SshDriver, script: str) -> None:
    """Run probes until the machine has ended by what ``script`` does."""
    assert driver._visit is not None
    channel = driver._visit.link.session(f"read -r _; {script}")
    channel.sendall(b"now\n")  # not before sshd has said that it started: that word would be lost with it
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        driver.run(CPUID)


def test_panic_is_a_death_with_an_autopsy(driver: SshDriver) -> None:
    driver.reset(say)
    mark = driver.serial_position()
    with pytest.raises(TargetDied, match=r"panicked.*: .*Kernel panic - not syncing: sysrq triggered crash"):
        end_by(driver, "echo c >/proc/sysrq-trigger")
    autopsy = driver.autopsy()
    assert "panic" in autopsy.reason
    assert "RIP=" in autopsy.registers[3]
    assert "sysrq triggered crash" in driver.serial_since(mark)
    with pytest.raises(InfrastructureError, match="reset it first"):
        driver.run(CPUID)
    driver.reset(say)
    assert driver.run(CPUID)[0].vector is None
    driver.load()
    assert driver.query()["cpus"] == "4"


def test_an_unexpected_reboot_is_a_death(driver: SshDriver) -> None:
    driver.reset(say)
    with pytest.raises(TargetDied):
        end_by(driver, "echo 1 >/proc/sys/kernel/sysrq; echo b >/proc/sysrq-trigger")
    driver.reset(say)
    assert driver.run(CPUID)[0].vector is None
