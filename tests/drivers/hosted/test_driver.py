"""Guests on a box of ours, whose program is a script: who is to blame for each of their ends."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.fake_target import FakeDriver
from tests.support.ssh.lab import HERE, NOP, Lab, hurry, meanwhile, probe
from touchstone.config.subjects import BARE_MACHINE
from touchstone.drivers.build import BareImage
from touchstone.drivers.hosted.deploy import GUEST_FACTOR, IMAGE, a_guest
from touchstone.drivers.hosted.driver import HostedDriver
from touchstone.drivers.hosted.guest import GuestOnBox
from touchstone.drivers.power import CommandPower
from touchstone.drivers.ssh.boxes import RackBox
from touchstone.drivers.ssh.build import ModuleCache
from touchstone.drivers.ssh.visit import VisitSettings
from touchstone.machine import patience
from touchstone.machine.driver import AgentRefused, InfrastructureError, TargetDied, TargetHung
from touchstone.machine.settings import TargetSettings

HANG, SPIN, DIE, KILL, PANIC = b"hang", b"spin", b"die!", b"kill", b"boom"
ENDS = """
        while code == b"spin":
            pass
        if code == b"die!":
            sys.stderr.write("rax=1\\nguest: a triple fault\\nbye\\n")
            sys.exit(3)
        if code == b"kill":
            os.kill(os.getpid(), 9)
        if code == b"boom":
            with (HOME / "kmsg").open("a") as log:
                log.write("[ 4000000000.0] Kernel panic - not syncing: host\\n")
            sys.exit(1)
"""


class Guests:
    """Makes drivers for guests of a subject whose file says ``table``."""

    def __init__(self, lab: Lab, directory: Path) -> None:
        self.lab = lab
        self.directory = directory
        self.program = directory / "program"
        self.program.mkdir()
        text = (HERE / "box_agent.py").read_text().replace("@HOME@", str(lab.box.home))
        gone = 'if not (HOME / "modules" / "touchstone_agent").exists():\n    sys.exit("no module")\n'
        assert gone in text
        text = text.replace(gone, 'assert Path(sys.argv[1]).read_text() == "an image"\n')
        text = text.replace('if code == b"exit"', ENDS.strip() + '\n        if code == b"exit"')
        says = (
            'signal.signal(signal.SIGUSR1, lambda *_: print("CPU 1 is in HLT", file=sys.stderr, flush=True))'
        )
        text = text.replace("import sys\n", f"import signal\nimport sys\n{says}\n", 1)
        text = text.replace("os=linux", "os=bare").replace("agent=fake", "agent={AGENT}")
        text = text.replace("stride=8000", "stride=10000").replace("vendor=amd slot", "vendor=amd slot")
        (self.program / "runner.py").write_text(text.replace("{AGENT}", self._native().start(print).agent))
        self.image = BareImage.beside(directory / IMAGE)
        self.image.elf.write_text("an image")
        self.drivers: list[HostedDriver] = []

    def driver(self, table: Mapping[str, str] | None = None) -> HostedDriver:
        lab, directory = self.lab, self.directory
        file = directory / "mine.toml"
        standard = {
            "sources": "program",
            "build": "cp runner.py {build}/runner",
            "files": "runner",
            "prepare": f"echo up >>{lab.box.home}/prepared",
            "restore": f"echo down >>{lab.box.home}/prepared",
            "run": "exec ./runner {image} {cpus} {memory-mib}",
            "up": "tr '\\0' ' ' </proc/$(cat agent.pid)/cmdline | grep -q './bare-none.elf 2 64 $'",
            "version": "echo 6.1",
            "report": "kill -USR1 $(cat agent.pid); sleep 0.5",
            "end": "^guest: ",
        }
        program = a_guest("mine", "Mine", file, {**standard, **(table or {})}, 2)
        settings = TargetSettings("box", "ssh", "amd", cpus=2, timeout_factor=10.0)
        (self.lab.directory / "power").touch()
        power = CommandPower(f"echo reset >>{self.lab.directory}/power; : >{lab.box.home}/kmsg")
        guest = GuestOnBox(
            settings,
            RackBox(lab.address, power, "", None),
            program,
            lambda _: self.image,
            ModuleCache(directory / "cache"),
            directory / "logs",
            replace(VisitSettings(bases=("/run",), lock_timeout=120, boot_timeout=20)),
        )
        self.drivers.append(HostedDriver("box", self._native(), guest, "mine"))
        return self.drivers[-1]

    def loaded(self, table: Mapping[str, str] | None = None) -> HostedDriver:
        driver = self.driver(table)
        driver.start(self.lab.progress)
        driver.load()
        return driver

    def kill_program(self) -> None:
        """Kill the guest's program, from outside."""
        for pid in self.lab.box.processes():
            if f"./{IMAGE}" in Path(f"/proc/{pid}/cmdline").read_text().split("\0"):
                os.kill(pid, signal.SIGKILL)
                return
        raise AssertionError("no guest runs")

    def prepared(self) -> list[str]:
        """What ``prepare`` and ``restore`` have noted on the box."""
        return (self.lab.box.home / "prepared").read_text().split()

    @staticmethod
    def _native() -> FakeDriver:
        return FakeDriver(TargetSettings("box", "fake", "amd", cpus=2), BARE_MACHINE)


