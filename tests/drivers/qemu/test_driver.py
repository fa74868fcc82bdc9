import os
import signal
import stat
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.emulators import (
    AT_ONCE,
    CPUID,
    HANG,
    NULL_IDT,
    PATIENT,
    SAYS_X,
    TRIPLE_FAULT,
    accepted,
    emulator_driver,
    emulator_of,
    ends_within,
    hang,
    pid_of,
    qemu,
    running,
    silent,
    slot_of,
    until,
)
from touchstone.drivers.build import BareImage
from touchstone.drivers.emulated.driver import EmulatorDriver
from touchstone.drivers.qemu.driver import COM1
from touchstone.drivers.registry import make_driver, validate
from touchstone.machine.driver import AgentRefused, InfrastructureError, TargetDied
from touchstone.machine.probe import Operand, Page, Place, ProbeRequest
from touchstone.machine.settings import SettingsError, TargetSettings

GDT_OF_ITS_OWN = bytes.fromhex(
    "0f0107"  #      sgdt [rdi]
    "488b5f02"  #    mov rbx, [rdi+2]
    "31c9"  #        xor ecx, ecx
    "488b040b"  # 1: mov rax, [rbx+rcx]
    "4889040e"  #    mov [rsi+rcx], rax
    "83c108"  #      add ecx, 8
    "83f968"  #      cmp ecx, 0x68
    "72f0"  #        jb 1b
    "48897702"  #    mov [rdi+2], rsi
    "0f0117"  #      lgdt [rdi]
    "b810000000"  #  mov eax, 0x10
    "8ec0"  #        mov es, eax
)


@pytest.fixture
def machine(image: BareImage, tmp_path: Path) -> Iterator[EmulatorDriver[Any]]:
    with running(qemu(), image, tmp_path) as (driver, _):
        yield driver


def test_it_starts_reaches_the_agent_and_leaves_nothing(image: BareImage, tmp_path: Path) -> None:
    steps: list[str] = []
    driver = emulator_driver(qemu(), image, tmp_path)
    info = driver.start(steps.append)
    assert (info.vendor, info.cpus, info.os, info.subject) == ("amd", 4, "bare", "none")
    assert any("starting QEMU: tcg, EPYC" in step for step in steps)
    pid = pid_of(driver)
    assert os.getsid(pid) != os.getsid(0), "Ctrl-C at the terminal must not reach QEMU"
    assert stat.S_IMODE(emulator_of(driver).directory.stat().st_mode) == 0o700
    driver.stop()
    driver.stop()
    assert ends_within(pid, 0)
    assert "!1 ready" in (tmp_path / "qemu-test.serial.log").read_text()
    with pytest.raises(InfrastructureError, match="start it first"):
        driver.run(CPUID)


def test_probes_on_one_each_and_all_cpus_in_both_privileges(machine: EmulatorDriver[Any]) -> None:
    (result,) = machine.run(
        ProbeRequest(code=b"\x0f\xa2", seed=3, registers={"rax": Operand(), "rcx": Operand()})
    )
    name = b"".join(result.registers[r].to_bytes(8, "little")[:4] for r in ("rbx", "rdx", "rcx"))
    assert name == b"AuthenticAMD"
    assert result.rip == result.start + 2
    assert result.registers["r15"] == result.given["r15"]
    results = machine.run(ProbeRequest(code=b"\x0f\x0b", cpl=3, cpus=(3, 0, 1, 2), together=True))
    assert [(r.cpu, r.vector, r.rip - r.start) for r in results] == [
        (3, 6, 0),
        (0, 6, 0),
        (1, 6, 0),
        (2, 6, 0),
    ]


def test_memory_goes_in_and_comes_back(machine: EmulatorDriver[Any]) -> None:
    request = ProbeRequest(
        code=bytes.fromhex("ff 07"),  # inc dword [rdi]
        registers={"rdi": Operand("scratch", 8)},
        memory=((8, b"\x41\x00\x00\x00"),),
        read=(8, 4),
    )
    assert machine.run(request)[0].memory == b"\x42\x00\x00\x00"


