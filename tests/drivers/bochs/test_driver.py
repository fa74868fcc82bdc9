import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.support.emulators import (
    AT_ONCE,
    CPUID,
    FACTOR,
    NULL_IDT,
    PATIENT,
    SAYS_X,
    TRIPLE_FAULT,
    emulator_of,
    ends_within,
    hang,
    pid_of,
    running,
    silent,
    slot_of,
    until,
)
from touchstone.drivers.bochs.log import dumped_registers
from touchstone.drivers.bochs.terminal import Terminal
from touchstone.drivers.build import BareImage
from touchstone.drivers.emulated.driver import EmulatorDriver
from touchstone.drivers.registry import make_driver, validate
from touchstone.machine.driver import AgentRefused, InfrastructureError, TargetDied
from touchstone.machine.probe import Operand, ProbeRequest
from touchstone.machine.settings import SettingsError, TargetSettings

needs_bochs = pytest.mark.skipif(shutil.which("bochs") is None, reason="bochs is not installed")


def bochs(cpus: int = 4, vendor: Literal["intel", "amd"] = "intel", **options: object) -> TargetSettings:
    return TargetSettings("bochs-test", "bochs", vendor, cpus=cpus, timeout_factor=FACTOR, options=options)


@pytest.fixture
def machine(image: BareImage, tmp_path: Path) -> Iterator[EmulatorDriver[Any]]:
    with running(bochs(), image, tmp_path) as (driver, _):
        yield driver


@needs_bochs
@pytest.mark.parametrize(
    ("vendor", "model", "name"),
    [
        ("intel", "", b"GenuineIntel"),
        ("intel", "core2_penryn_t9600", b"GenuineIntel"),
        ("amd", "", b"AuthenticAMD"),
    ],
)
def test_it_starts_as_any_cpu_and_leaves_nothing(
    image: BareImage, tmp_path: Path, vendor: Literal["intel", "amd"], model: str, name: bytes
) -> None:
    with running(replace(bochs(vendor=vendor), cpu_model=model), image, tmp_path) as (driver, info):
        assert (info.vendor, info.cpus, info.os) == (vendor, 4, "bare")
        assert driver.emulator_version is not None
        assert driver.emulator_version >= (2, 7)
        pid = pid_of(driver)
        assert os.getsid(pid) == pid
        request = ProbeRequest(code=b"\x0f\xa2", registers={"rax": Operand(), "rcx": Operand()})
        (result,) = driver.run(request)
        assert b"".join(result.registers[r].to_bytes(8, "little")[:4] for r in ("rbx", "rdx", "rcx")) == name
        results = driver.run(ProbeRequest(code=b"\x0f\x0b", cpl=3, cpus=(1, 0, 3, 2), together=True))
        assert [(r.cpu, r.vector) for r in results] == [(1, 6), (0, 6), (3, 6), (2, 6)]
    assert ends_within(pid, 0)
    assert not list(image.disk.parent.glob("*.img.lock"))


@needs_bochs
def test_it_listens_nowhere(machine: EmulatorDriver[Any]) -> None:
    """Neither a display nor the serial port takes connections from anybody while it runs."""
    inodes = set()
    for pid in (os.getpid(), machine.pid):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed since it was listed
                kind, _, inode = os.readlink(link).partition(":")
                if kind == "socket":
                    inodes.add(inode.strip("[]"))
    assert inodes
    listening = [
        row
        for table in ("tcp", "tcp6")
        for row in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        if row.split()[3] == "0A" and row.split()[9] in inodes
    ]
    assert listening == []


@needs_bochs
def test_a_killed_bochs_is_noticed_at_once(machine: EmulatorDriver[Any]) -> None:
    os.kill(pid_of(machine), signal.SIGKILL)
    began = time.monotonic()
    with pytest.raises(InfrastructureError, match="Bochs killed by SIGKILL, from outside"):
        machine.run(PATIENT)
    assert time.monotonic() - began < AT_ONCE
    autopsy = machine.autopsy()
    assert autopsy.reason == "Bochs killed by SIGKILL"
    assert "!1 ready" in autopsy.serial
    machine.reset(silent)
    assert machine.run(CPUID)


