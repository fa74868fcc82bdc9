"""What goes wrong on the way, and on the box: each has its verdict, and the next run starts clean."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import paramiko
import pytest

from tests.support.checkout import ROOT
from tests.support.ssh.lab import EXIT, HANG, Lab, hurry, meanwhile, probe, wait_for
from tests.support.ssh.proxy import Proxy
from tests.support.ssh.sshd import PATIENCE
from touchstone.drivers.power import CommandPower
from touchstone.drivers.ssh.driver import SshDriver
from touchstone.machine.driver import AgentRefused, InfrastructureError, TargetDied, TargetHung


@pytest.fixture
def proxy(lab: Lab) -> Iterator[Proxy]:
    proxy = Proxy(lab.box.port)
    yield proxy
    proxy.close()


def through(lab: Lab, proxy: Proxy) -> SshDriver:
    return lab.driver(address=replace(lab.address, port=proxy.port), subject=lab.subject())


def works(driver: SshDriver, lab: Lab) -> None:
    driver.reset(lab.progress)
    assert driver.run(probe())[0].vector is None


# --- the way there


def test_cut_in_the_middle_of_a_request(lab: Lab, proxy: Proxy) -> None:
    driver = through(lab, proxy)
    driver.start(lab.progress)
    driver.load()
    with (
        meanwhile(lab.hanging, proxy.cut),
        pytest.raises(InfrastructureError, match="the box lives, in the same boot"),
    ):
        driver.run(probe(HANG, timeout=30))
    works(driver, lab)
    assert driver.query()["loaded"] == "0"
    driver.stop()
    assert lab.leftovers() == []


def test_cut_during_a_subjects_command(lab: Lab, proxy: Proxy) -> None:
    begun = lab.directory / "begun"
    subject = lab.subject(load=f"touch {begun}; sleep 1000; echo ok")
    driver = lab.driver(address=replace(lab.address, port=proxy.port), subject=subject)
    driver.start(lab.progress)
    with (
        meanwhile(begun.exists, proxy.cut),
        pytest.raises(InfrastructureError, match="the box lives, in the same boot"),
    ):
        driver.load()
    works(driver, lab)


@pytest.mark.parametrize(
    "error", [EOFError(), paramiko.SSHException("Channel closed"), OSError("Socket is closed")], ids=repr
)
def test_every_exception_of_paramiko_for_an_ended_connection(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    driver = lab.driver(subject=lab.subject())
    driver.start(lab.progress)

    def end(channel: paramiko.Channel, data: bytes) -> None:
        assert driver._visit is not None
        driver._visit.link.close()
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(paramiko.Channel, "sendall", end)
        with pytest.raises(InfrastructureError, match="the connection to box was lost; the box lives"):
            driver.load()
    works(driver, lab)


def test_channels_that_end_before_their_connection_are_no_lost_lock(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looks alive in between: that is no lock that went, and no command that ended."""
    driver = lab.driver()
    driver.start(lab.progress)
    lock, unlink = driver._lock._channel, paramiko.Channel._unlink  # type: ignore[attr-defined]
    assert lock is not None

    def slowly(channel: paramiko.Channel) -> None:
        unlink(channel)
        time.sleep(0.2)  # makes the moment longer

    with monkeypatch.context() as patched:
        patched.setattr(paramiko.Channel, "_unlink", slowly)
        lab.box.kill_sshd()
        wait_for(lambda: lock.closed)
        assert not driver._lock.held
        lab.box.start_sshd()
        with pytest.raises(InfrastructureError, match="the connection to box was lost; the box lives"):
            driver.run(probe())
    works(driver, lab)


def test_cut_in_the_middle_of_an_upload(lab: Lab, proxy: Proxy) -> None:
    subject = lab.subject()
    (subject.sources / "mine.c").write_bytes(os.urandom(2_000_000))
    driver = lab.driver(address=replace(lab.address, port=proxy.port), subject=subject)

    def progress(sentence: str) -> None:
        if "uploading mine.ko" in sentence:
            proxy.cut_after(300_000)

    with pytest.raises(InfrastructureError, match=r"ended while mine\.ko was uploaded"):
        driver.start(progress)
    assert proxy.cut_done.is_set()
    assert lab.leftovers() == []  # taken back over a new connection
    driver.start(lab.progress)
    driver.load()