@pytest.mark.parametrize("end", ["nop", "ud2", "int 0x80"])
def test_a_probe_may_end_with_a_gdt_of_its_own_in_a_page_of_its_own(
    machine: EmulatorDriver[Any], end: str
) -> None:
    """It is mapped in the probe's page tables only."""
    page = Operand(offset=0x7000_0000_0000)
    request = ProbeRequest(
        code=GDT_OF_ITS_OWN + {"nop": b"\x90", "ud2": b"\x0f\x0b", "int 0x80": b"\xcd\x80"}[end],
        place=Place(pages=(Page(page, set=2),)),
        registers={"rdi": Operand("scratch"), "rsi": page},
    )
    vector = {"nop": None, "ud2": 6, "int 0x80": 0x80}[end]
    for _ in range(2):
        assert [one.vector for one in machine.run(request)] == [vector]
    assert machine.run(replace(CPUID, cpl=3))[0].vector is None


def test_nmis_from_inside_and_outside_are_counted(machine: EmulatorDriver[Any]) -> None:
    assert machine.nmi_counts() == [0, 0, 0, 0]
    machine.send_nmis((1, 3), 5)
    assert machine.nmi_counts() == [0, 5, 0, 5]
    machine.inject_nmi()  # the NMI line of a PC goes to every CPU
    until(lambda: sum(machine.nmi_counts()) >= 14)
    assert machine.nmi_counts() == [1, 6, 1, 6]


@pytest.mark.parametrize("bit", [12, 13, 14, 19, 22, 23, 24, 25, 27, 28, 32])
def test_a_bit_of_cr4_that_the_cpu_lacks_is_refused(machine: EmulatorDriver[Any], bit: int) -> None:
    """QEMU's CPU would never come back."""
    with pytest.raises(AgentRefused, match="cr4: a bit that this CPU does not have"):
        machine.run(ProbeRequest(code=b"\x90", bits={"cr4": (1 << bit, 0)}))
    assert machine.run(CPUID)


def test_the_bare_machine_has_no_subject(machine: EmulatorDriver[Any]) -> None:
    with pytest.raises(AgentRefused, match="ENODEV"):
        machine.load()
    assert machine.run(CPUID)


def test_a_qemu_that_is_told_to_end_is_the_lab_s_trouble(machine: EmulatorDriver[Any]) -> None:
    os.kill(pid_of(machine), signal.SIGTERM)
    with pytest.raises(InfrastructureError, match="from outside"):
        machine.run(PATIENT)
    machine.reset(silent)


def test_a_killed_qemu_is_noticed_at_once(machine: EmulatorDriver[Any]) -> None:
    os.kill(pid_of(machine), signal.SIGKILL)
    began = time.monotonic()
    with pytest.raises(InfrastructureError, match="QEMU killed by SIGKILL, from outside"):
        machine.run(PATIENT)
    assert time.monotonic() - began < AT_ONCE
    autopsy = machine.autopsy()
    assert autopsy.reason == "QEMU killed by SIGKILL"
    assert "!1 ready" in autopsy.serial
    assert any("QEMU is gone" in note for note in autopsy.notes)
    assert machine.reset(silent).cpus == 4
    assert machine.run(CPUID)


def test_a_qemu_killed_during_a_request_is_noticed_at_once(machine: EmulatorDriver[Any]) -> None:
    com1, pid = emulator_of(machine).directory / COM1, pid_of(machine)

    def shoot() -> None:
        until(lambda: com1.read_bytes().endswith(b"X"))
        os.kill(pid, signal.SIGKILL)

    began = time.monotonic()
    (shooter := threading.Thread(target=shoot)).start()
    with pytest.raises(InfrastructureError, match="QEMU killed by SIGKILL, from outside"):
        machine.run(replace(HANG, timeout=PATIENT.timeout))
    assert time.monotonic() - began < AT_ONCE
    shooter.join()


def test_what_is_said_on_com1_is_evidence_too(machine: EmulatorDriver[Any]) -> None:
    machine.run(ProbeRequest(code=SAYS_X))
    mark = machine.serial_position()
    assert machine.autopsy().serial.endswith("X")
    assert machine.serial_since(mark) == "X"


