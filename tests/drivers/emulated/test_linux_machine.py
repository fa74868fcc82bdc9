"""The life of a machine with a Linux, without one: a script stands for the emulator and what runs in it."""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.emulators import silent
from touchstone.drivers.agent_driver import Progress
from touchstone.drivers.emulated import linux_machine as linux_emulator
from touchstone.drivers.emulated.linux_machine import BOOT_TIMEOUT, LinuxMachine
from touchstone.drivers.emulated.machine import Evidence
from touchstone.drivers.emulated.process import EmulatorProcess, private_directory
from touchstone.drivers.linux_image.image import LinuxImage
from touchstone.machine.driver import AgentRefused, InfrastructureError
from touchstone.machine.settings import TargetSettings

BEGIN = """
import socket, sys, time
open("console", "w").write("Linux was here\\n")
print("no such device", file=sys.stderr, flush=True)
port = socket.socket(socket.AF_UNIX)
port.connect("signal")
"""
READY = BEGIN + 'port.sendall(b"!rea"); port.sendall(b"dy\\n"); time.sleep(600)'
SILENT = BEGIN + "time.sleep(600)"
DIES = BEGIN + 'port.sendall(b"!rea"); sys.exit(3)'
HANGS_UP = BEGIN + "port.close(); time.sleep(600)"
LINGERS = BEGIN + 'import os; os.mkfifo("go"); port.close(); open("go").read(); sys.exit(3)'
DEAF = "import time; time.sleep(600)"
LONG_AGO = -1e6


class ScriptMachine(LinuxMachine):
    """Its emulator is a script of Python. It has two CPUs, and the registers of one can be read."""

    emulator = "Script"
    program = sys.executable
    install = "write one"

    def __init__(self, script: str, logs: Path) -> None:
        settings = TargetSettings("linux-script", "ssh", "amd", cpus=2, memory_mib=64)
        image = LinuxImage("none", Path("/nonexistent"), "6.0", "SHA256:none")
        super().__init__(settings, lambda progress: image, logs)
        self.script = script
        self.connecting_since = self.booting_since = 0.0

    def _launch(self, progress: Progress) -> None:
        progress(f"starting {self.name}: {self._describe()}")
        directory = self._directory = private_directory()
        self._console.follow(directory.path / "console")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(directory.path / "signal"))
            listener.listen(1)
            command = [self.program, "-c", self.script]
            self._process = EmulatorProcess(command, stderr=directory.path / "stderr", cwd=directory.path)
            self._signal = self._accept(listener, self.connecting_since or time.monotonic())
        self._wait_ready(self.booting_since or time.monotonic())
        self._port = 22

    def inject_nmi(self) -> None:
        raise AgentRefused("unsupported", "a script has no NMI")

    def read_memory(self, address: int, length: int, cpu: int = 0) -> bytes:
        raise OSError("a script has no memory")

    def _description(self) -> str:
        return "Script"

    def _state(self) -> str:
        return "Script runs"

    def _registers(self) -> Iterator[tuple[int, str]]:
        yield 0, "RIP=0000000000001234"
        raise OSError("no more CPUs")

    def _examine_remains(self, evidence: Evidence) -> None:
        evidence.notes.append("Script is gone")


def test_from_start_to_stop(tmp_path: Path) -> None:
    machine = ScriptMachine(READY, tmp_path)
    with pytest.raises(InfrastructureError, match="linux-script has not been started"):
        machine.image  # noqa: B018
    said: list[str] = []
    machine.start(said.append)
    try:
        assert said == ["starting linux-script: Script, 2 CPUs, 64 MiB"]
        assert machine.address().port == 22
        assert 0 < machine.boot_seconds < BOOT_TIMEOUT
        assert machine.death() == ""
        assert "Linux was here" in machine.console_since(0)
        first = machine.pid
        machine.restore(silent)
        assert machine.pid != first
    finally:
        machine.stop()
    assert machine.pid is None
    with pytest.raises(InfrastructureError, match="linux-script is not running: start it first"):
        machine.address()
    machine.stop()