def test_a_box_that_went_silent_hangs(lab: Lab, proxy: Proxy) -> None:
    driver = lab.driver(address=replace(lab.address, port=proxy.port))
    driver.start(lab.progress)
    proxy.silent.set()
    hurry(driver, 0.05)
    with pytest.raises(TargetHung, match="does not answer over SSH either"):
        driver.run(probe(timeout=10))


def test_sshd_killed(lab: Lab) -> None:
    driver = lab.driver(subject=lab.subject())
    driver.start(lab.progress)
    driver.load()
    lab.box.kill_sshd()
    hurry(driver, 0.05)
    with pytest.raises(InfrastructureError, match="so it lives; sshd does not"):
        driver.run(probe(timeout=30))
    driver.stop()  # cannot take back anything
    lab.box.start_sshd()
    following = lab.driver(subject=lab.subject())
    following.start(lab.progress)
    assert any("left by a run that was killed" in said for said in lab.said)
    assert following.query()["loaded"] == "0"
    following.stop()
    assert lab.leftovers() == []


# --- the box


def test_an_unexpected_reboot_is_a_death(lab: Lab, tmp_path: Path) -> None:
    driver = lab.driver()
    driver.start(lab.progress)
    lab.box.stop()
    (lab.box.modules / "touchstone_agent").unlink()  # a reboot does that
    lab.box.set_boot_id("00000000-0000-4000-8000-000000000002")
    lab.box.start()
    with pytest.raises(TargetDied, match="has rebooted"):
        driver.run(probe())
    autopsy = driver.autopsy()
    assert "has rebooted" in autopsy.reason
    works(driver, lab)


@pytest.mark.parametrize("follows", [True, False])
def test_oops_in_the_same_boot(lab: Lab, follows: bool) -> None:
    """The kernel log is followed; what it says may also come too late to be seen there."""
    kmsg = lab.box.home / "kmsg"
    kmsg.write_text("[    1.000000] Oops: 0002 [#1] of another time\n")
    if not follows:
        lab.box.tool("dmesg", f'cat {kmsg}\n[ -z "$1" ] || exec sleep 1000\n')
    driver = lab.driver()
    driver.start(lab.progress)
    with pytest.raises(InfrastructureError, match="the agent's program ended"):
        driver.run(probe(EXIT))
    driver.reset(lab.progress)
    uptime = Path("/proc/uptime").read_text().split()[0]
    with kmsg.open("a") as log:
        log.write(f"[{float(uptime) + 1:12.6f}] BUG: unable to handle page fault for address: 0\n")
    with pytest.raises(TargetDied, match="unable to handle page fault"):
        driver.run(probe(EXIT))
    assert "unable to handle page fault" in driver.autopsy().serial


def test_panic_on_the_console(lab: Lab, tmp_path: Path) -> None:
    console = tmp_path / "console"
    console.write_text("of before\n")
    driver = lab.driver(console=str(console))
    driver.start(lab.progress)
    mark = driver.serial_position()
    lab.box.stop()
    with console.open("a") as log:
        log.write("[   12.5] Kernel panic - not syncing: Fatal exception in interrupt\n")
    with pytest.raises(TargetDied, match="Fatal exception in interrupt"):
        driver.run(probe())
    assert "Fatal exception" in driver.serial_since(mark)
    assert "of before" not in driver.autopsy().serial


@contextmanager
def booting_when(lab: Lab, asked: Path) -> Iterator[None]:
    """The box boots anew when its power control was asked to reset it."""

    def reboot() -> None:
        lab.box.stop()
        (lab.box.modules / "touchstone_agent").unlink(missing_ok=True)
        lab.box.set_boot_id("00000000-0000-4000-8000-000000000003")
        lab.box.start()
        done.wait()  # the box dies with the thread that started it (PR_SET_PDEATHSIG)

    done = threading.Event()
    with meanwhile(asked.exists, reboot):
        try:
            yield
        finally:
            done.set()


