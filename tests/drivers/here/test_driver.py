"""The machine that the tests run on, as a target: what its program says, and what it says when it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from touchstone.drivers.here.driver import HereDriver
from touchstone.drivers.here.machine import NotThisMachine, facts, product, this_machine
from touchstone.drivers.here.program import provide_program
from touchstone.machine.driver import AgentRefused, InfrastructureError, Say, TargetHung
from touchstone.machine.probe import Operand, ProbeRequest, ProbeResult

Start = Callable[[Callable[[Say], Path]], HereDriver]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    drivers: list[HereDriver] = []

    def make(provide: Callable[[Say], Path]) -> HereDriver:
        drivers.append(HereDriver(this_machine(), provide, tmp_path / "logs"))
        drivers[-1].start(lambda _: None)
        return drivers[-1]

    yield make
    for driver in drivers:
        driver.stop()


def script(path: Path, text: str) -> Callable[[Say], Path]:
    path.write_text(f"#!/bin/sh\n{text}")
    path.chmod(0o755)
    return lambda _: path


def test_a_program_that_ends_is_the_labs_and_says_why(start: Start, tmp_path: Path) -> None:
    with pytest.raises(InfrastructureError, match=r"ended \(status 3\): exceptions are not told"):
        start(script(tmp_path / "a", "echo exceptions are not told >&2; exit 3"))
    with pytest.raises(InfrastructureError, match=r"ended \(signal 9\): it said nothing"):
        start(script(tmp_path / "b", "kill -9 $$"))
    with pytest.raises(InfrastructureError, match="cannot be started"):
        start(lambda _: tmp_path / "none")


def test_probes_end_as_the_processor_says_and_leave_nothing(start: Start) -> None:
    driver = start(provide_program)
    assert driver._process is not None
    group = driver._process.pid

    def run(code: str, **more: object) -> ProbeResult:
        return driver.run(ProbeRequest(bytes.fromhex(code), cpl=3, **more))[0]  # type: ignore[arg-type]

    def ends(code: str, **more: object) -> tuple[int | None, int | None, int]:
        result = run(code, **more)
        return result.vector, result.error_code, result.rip - result.start

    assert ends("90 90") == (None, None, 2)
    assert ends("90 0f 0b") == (6, None, 1)
    assert ends("f4") == (13, 0, 0)
    assert ends("cd 21") == (13, 0x10A, 0)
    assert ends("f7 f3") == (0, None, 0)
    assert ends("ce", code_bits=32) == (None, None, 1)
    # A load from an address that is not mapped, and a store to the code, which may not be written.
    assert ends("48 8b 00", registers={"rax": Operand("number", 0x1000)}) == (14, 4, 0)
    assert ends("48 89 00", registers={"rax": Operand("start")}) == (14, 7, 0)
    # The registers are the probe's, whatever they are, and so is what it writes.
    result = run("48 89 27", seed=7, registers={"rdi": Operand("scratch")}, read=(0, 8))
    assert result.memory == result.given["rsp"].to_bytes(8, "little")
    assert result.registers == result.given
    assert run("48 31 e4", seed=7).registers["rsp"] == 0

    for code, why in (
        ("0f 05", "SYSCALL"),
        ("cd 80", "INT 0x80"),
        ("0f 01 07", "UMIP"),
        ("48 8b 00", "kernel's address"),
        ("f1", "DR6"),
    ):
        with pytest.raises(AgentRefused, match=why):
            run(code, registers={"rax": Operand("number", 0xFFFF_8000_0000_0000)})
    with pytest.raises(AgentRefused, match="CPL 0"):
        driver.run(ProbeRequest(b"\x90"))

    # Whatever a probe does to its process, the agent answers. SYSCALL is put together by the probe.
    kill = "b8 3e 00 00 00 be 09 00 00 00 31 ff 66 c7 44 24 f0 0f 04 80 44 24 f1 01 48 8d 4c 24 f0 ff e1"
    with pytest.raises(AgentRefused, match="its process was ended by signal 9"):
        run(kill)
    assert ends("90") == (None, None, 1)

    assert driver._client is not None
    driver._client._factor = 1.0
    with pytest.raises(TargetHung):
        driver.run(ProbeRequest(b"\xeb\xfe", cpl=3, timeout=0.1))
    driver.reset(lambda _: None)
    with pytest.raises(ProcessLookupError):
        os.killpg(group, 0)
    assert ends("90") == (None, None, 1)

    assert driver._process is not None
    os.killpg(driver._process.pid, signal.SIGKILL)
    with pytest.raises(InfrastructureError, match=r"the agent's program ended \(signal 9\)"):
        run("90")
    driver.reset(lambda _: None)
    assert ends("90") == (None, None, 1)


HANGING = """
import sys
from pathlib import Path
from touchstone.drivers.here.driver import HereDriver
from touchstone.drivers.here.machine import this_machine
from touchstone.machine.probe import ProbeRequest