def test_requests_longer_than_the_consoles_buffers(machine: EmulatorDriver[Any]) -> None:
    data = bytes(range(256)) * 7
    request = ProbeRequest(code=b"\x90", memory=((0, data),), read=(1600, 192))
    for _ in range(20):
        answers = machine.run_many([request] * 10)
        assert [answer[0].memory for answer in map(accepted, answers)] == [data[1600:1792]] * 10


def test_a_triple_fault_is_a_death_with_its_evidence(machine: EmulatorDriver[Any]) -> None:
    mark = machine.serial_position()
    began = time.monotonic()
    with pytest.raises(TargetDied, match=r"triple fault.*\(QEMU: SHUTDOWN, guest-reset\)"):
        machine.run(TRIPLE_FAULT)
    assert time.monotonic() - began < TRIPLE_FAULT.timeout
    with pytest.raises(InfrastructureError, match=r"was lost \(guest triple fault.*reset it first"):
        machine.run(CPUID)
    autopsy = machine.autopsy()
    assert "triple fault" in autopsy.reason
    assert "QEMU's state is shutdown" in autopsy.reason
    assert sorted(autopsy.registers) == [0, 1, 2, 3]
    assert f"RIP={slot_of(machine) + len(NULL_IDT):016x}" in autopsy.registers[0]
    assert any("os_ap_main+" in frame and "cpus.c:" in frame for frame in autopsy.backtraces[1]), (
        autopsy.backtraces
    )
    assert autopsy.notes == ()
    assert machine.serial_since(mark) == ""
    assert machine.reset(silent).cpus == 4
    assert machine.run(CPUID)


def test_a_hang_is_told_from_a_death_and_reset_cures_it(machine: EmulatorDriver[Any]) -> None:
    where = hang(machine)
    autopsy = machine.autopsy()
    assert "no answer to run; QEMU's state is running" in autopsy.reason
    assert f"RIP={where:016x}" in autopsy.registers[0]
    machine.reset(silent)
    assert machine.run(CPUID)


def test_an_autopsy_of_a_healthy_machine_tells_where_its_cpus_are(machine: EmulatorDriver[Any]) -> None:
    autopsy = machine.autopsy()
    assert autopsy.reason == "QEMU's state is running"
    assert len(autopsy.registers) == 4
    assert all(any("+0x" in frame for frame in frames) for frames in autopsy.backtraces.values())
    with pytest.raises(InfrastructureError, match="stopped for an autopsy"):
        machine.run(CPUID)


def test_memory_is_read_by_symbol(machine: EmulatorDriver[Any]) -> None:
    symbols = machine._symbols
    assert symbols.read_integer(machine.read_memory, "cpu_count") == 4


def test_two_machines_at_the_same_time(image: BareImage, tmp_path: Path) -> None:
    with (
        running(qemu(2), image, tmp_path / "a") as (one, _),
        running(qemu(2), image, tmp_path / "b") as (two, _),
    ):
        assert one.pid != two.pid
        assert emulator_of(one).directory != emulator_of(two).directory
        os.kill(pid_of(one), signal.SIGKILL)
        with pytest.raises(InfrastructureError):
            one.run(CPUID)
        assert two.run(CPUID)


@pytest.mark.parametrize("cpus", [1, 2, 16, 64])
def test_any_number_of_cpus(image: BareImage, tmp_path: Path, cpus: int) -> None:
    with running(qemu(cpus), image, tmp_path) as (driver, info):
        assert info.cpus == cpus
        results = driver.run(ProbeRequest(code=b"\x90", cpus=tuple(range(cpus)), together=True, timeout=20.0))
        assert [r.rip - r.start for r in results] == [1] * cpus


def test_a_missing_program_says_how_to_get_it(image: BareImage, tmp_path: Path) -> None:
    driver = make_driver(qemu(binary="qemu-system-nowhere"), image, tmp_path)
    with pytest.raises(
        InfrastructureError, match=r"qemu-system-nowhere is missing .apt-get install qemu-system-x86"
    ):
        driver.start(silent)
    driver.stop()