@needs_bochs
def test_bochs_does_not_sleep_when_the_guest_halts(machine: EmulatorDriver[Any]) -> None:
    def slept() -> int:
        status = Path(f"/proc/{machine.pid}/status").read_text()
        switches = re.search(r"^voluntary_ctxt_switches:\s+(\d+)", status, re.MULTILINE)
        assert switches
        return int(switches[1])

    before = slept()
    for _ in machine.run_many([replace(CPUID, cpus=(0, 1, 2, 3))] * 20):
        pass
    # Every answer of a CPU has its HLT: they would be 80 and more.
    assert slept() - before < 60, "Bochs waits for its standard input at every HLT"


@needs_bochs
def test_a_triple_fault_leaves_registers_and_the_panic(machine: EmulatorDriver[Any]) -> None:
    began = time.monotonic()
    with pytest.raises(TargetDied, match="Bochs ended with status 1"):
        machine.run(TRIPLE_FAULT)
    assert time.monotonic() - began < TRIPLE_FAULT.timeout
    slot = slot_of(machine)
    autopsy = machine.autopsy()
    assert "3rd (13) exception with no resolution" in autopsy.reason
    assert ">>PANIC<<" in autopsy.emulator_log
    assert "IDT.limit = 0x0" in autopsy.emulator_log, "the log must say which check failed"
    assert "SMBIOS" not in autopsy.emulator_log, "the firmware's own words are noise"
    assert sorted(autopsy.registers) == [0, 1, 2, 3]
    assert f"RIP={slot + len(NULL_IDT):016x}" in autopsy.registers[0]
    assert autopsy.backtraces[1][0].split()[1].startswith("cpu_sleep+")
    machine.reset(silent)
    assert machine.run(CPUID)


@needs_bochs
def test_a_hang_is_examined_in_the_debugger_and_reset_cures_it(machine: EmulatorDriver[Any]) -> None:
    where = hang(machine)
    autopsy = machine.autopsy()
    assert f"rip: {where >> 32:08x}_{where & 0xFFFFFFFF:08x}" in autopsy.registers[0]
    assert "CR4=" in autopsy.registers[3]
    assert any("os_ap_main+" in frame and "cpus.c:" in frame for frame in autopsy.backtraces[2])
    assert len(autopsy.backtraces[2]) > 1, "callers come from memory"
    assert autopsy.notes == ()
    assert machine._symbols.read_integer(machine.read_memory, "cpu_count") == 4
    machine.reset(silent)
    assert machine.run(CPUID)


UNKNOWN_MSRS = bytes.fromhex(
    "48 8d 05 49 00 00 00"  # lea rax, [rip + again]
    "66 89 87 d0 00 00 00 8c 8f d2 00 00 00 66 c7 87 d4 00 00 00 00 8e"  # a gate for #GP in an IDT at RDI,
    "48 c1 e8 10 66 89 87 d6 00 00 00 48 c1 e8 10 48 89 87 d8 00 00 00"  # which leads there
    "48 83 ec 10 66 c7 44 24 06 ff 0f 48 89 7c 24 08 0f 01 5c 24 06"  # lidt
    "48 89 e6 b9 45 23 01 00"  # mov rsi, rsp; mov ecx, 0x12345
    "48 89 f4 0f 32"  # again: mov rsp, rsi; rdmsr
)


@needs_bochs
def test_a_guest_of_which_bochs_logs_all_the_time_can_be_examined(machine: EmulatorDriver[Any]) -> None:
    """As one does whose entry fails again and again. Its debugger waited for its log, and that for it."""
    request = ProbeRequest(code=SAYS_X + UNKNOWN_MSRS, registers={"rdi": Operand("scratch")})
    where = hang(machine, request)
    autopsy = machine.autopsy()
    assert autopsy.notes == ()
    assert sorted(autopsy.registers) == [0, 1, 2, 3]
    assert f"rip: {where >> 32:08x}_{where >> 16 & 0xFFFF:04x}" in autopsy.registers[0]
    assert "RDMSR: Unknown register 0x12345" in autopsy.emulator_log


@needs_bochs
def test_nmis_come_from_inside_only(machine: EmulatorDriver[Any]) -> None:
    machine.send_nmis((0, 3), 2)
    assert machine.nmi_counts() == [2, 0, 0, 2]
    with pytest.raises(AgentRefused, match="unsupported"):
        machine.inject_nmi()
    assert machine.run(CPUID)


def test_the_last_words_of_a_bochs_that_has_ended_are_waited_for() -> None:
    terminal = Terminal()
    os.write(terminal.slave, b"." * 3000 + b" the last word\r\n")
    terminal.started()
    assert terminal.tail(ended=True).endswith("the last word")
    terminal.close()