@pytest.fixture
def guests(lab: Lab, tmp_path: Path) -> Iterator[Guests]:
    made = Guests(lab, tmp_path)
    yield made
    for driver in made.drivers:
        driver.stop()


def works(driver: HostedDriver, guests: Guests) -> None:
    """It is brought back to its native phase, and is loaded again."""
    driver.reset(guests.lab.progress)
    assert driver.query()["loaded"] == "0"
    driver.load()
    assert driver.run(probe(NOP))[0].vector is None


def test_a_guest_is_started_asked_and_ended(guests: Guests) -> None:
    driver = guests.driver()
    assert driver.start(guests.lab.progress).os == "bare"
    assert driver.query() == {"loaded": "0", "name": "mine"}
    assert guests.lab.leftovers() == []
    driver.load()
    assert driver.query() == {"loaded": "1", "name": "mine", "version": "6.1", "cpus": "2"}
    assert driver.nmi_counts() == [7, 7]
    for ask in (driver.unload, lambda: driver.exits(0), lambda: driver.trace(0, 1), driver.inject_nmi):
        with pytest.raises(AgentRefused):
            ask()
    with pytest.raises(AgentRefused, match="EBUSY"):
        driver.load()
    driver.stop()
    assert guests.lab.leftovers() == []
    assert guests.prepared() == ["up", "down"]


@pytest.mark.parametrize(
    ("code", "why"),
    [
        (DIE, "guest: a triple fault"),
        (KILL, "the guest's program was ended by signal 9"),
        (b"exit", "the guest's program ended with status 1: the agent gave up"),
    ],
)
def test_the_end_of_its_program_is_the_guests_death(guests: Guests, code: bytes, why: str) -> None:
    driver = guests.loaded()
    with pytest.raises(TargetDied, match=f"^{why}"):
        driver.run(probe(code))
    found = driver.autopsy()
    assert found.reason.startswith(why)
    assert ("rax=1" in found.registers.get(0, "")) == (code == DIE)
    works(driver, guests)
    assert (guests.lab.directory / "power").read_text() == ""  # the box was not reset


def test_a_program_that_is_killed_while_its_guest_is_asked_is_a_death(guests: Guests) -> None:
    driver = guests.loaded()
    with (
        meanwhile(guests.lab.hanging, guests.kill_program),
        pytest.raises(TargetDied, match="the guest's program was ended by signal 9"),
    ):
        driver.run(probe(HANG, timeout=600))
    works(driver, guests)
    assert (guests.lab.directory / "power").read_text() == ""


def test_an_sshd_that_is_killed_while_a_guest_is_asked_is_the_labs(guests: Guests) -> None:
    driver = guests.loaded()
    hurry(driver._guest, 0.05)
    with (
        meanwhile(guests.lab.hanging, guests.lab.box.kill_sshd),
        pytest.raises(InfrastructureError, match="so it lives; sshd does not"),
    ):
        driver.run(probe(HANG, timeout=12000))
    guests.lab.box.start_sshd()
    works(driver, guests)
    driver.stop()
    assert guests.lab.leftovers() == []


def test_box_is_not_as_slow_as_its_guest(guests: Guests) -> None:
    driver = guests.loaded({"processes": "cat agent.pid"})
    guest = driver._guest
    assert guest._visit is not None
    assert guest._client is not None
    assert guest._patience is not None
    assert guest._visit.link.factor == 10.0
    assert guest._client._factor == guest._patience._factor == 10.0 * GUEST_FACTOR