def test_a_death_is_noticed_and_looked_into(tmp_path: Path) -> None:
    machine = ScriptMachine(READY, tmp_path)
    machine.start(silent)
    try:
        assert machine.pid is not None
        os.kill(machine.pid, signal.SIGKILL)
        assert select.select([machine.death_fd], [], [], 60)[0]
        autopsy = machine.autopsy()
    finally:
        machine.stop()
    assert autopsy.reason == "Script killed by SIGKILL"
    assert autopsy.notes == ("Script is gone",)
    assert "Linux was here" in autopsy.serial
    assert autopsy.emulator_log == "no such device"
    with pytest.raises(InfrastructureError, match="linux-script is not running"):
        machine.death_fd  # noqa: B018
    assert machine.autopsy().reason == "the target was not running"


def test_an_autopsy_that_breaks_off_keeps_what_it_has(tmp_path: Path) -> None:
    machine = ScriptMachine(READY, tmp_path)
    machine.start(silent)
    try:
        autopsy = machine.autopsy()
    finally:
        machine.stop()
    assert autopsy.reason == "the target is not known to have died; Script runs"
    assert list(autopsy.registers) == [0]
    assert list(autopsy.backtraces) == [0]
    assert autopsy.notes == ("the autopsy broke off: OSError: no more CPUs",)


def test_a_machine_that_dies_while_it_boots(tmp_path: Path) -> None:
    machine = ScriptMachine(DIES, tmp_path)
    with pytest.raises(InfrastructureError) as failed:
        machine.start(silent)
    lines = str(failed.value).splitlines()
    assert lines[:3] == [
        "linux-script did not start: Script ended with status 3",
        "Script said:",
        "no such device",
    ]
    assert lines[3].startswith(f"command: {sys.executable} -c")
    assert lines[-2:] == ["end of its console:", "Linux was here"]
    assert machine.pid is None


def test_an_emulator_that_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(InfrastructureError, match="did not start: Script ended with status 4\ncommand: "):
        ScriptMachine("import sys; sys.exit(4)", tmp_path).start(silent)


def test_an_emulator_that_takes_its_time_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it ended with is known only after the end of its connection."""
    wait = EmulatorProcess.wait

    def let_go_and_wait(process: EmulatorProcess, timeout: float) -> bool:
        assert machine._directory is not None
        (machine._directory.path / "go").write_text("")
        return wait(process, timeout)

    machine = ScriptMachine(LINGERS, tmp_path)
    monkeypatch.setattr(EmulatorProcess, "wait", let_go_and_wait)
    with pytest.raises(InfrastructureError, match="did not start: Script ended with status 3"):
        machine.start(silent)


def test_an_emulator_that_hangs_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linux_emulator, "LAST_BREATH", 0.0)
    with pytest.raises(InfrastructureError, match="did not start: Script closed its serial port"):
        ScriptMachine(HANGS_UP, tmp_path).start(silent)


def test_a_machine_that_takes_too_long(tmp_path: Path) -> None:
    machine = ScriptMachine(SILENT, tmp_path)
    machine.booting_since = LONG_AGO
    said = "linux-script: sshd was not up after 120 s; end of its console:\nLinux was here"
    with pytest.raises(InfrastructureError, match=said):
        machine.start(silent)
    machine.script, machine.connecting_since = DEAF, LONG_AGO
    with pytest.raises(InfrastructureError, match="Script did not connect its serial port"):
        machine.start(silent)


def test_no_emulator(tmp_path: Path) -> None:
    machine = ScriptMachine(READY, tmp_path)
    machine.program = "no-such-emulator"
    with pytest.raises(InfrastructureError, match=r"no-such-emulator is missing \(write one\)"):
        machine.start(silent)