DRAWS = """
import fcntl, os, struct, tty
TIOCSPTLCK, TIOCGPTN = 0x40045431, 0x80045430
screen = os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY)
fcntl.ioctl(screen, TIOCSPTLCK, struct.pack("i", 0))
number, = struct.unpack("i", fcntl.ioctl(screen, TIOCGPTN, struct.pack("i", 0)))
tty.setraw(screen)
print(f'Bochs connected to screen "/dev/pts/{number}"', flush=True)
for _ in range(100):
    os.write(screen, b"." * 4000)
print("<bochs:1> ", end="", flush=True)
"""


def test_a_screen_that_is_drawn_on_for_long_is_read() -> None:
    """Nobody else has the other end of it, as nobody else has Bochs'."""
    terminal = Terminal()
    drawing = subprocess.Popen(
        [sys.executable, "-c", DRAWS],
        stdin=terminal.slave,
        stdout=terminal.slave,
        stderr=terminal.slave,
    )
    terminal.started()
    try:
        assert "connected to screen" in terminal.prompt(60.0)
        assert drawing.wait(60) == 0
    finally:
        drawing.kill()
        drawing.wait()
        terminal.close()


@needs_bochs
def test_bochs_names_its_screen(machine: EmulatorDriver[Any]) -> None:
    terminal = emulator_of(machine).process._terminal
    until(lambda: terminal.screen)  # a thread of its own reads it
    assert re.fullmatch(r"/dev/pts/\d+", terminal.screen)


@needs_bochs
def test_what_bochs_complains_about_is_passed_on(image: BareImage, tmp_path: Path) -> None:
    driver = make_driver(replace(bochs(), cpu_model="corei9_9999"), image, tmp_path)
    with pytest.raises(InfrastructureError, match=r"this Bochs has no CPU model 'corei9_9999'"):
        driver.start(silent)


def test_a_missing_program_says_how_to_get_it(image: BareImage, tmp_path: Path) -> None:
    driver = make_driver(bochs(binary="bochs-nowhere"), image, tmp_path)
    with pytest.raises(
        InfrastructureError, match=r"bochs-nowhere is missing \(apt-get install bochs bochs-term"
    ):
        driver.start(silent)


@needs_bochs
def test_a_missing_bios_says_how_to_get_it(image: BareImage, tmp_path: Path) -> None:
    driver = make_driver(bochs(bios="/nowhere/BIOS"), image, tmp_path)
    with pytest.raises(InfrastructureError, match=r"/nowhere/BIOS is missing \(apt-get install bochs"):
        driver.start(silent)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (bochs(ip=1), "ip: Bochs' driver has no such option; it has"),
        (bochs(ips="4M"), "ips: '4M' is not a int"),
        (bochs(ips=True), "ips: True is not a int"),
        (bochs(ips=10), "ips: 10 is not between"),
        (
            replace(bochs(), cpu_model="host,+vmx"),
            "cpu-model: 'host,.vmx' is not a model of `bochs --help cpu`",
        ),
        (bochs(0), "cpus: 0 is not between 1 and 256"),
        (bochs(apic="x3apic"), "apic: 'x3apic' is none of 'xapic', 'x2apic'"),
        (
            replace(bochs(apic="x2apic", uefi=True), memory_mib=128),
            "apic: the firmware has started the CPUs, in xAPIC mode",
        ),
    ],
)
def test_settings_that_cannot_work(settings: TargetSettings, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        validate(settings)


def test_registers_are_those_of_the_last_dump() -> None:
    log = """\
00016785369i[CPU0  ] | RAX=0000000000000001  RBX=0000000000000000
00016785369e[CPU0  ] VMENTER FAIL: VMCS guest invalid CR0
00016785369p[CPU0  ] >>PANIC<< exception(): 3rd (13) exception with no resolution
00016785369i[CPU0  ] CPU is in long mode (active)
00016785369i[CPU0  ] | RAX=0000000000000002  RBX=0000000000000000
00016785369i[CPU10 ] | RIP=0000000000100abc (0000000000100abc)
00016785369i[SIM   ] quit_sim called with exit code 1
"""
    assert dumped_registers(log) == {
        0: "CPU is in long mode (active)\nRAX=0000000000000002  RBX=0000000000000000",
        10: "RIP=0000000000100abc (0000000000100abc)",
    }
    assert dumped_registers("nothing happened") == {}
