"""A real machine: reached, restored, shot at, killed."""

from __future__ import annotations

import os
import select
import signal
import time
from pathlib import Path

import paramiko
import pytest

from tests.support import boxes
from touchstone.drivers.qemu.linux import QemuLinuxMachine, accelerator
from touchstone.machine.driver import InfrastructureError


@pytest.fixture
def nothing_left_behind() -> None:
    """Other tests use the machine, too: it is there after a test, and so is its directory."""


def dies(machine: QemuLinuxMachine, seconds: float = boxes.PATIENCE) -> bool:
    return bool(select.select([machine.death_fd], [], [], seconds)[0])


def test_threads_of_cpus_depend_on_qemus_version() -> None:
    assert accelerator("tcg", (7, 2)) == accelerator("tcg", (8, 0)) == "tcg,thread=single"
    assert accelerator("tcg", (8, 1)) == accelerator("tcg", (10, 0)) == "tcg,thread=multi"
    assert accelerator("kvm", (7, 2)) == "kvm"


def test_a_login_finds_a_stock_debian(box: paramiko.SSHClient, machine: QemuLinuxMachine) -> None:
    assert boxes.run(box, "uname -r").strip() == machine.image.release
    assert boxes.run(box, "nproc").strip() == "4"
    assert "svm" in boxes.run(box, "cat /proc/cpuinfo")


def test_its_keys_for_machine_kernel_and_memory(box: paramiko.SSHClient) -> None:
    """What tests.support.boxes asks for, as the inventory would."""
    assert "Q35" in boxes.run(box, "cat /sys/class/dmi/id/product_name")
    assert "touchstone.words" in boxes.run(box, "cat /proc/cmdline").split()
    assert "19000000-19ffffff : Reserved" in boxes.run(box, "cat /proc/iomem")


def test_another_host_key_is_not_ours(machine: QemuLinuxMachine) -> None:
    address = machine.address()
    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(boxes.Pinned("SHA256:another"))
    with pytest.raises(paramiko.SSHException, match="is not SHA256:another"):
        client.connect(
            address.host,
            address.port,
            "root",
            key_filename=str(address.key),
            allow_agent=False,
            look_for_keys=False,
            timeout=boxes.PATIENCE,
            banner_timeout=boxes.PATIENCE,
        )


def test_restoring_undoes_everything(machine: QemuLinuxMachine) -> None:
    with boxes.login(machine) as client:
        boxes.run(client, "echo 1 >/root/trace; test -s /root/trace")
    machine.restore(boxes.say)
    with boxes.login(machine) as client:
        assert boxes.run(client, "ls /root").strip() == ""


def test_an_nmi_reaches_linux(box: paramiko.SSHClient, machine: QemuLinuxMachine) -> None:
    def nmis() -> int:
        return sum(map(int, boxes.run(box, "grep NMI: /proc/interrupts").split()[1:5]))

    before, limit = nmis(), time.monotonic() + boxes.PATIENCE
    machine.inject_nmi()
    # The CPU that takes it need not be the one that runs grep, nor run before that one.
    while nmis() <= before:
        assert time.monotonic() < limit


def test_a_panic_is_noticed_and_leaves_evidence(machine: QemuLinuxMachine) -> None:
    machine.restore(boxes.say)
    with boxes.login(machine) as client:
        client.exec_command("echo c >/proc/sysrq-trigger")
        assert dies(machine)
    assert "panicked" in machine.death()
    autopsy = machine.autopsy()
    assert "panicked" in autopsy.reason
    assert sorted(autopsy.registers) == [0, 1, 2, 3]
    assert "RIP" in autopsy.registers[0]
    assert "sysrq triggered crash" in autopsy.serial
    callers = [frame for frames in autopsy.backtraces.values() for frame in frames]
    assert any("sysrq_handle_crash+0x" in frame for frame in callers), callers
    assert any("write_sysrq_trigger+0x" in frame for frame in callers), callers
    machine.restore(boxes.say)
    with boxes.login(machine) as client:
        assert boxes.run(client, "echo back").strip() == "back"


def test_a_killed_qemu_is_noticed_and_started_again(machine: QemuLinuxMachine) -> None:
    assert machine.pid is not None
    os.kill(machine.pid, signal.SIGKILL)
    assert dies(machine)
    assert machine.death() == "QEMU killed by SIGKILL"
    assert machine.autopsy().notes[0].startswith("QEMU is gone")
    machine.restore(boxes.say)
    with boxes.login(machine) as client:
        assert boxes.run(client, "echo back").strip() == "back"


def test_nothing_works_on_a_machine_that_is_off(tmp_path: Path) -> None:
    machine = boxes.a_machine(tmp_path, "linux-off")
    with pytest.raises(InfrastructureError, match="linux-off is not running: start it first"):
        machine.address()
    with pytest.raises(InfrastructureError, match="linux-off is not running"):
        machine.inject_nmi()
    assert machine.autopsy().reason == "the target was not running"
    machine.stop()