def test_hang_and_power_control(lab: Lab, tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    driver = lab.driver(power=CommandPower(f"echo reset >>{asked}", f"echo nmi >>{asked}"))
    driver.start(lab.progress)
    with pytest.raises(TargetHung, match="the box itself answers over SSH"):
        driver.run(probe(HANG, timeout=0.03))
    assert "no answer to run" in driver.autopsy().reason

    with booting_when(lab, asked):
        works(driver, lab)
        driver.inject_nmi()
    assert any("waiting for box to boot" in said for said in lab.said)
    assert asked.read_text() == "reset\nnmi\n"


def test_box_that_does_not_come_back(lab: Lab) -> None:
    driver = lab.driver()
    driver.start(lab.progress)
    lab.box.stop()
    hurry(driver, 0.05)
    with pytest.raises(InfrastructureError):  # what refuses is this machine's kernel, which lives
        driver.run(probe())
    with pytest.raises(InfrastructureError, match="refuses connections"):
        driver.reset(lab.progress)
    with pytest.raises(AgentRefused, match="no power control"):
        lab.driver()._box.inject_nmi()


def test_the_agents_end_is_told_with_its_words(lab: Lab) -> None:
    driver = lab.driver()
    driver.start(lab.progress)
    with pytest.raises(InfrastructureError, match="status 1: the agent gave up"):
        driver.run(probe(EXIT))
    works(driver, lab)


def test_full_disk(lab: Lab) -> None:
    subject = lab.subject()
    (subject.sources / "mine.c").write_bytes(os.urandom(500_000))
    driver = lab.driver(subject=subject, visit={"bases": (str(lab.box.small),)})
    with pytest.raises(InfrastructureError, match=r"mine\.ko .*its disk is full \(\d+ KiB free"):
        driver.start(lab.progress)
    assert lab.leftovers() == []
    (subject.sources / "mine.c").write_text("int less;\n")
    driver.start(lab.progress)
    driver.stop()


def test_nowhere_to_put_anything(lab: Lab) -> None:
    driver = lab.driver(visit={"bases": ("/proc",)})
    with pytest.raises(InfrastructureError, match="none of /proc takes a directory"):
        driver.start(lab.progress)


def test_subject_that_somebody_else_inserted(lab: Lab) -> None:
    (lab.box.modules / "mine").touch()
    with pytest.raises(InfrastructureError, match=r"Mine is on .* already.*rm "):
        lab.driver(subject=lab.subject()).start(lab.progress)
    assert lab.leftovers() == ["mine"]


def test_subject_that_refuses(lab: Lab) -> None:
    driver = lab.driver(subject=lab.subject(load="echo 'error -16 KVM has it'", trace="exit 3"))
    driver.start(lab.progress)
    with pytest.raises(AgentRefused, match="EBUSY: KVM has it"):
        driver.load()
    with pytest.raises(AgentRefused, match="EIO: trace: status 3"):
        driver.trace(0, 1)
    with pytest.raises(AgentRefused, match="takes no option"):
        driver.load("fast")
    assert driver.run(probe())[0].vector is None


def test_the_inventory_is_wrong_about_the_box(lab: Lab) -> None:
    with pytest.raises(InfrastructureError, match="cpus = 3 of box, but it has 2"):
        lab.driver(cpus=3).start(lab.progress)
    assert lab.leftovers() == []


# --- runs


def test_two_runs_at_once(lab: Lab) -> None:
    first, second = lab.driver(), lab.driver(visit={"lock_timeout": 1})
    first.start(lab.progress)
    said: list[str] = []
    with pytest.raises(InfrastructureError, match="did not become free in 1 s"):
        second.start(said.append)
    assert f"process {os.getpid()}" in next(text for text in said if "waiting for" in text)
    assert "since 20" in next(text for text in said if "waiting for" in text)
    assert first.run(probe())[0].vector is None  # nothing of it was touched
    waiting = threading.Event()
    third = lab.driver()

    def progress(sentence: str) -> None:
        if "waiting for" in sentence:
            waiting.set()

    run = threading.Thread(target=third.start, args=(progress,))
    run.start()
    assert waiting.wait(PATIENCE)
    first.stop()
    run.join(PATIENCE)
    assert third.run(probe())[0].vector is None


def test_what_cannot_be_taken_back_is_said(lab: Lab) -> None:
    """Somebody has emptied the directory, and with it the undo, while our module is in the kernel."""
    driver = lab.driver()
    driver.start(lab.progress)
    assert driver._visit is not None
    shutil.rmtree(lab.box.run / Path(driver._visit.installation.directory).name)
    driver.stop()
    assert "box keeps what this run put there until the next run" in driver.serial_since(0)


RUN = """
    import sys, signal
    sys.path.insert(0, {here!r})
    from pathlib import Path
    from tests.support.ssh.lab import Lab, probe, HANG
    from tests.support.ssh.sshd import Sshd
    signal.signal(signal.SIGINT, signal.default_int_handler)  # we may have been started without
    lab = {lab}
    driver = lab.driver(subject=lab.subject())
    def progress(sentence):
        print(sentence, flush=True)
        if {stop_at!r} in sentence:
            signal.raise_signal(signal.{how})
    try:
        driver.start(progress)
        driver.load()
        print("loaded", flush=True)
        driver.run(probe(HANG, timeout=60))
    finally:
        driver.stop()
"""


def another_run(lab: Lab, stop_at: str, how: str = "SIGINT") -> subprocess.Popen[str]:
    make = f"Lab(Sshd.attach(Path({str(lab.box.home)!r}), {lab.box.port}), Path({str(lab.directory)!r}))"
    script = textwrap.dedent(RUN).format(here=str(ROOT), lab=make, stop_at=stop_at, how=how)
    return subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)