def test_a_guest_that_hangs_is_killed_and_started_anew(guests: Guests) -> None:
    driver = guests.loaded()
    hurry(driver._guest, 0.2)
    with pytest.raises(TargetHung, match="the box itself answers over SSH"):
        driver.run(probe(HANG, timeout=1))
    assert "CPU 1 is in HLT" in driver.autopsy().registers[0]
    works(driver, guests)
    assert (guests.lab.directory / "power").read_text() == ""


def in_no_hurry(driver: HostedDriver) -> None:
    """No test can wait until the whole time of a request is over: 5000 s for one of 0.05 s."""
    hurry(driver._guest, 1e5)
    assert driver._guest._patience is not None
    driver._guest._patience._factor = 1e5


def test_guest_whose_program_does_nothing_hangs_before_its_time_is_over(guests: Guests) -> None:
    driver = guests.loaded({"processes": "cat agent.pid"})
    in_no_hurry(driver)
    with pytest.raises(TargetHung, match=r"to run: none of its threads runs, .*; the box itself answers"):
        driver.run(probe(HANG, timeout=0.05))
    assert "s of 5000 s; CPU time of its threads" in driver.autopsy().serial
    works(driver, guests)


def test_guest_whose_program_computes_for_ever_hangs_before_its_time_is_over(
    guests: Guests, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "LEAST", 1e-5)
    driver = guests.loaded({"processes": "cat agent.pid"})
    in_no_hurry(driver)
    driver.run(probe(NOP))
    with pytest.raises(TargetHung, match=r"to run: it computes, for 10 times .*; the box itself answers"):
        driver.run(probe(SPIN, timeout=0.05))
    works(driver, guests)


@pytest.mark.parametrize(
    ("table", "in_full"),
    [({}, False), ({"processes": "cat agent.pid"}, True), ({"processes": "echo 1000000000"}, False)],
)
def test_guest_of_which_nothing_is_known_or_asked_has_its_whole_time(
    guests: Guests, table: dict[str, str], in_full: bool
) -> None:
    driver = guests.loaded(table)
    driver.wait_in_full(wanted=in_full)
    hurry(driver._guest, 0.2)
    with pytest.raises(TargetHung, match=r"^no answer to run; the box itself answers"):
        driver.run(probe(HANG, timeout=1))


def test_a_panic_of_the_box_is_the_subjects_and_costs_a_reset(guests: Guests) -> None:
    driver = guests.loaded()
    with pytest.raises(TargetDied, match=r"the kernel of box .*: .*Kernel panic - not syncing: host"):
        driver.run(probe(PANIC))
    driver.reset(guests.lab.progress)
    guests.lab.box.set_boot_id("00000000-0000-4000-8000-000000000002")
    works(driver, guests)
    assert (guests.lab.directory / "power").read_text().split() == ["reset"]


def test_what_the_box_lacks_is_the_labs(guests: Guests) -> None:
    driver = guests.driver({"needs": "echo 'no such CPU' >&2; false"})
    driver.start(guests.lab.progress)
    with pytest.raises(InfrastructureError, match="no such CPU"):
        driver.load()
    driver.stop()
    assert guests.lab.leftovers() == []


def test_an_upload_that_fails_is_the_labs(guests: Guests) -> None:
    driver = guests.driver()
    driver.start(guests.lab.progress)
    guests.lab.box.tool("sha256sum", "exit 1\n")
    with pytest.raises(InfrastructureError, match="came damaged"):
        driver.load()


def test_a_program_that_runs_no_guest_refuses(guests: Guests) -> None:
    driver = guests.driver({"run": "exec sh -c 'echo no license >&2; exit 4' {image}"})
    driver.start(guests.lab.progress)
    with pytest.raises(AgentRefused, match="ended with status 4: no license"):
        driver.load()


def test_a_guest_that_dies_while_it_boots_is_the_subjects(guests: Guests) -> None:
    driver = guests.driver({"run": "exec sh -c 'echo guest: dead >&2; exit 4' {image}"})
    driver.start(guests.lab.progress)
    with pytest.raises(TargetDied, match="guest: dead"):
        driver.load()


def test_a_guest_of_somebody_else_is_not_judged(guests: Guests) -> None:
    driver = guests.driver({"up": "false"})
    driver.start(guests.lab.progress)
    with pytest.raises(InfrastructureError, match="a guest runs, but not under Mine"):
        driver.load()
