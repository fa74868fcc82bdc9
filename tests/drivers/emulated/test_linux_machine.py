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
from touchstone.drivers.emulated import linux_machine as linux_machine_module
from touchstone.drivers.emulated.emulator import Emulator
from touchstone.drivers.emulated.linux_machine import BOOT_TIMEOUT, LinuxMachine
from touchstone.drivers.emulated.process import EmulatorProcess
from touchstone.drivers.linux_image.image import LinuxImage
from touchstone.machine.driver import AgentRefused, InfrastructureError, Say
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
GONE = "Script is gone, and the machine's memory with it: no registers, no backtrace"


class Script(Emulator):
    """An emulator that is a script of Python. The registers of one of its CPUs can be read."""

    title = "Script"

    def __init__(self, script: str) -> None:
        self._script = script
        super().__init__()

    def _listen(self) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self.directory / "signal"))
        listener.listen(1)
        return listener

    def _start_process(self) -> EmulatorProcess:
        command = [sys.executable, "-c", self._script]
        return EmulatorProcess(command, stderr=self.directory / "stderr", cwd=self.directory)

    def version(self) -> tuple[int, ...] | None:
        return None

    def state(self) -> str:
        return "Script runs"

    def registers(self) -> Iterator[tuple[int, str]]:
        yield 0, "RIP=0000000000001234"
        raise OSError("no more CPUs")

    def read_memory(self, address: int, length: int, cpu: int = 0) -> bytes:
        raise OSError("a script has no memory")

    def inject_nmi(self) -> None:
        raise AgentRefused("unsupported", "a script has no NMI")


class ScriptMachine(LinuxMachine[Script]):
    """A machine of two CPUs, whose emulator is a script."""

    emulator = "Script"
    program = sys.executable
    install = "write one"

    def __init__(self, script: str, logs: Path) -> None:
        settings = TargetSettings("linux-script", "ssh", "amd", cpus=2, memory_mib=64)
        image = LinuxImage("none", Path("/nonexistent"), "6.0", "SHA256:none")
        super().__init__(settings, lambda progress: image, logs)
        self.script = script
        self.connecting_since = self.booting_since = 0.0

    def _launch(self, image: LinuxImage, progress: Say) -> None:
        progress(f"starting {self.name}: {self._description()}, {self._size()}")
        script = Script(self.script)
        self._connect(script, self.connecting_since or time.monotonic())
        self._wait_ready(script, self.booting_since or time.monotonic())
        self._port = 22

    def _description(self) -> str:
        return "Script"


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
    assert autopsy.notes == (GONE,)
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
    assert autopsy.reason == "Script runs"
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
    assert lines[-2:] == ["end of the serial log:", "Linux was here"]
    assert machine.pid is None


def test_an_emulator_that_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(InfrastructureError, match="did not start: Script ended with status 4\ncommand: "):
        ScriptMachine("import sys; sys.exit(4)", tmp_path).start(silent)


def test_an_emulator_that_takes_its_time_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it ended with is known only after the end of its connection."""
    wait = EmulatorProcess.wait

    def let_go_and_wait(process: EmulatorProcess, timeout: float) -> bool:
        assert machine._emulator is not None
        (machine._emulator.directory / "go").write_text("")
        return wait(process, timeout)

    machine = ScriptMachine(LINGERS, tmp_path)
    monkeypatch.setattr(EmulatorProcess, "wait", let_go_and_wait)
    with pytest.raises(InfrastructureError, match="did not start: Script ended with status 3"):
        machine.start(silent)


def test_an_emulator_that_hangs_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linux_machine_module, "END_TIMEOUT", 0.0)
    with pytest.raises(InfrastructureError, match="did not start: Script closed its serial port"):
        ScriptMachine(HANGS_UP, tmp_path).start(silent)


def test_a_machine_that_takes_too_long(tmp_path: Path) -> None:
    machine = ScriptMachine(SILENT, tmp_path)
    machine.booting_since = LONG_AGO
    said = r"(?s)linux-script did not start: its sshd was not up after 120 s.*Linux was here"
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