def test_an_old_program_says_which_one_is_needed(image: BareImage, tmp_path: Path) -> None:
    old = tmp_path / "qemu"
    old.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && echo "QEMU emulator version 5.2.0 (Debian)" && exit\nexit 1\n'
    )
    old.chmod(0o755)
    driver = make_driver(qemu(binary=str(old)), image, tmp_path)
    with pytest.raises(InfrastructureError, match=r"is version 5\.2; 7\.2 or newer is needed"):
        driver.start(silent)


def test_what_qemu_complains_about_is_passed_on(image: BareImage, tmp_path: Path) -> None:
    driver = make_driver(replace(qemu(), cpu_model="EPIC"), image, tmp_path)
    with pytest.raises(
        InfrastructureError, match=r"(?s)QEMU ended with status 1.*unable to find CPU model 'EPIC'"
    ):
        driver.start(silent)


def test_a_qemu_without_the_fast_firmware_takes_its_own(
    image: BareImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("touchstone.drivers.qemu.config.FAST_FIRMWARE", "nowhere.rom")
    steps: list[str] = []
    driver = make_driver(qemu(2), image, tmp_path)
    try:
        assert driver.start(steps.append).cpus == 2
        assert any("comes without nowhere.rom" in step for step in steps)
    finally:
        driver.stop()
    asked_for = make_driver(qemu(firmware="nowhere.rom"), image, tmp_path)
    with pytest.raises(InfrastructureError, match=r"could not load PC BIOS 'nowhere\.rom'"):
        asked_for.start(silent)


def test_too_little_memory_is_said_before_the_start(
    image: BareImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("touchstone.drivers.emulated.process.available_mib", lambda: 100)
    driver = make_driver(qemu(), image, tmp_path)
    with pytest.raises(InfrastructureError, match="not enough free memory: 160 MiB are needed, 100 MiB"):
        driver.start(silent)


def test_an_image_that_does_not_exist(tmp_path: Path) -> None:
    driver = make_driver(qemu(), BareImage.beside(tmp_path / "bare.elf"), tmp_path)
    with pytest.raises(InfrastructureError, match=r"bare\.elf does not exist"):
        driver.start(silent)


def test_a_machine_that_dies_while_it_boots_is_not_the_hypervisors_fault(tmp_path: Path) -> None:
    # lidt of nothing, then int3, behind a Multiboot header: a triple fault as the first act.
    code = bytes.fromhex("0f 01 1d 20 00 10 00 cc").ljust(32 - 12, b"\0") + bytes(8)
    header = b"".join(value.to_bytes(4, "little") for value in (0x1BADB002, 0x10000, 0xE4514FFE))
    addresses = (0x100000, 0x100000, 0, 0, 0x100020)
    body = header + b"".join(value.to_bytes(4, "little") for value in addresses) + code
    elf = tmp_path / "boot.elf"
    elf.write_bytes(body)
    driver = emulator_driver(qemu(1), BareImage.beside(elf), tmp_path)
    with pytest.raises(InfrastructureError, match=r"qemu-test did not start: guest triple fault"):
        driver.start(silent)
    assert driver.pid is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (qemu(accell="tcg"), "accell: QEMU's driver has no such option; it has accel"),
        (qemu(accel="hax"), "accel: 'hax' is none of"),
        (qemu(arguments="-s"), "arguments: '-s' is not a list"),
        (qemu(arguments=[1]), r"arguments: \[1\] is not a list of strings"),
        (qemu(apic="off"), "apic: 'off' is none of 'xapic', 'x2apic'"),
        (qemu(257), "cpus: 257 is not between 1 and 256"),
        (replace(qemu(), memory_mib=4), "memory-mib: 4 is not between"),
        (replace(qemu(accel="tcg"), vendor="intel"), "accel: QEMU's software CPU has no VMX"),
        (replace(qemu(), vendor="via"), "vendor: 'via' is neither"),  # type: ignore[arg-type]
        (replace(qemu(), driver="vmware"), "driver: 'vmware' is none of bochs, qemu"),
        (replace(qemu(), timeout_factor=0), "timeout-factor: 0 is not positive"),
    ],
)
def test_settings_that_cannot_work(settings: TargetSettings, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        validate(settings)
