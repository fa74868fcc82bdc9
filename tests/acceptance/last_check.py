"""The last check of a run on linux-intel: what its driver can do, after which nothing is left of the machine.

test_running_linux.py has pytest collect this file with the suites: a boot of Linux in Bochs takes as long as
all that is asked here and there.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from touchstone.drivers.bochs.linux import BochsLinuxMachine
from touchstone.drivers.ssh.driver import SshDriver
from touchstone.drivers.ssh.virtual import VirtualBox
from touchstone.machine.driver import AgentRefused, InfrastructureError
from touchstone.machine.probe import ProbeRequest
from touchstone.pytest_plugin.target_fixture import TargetHandle

CPUID = ProbeRequest(code=bytes.fromhex("0fa2"), cpus=(0, 1), together=True)


@pytest.mark.touchstone(
    id="teardown.last.autopsy-and-kill",
    title="A machine that is stopped tells where, and one that was killed is noticed",
    area="teardown",
    phase="unloaded",
    claims=False,
    cite={"doc": "touchstone", "title": "targets", "says": "linux-intel"},
)
def test_autopsy_and_kill(target: TargetHandle) -> None:
    with target._session.asking() as driver:
        assert isinstance(driver, SshDriver)
        box = driver._box
        assert isinstance(box, VirtualBox)
        machine = box._machine
        assert isinstance(machine, BochsLinuxMachine)
        assert driver.query()["loaded"] == "0"
        assert "veneer: loaded on 2 CPUs" in driver.serial_since(0)
        with pytest.raises(AgentRefused, match="cannot inject an NMI"):
            driver.inject_nmi()

        stopped = driver.autopsy()
        assert "Bochs is still running" in stopped.reason
        assert "rip: " in stopped.registers[0]
        assert sorted(stopped.backtraces) == [0, 1]

        pid = machine.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(InfrastructureError, match="Bochs killed by SIGKILL, from outside"):
            driver.run(CPUID)
        gone = driver.autopsy()
        assert "SIGKILL" in gone.reason
        assert any("Bochs is gone" in note for note in gone.notes)
    target._session.lose()
    Path(os.environ["TOUCHSTONE_TEST_KILLED"]).write_text(str(pid), encoding="ascii")