def status_of(run: subprocess.Popen[str]) -> int:
    """Its exit status, once it has ended."""
    try:
        return run.wait(2 * PATIENCE)
    except subprocess.TimeoutExpired:
        run.kill()
        raise


@pytest.mark.parametrize(
    "stop_at", ["connecting to", "building Mine", "uploading mine.ko", "starting the agent"]
)
def test_ctrl_c_in_the_middle_of_a_deployment(lab: Lab, stop_at: str) -> None:
    with another_run(lab, stop_at) as run:
        assert status_of(run) != 0
    assert lab.leftovers() == []
    driver = lab.driver(subject=lab.subject())
    driver.start(lab.progress)
    assert not any("waiting for" in said for said in lab.said)


def test_ctrl_c_in_a_request(lab: Lab) -> None:
    with another_run(lab, "nowhere") as run:
        assert run.stdout is not None
        for line in run.stdout:
            if line == "loaded\n":
                break
        wait_for(lab.hanging)
        run.send_signal(signal.SIGINT)
        assert status_of(run) != 0
    assert lab.leftovers() == []


@pytest.mark.parametrize("stop_at", ["uploading mine.ko", "nowhere"])
def test_killed_run_is_cleaned_up_by_the_next(lab: Lab, stop_at: str) -> None:
    with another_run(lab, stop_at, "SIGKILL") as run:
        assert run.stdout is not None
        for line in run.stdout:
            if line == "loaded\n":
                run.kill()
    assert run.returncode == -signal.SIGKILL
    assert lab.leftovers() != []
    driver = lab.driver(subject=lab.subject())
    driver.start(lab.progress)
    assert any("left by a run that was killed" in said for said in lab.said)
    assert driver.query()["loaded"] == "0"
    driver.load()
    driver.stop()
    assert lab.leftovers() == []


def test_box_that_is_not_trusted_is_reset_with_its_lock_in_hand(lab: Lab, tmp_path: Path) -> None:
    """However well it seems; and never before this run holds its lock: another one may be using it."""
    asked = tmp_path / "asked"
    driver = lab.driver(power=CommandPower(f"echo reset >>{asked}", ""))
    driver.distrust()
    driver.start(lab.progress)
    assert not asked.exists()
    driver.distrust()
    with booting_when(lab, asked):
        works(driver, lab)
        assert asked.read_text() == "reset\n"
        works(driver, lab)
    assert asked.read_text() == "reset\n", "once"
