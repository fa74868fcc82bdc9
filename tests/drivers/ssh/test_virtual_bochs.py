"""The other vendor: a Linux of ours in Bochs, Veneer's module on VMX. One boot, for it takes long."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from tests.support.ssh.virtual_boxes import run_counted, started
from touchstone.drivers import registry
from touchstone.drivers.bochs.linux import BochsLinuxMachine
from touchstone.drivers.ssh.driver import SshDriver
from touchstone.drivers.ssh.virtual import VirtualBox
from touchstone.machine.driver import AgentRefused, TargetDied
from touchstone.machine.probe import ProbeRequest
from touchstone.machine.settings import SettingsError, TargetSettings

CPUID = ProbeRequest(code=bytes.fromhex("0fa2"), cpus=(0, 1), together=True)


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshDriver]:
    yield from started("linux-intel", "bochs", tmp_path_factory.mktemp("logs"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"emulator": "boches"}, "'boches' is none of qemu, bochs"),
        ({"emulator": "bochs", "accel": "tcg"}, "has no such option; it has .*ignore_bad_msrs"),
        ({"ips": 50_000_000}, "has no such option; it has .*accel"),
        ({"emulator": "bochs", "ips": 1}, "1 is not between"),
    ],
)
def test_what_a_box_may_be_depends_on_its_emulator(options: dict[str, object], said: str) -> None:
    settings = TargetSettings("box", "ssh", "intel", options={"image": "debian-12", **options})
    with pytest.raises(SettingsError, match=said):
        registry.validate(settings)


def machine_of(driver: SshDriver) -> BochsLinuxMachine:
    box = driver._box
    assert isinstance(box, VirtualBox)
    assert isinstance(box._machine, BochsLinuxMachine)
    return box._machine


def test_load_unload_autopsy_and_kill_in_one_boot(driver: SshDriver) -> None:
    """In the order of a run: Veneer comes and goes, then the machine is shot, and Bochs with it."""
    native = driver.run(CPUID)
    driver.load()
    assert driver.query()["cpus"] == "2"
    loaded, exits = run_counted(driver, CPUID, "cpuid")
    assert exits == [1, 1]
    assert [result.registers for result in loaded] == [result.registers for result in native]
    driver.unload()
    assert driver.query()["loaded"] == "0"
    assert "veneer: loaded on 2 CPUs" in driver.serial_since(0)
    with pytest.raises(AgentRefused, match="cannot inject an NMI"):
        driver.inject_nmi()

    stopped = driver.autopsy()
    assert "Bochs is still running" in stopped.reason
    assert "rip: ffffffff_" in stopped.registers[0]
    assert sorted(stopped.backtraces) == [0, 1]

    pid = machine_of(driver).pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(TargetDied, match="Bochs killed by SIGKILL"):
        driver.run(CPUID)
    gone = driver.autopsy()
    assert "SIGKILL" in gone.reason
    assert any("Bochs is gone" in note for note in gone.notes)
    driver.stop()
    assert machine_of(driver).pid is None