driver = HereDriver(this_machine(), lambda _: Path(sys.argv[1]), Path(sys.argv[2]))
driver.start(lambda _: None)
print(driver._process.pid, flush=True)
driver.run(ProbeRequest(b"\\xeb\\xfe", cpl=3, timeout=60.0))
"""


def test_a_run_that_is_killed_leaves_nothing(tmp_path: Path) -> None:
    program = provide_program(lambda _: None)
    words = [sys.executable, "-c", HANGING, str(program), str(tmp_path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        agent = Path("/proc") / run.stdout.readline().decode().strip()
        children = agent / "task" / agent.name / "children"
        assert until(lambda: bool(children.read_text().split()))
        probe = Path("/proc") / children.read_text().split()[0]
        run.kill()
    assert until(lambda: all(not one.exists() or is_dead(one) for one in (agent, probe)))


def is_dead(process: Path) -> bool:
    """Whether it waits only to be reaped, by an init that may be slow."""
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def until(true: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 60
    while not (found := true()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return found


def test_all_cpus_start_together(start: Start) -> None:
    driver = start(provide_program)
    cpus = tuple(range(driver.settings.cpus))
    results = driver.run(ProbeRequest(b"\x0f\xa2", cpl=3, cpus=cpus, together=True, timeout=30.0))
    assert [(one.cpu, one.vector) for one in results] == [(cpu, None) for cpu in cpus]
    assert len({one.slot for one in results}) == len(cpus)


def test_it_says_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    for name, vendor in (("GenuineIntel", "intel"), ("AuthenticAMD", "amd")):
        (tmp_path / "proc/cpuinfo").write_text(f"processor\t: 0\nvendor_id\t: {name}\n")
        assert this_machine(tmp_path).vendor == vendor
    (tmp_path / "proc/cpuinfo").write_text("processor\t: 0\nvendor_id\t: HygonGenuine\n")
    with pytest.raises(NotThisMachine, match="HygonGenuine"):
        this_machine(tmp_path)
    (tmp_path / "proc/cpuinfo").write_text("vendor_id\t: GenuineIntel\nflags\t\t: fpu tdx_guest x\n")
    with pytest.raises(NotThisMachine, match="tdx_guest in /proc/cpuinfo"):
        this_machine(tmp_path)
    (tmp_path / "proc/cpuinfo").write_text("vendor_id\t: AuthenticAMD\nflags\t\t: fpu\n")
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/sev-guest").touch()
    with pytest.raises(NotThisMachine, match=r"confidential guest \(/dev/sev-guest\)"):
        this_machine(tmp_path)
    assert "machine" not in facts(tmp_path)
    dmi = tmp_path / "sys/class/dmi/id"
    dmi.mkdir(parents=True)
    (dmi / "sys_vendor").write_text("Amazon EC2\n")
    (dmi / "product_name").write_text("m5.large\n")
    assert product(tmp_path) == "Amazon EC2 m5.large"
