"""What a request that got no answer means for a box of which only a part is left."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import NoReturn

import pytest

from tests.support.ssh.lab import Lab, probe
from touchstone.drivers.ssh import diagnosis
from touchstone.drivers.ssh.link import Link, LinkLost, NoConnection
from touchstone.drivers.ssh.visit import AgentEnd
from touchstone.machine.driver import TargetDied, TargetError, TargetHung


@pytest.mark.parametrize("silent", [TargetHung("sshd of box does not answer"), LinkLost("it ended")])
@pytest.mark.parametrize("step", ["read_kernel_log", "read_pstore"])
def test_a_box_that_falls_silent_while_it_is_asked_hangs(
    monkeypatch: pytest.MonkeyPatch, step: str, silent: TargetError
) -> None:
    def fall_silent(*_: object) -> NoReturn:
        raise silent

    monkeypatch.setattr(diagnosis, step, fall_silent)
    boot_id = "1" if step == "read_kernel_log" else "2"
    monkeypatch.setattr(diagnosis, "knock", lambda link, timeout: SimpleNamespace(boot_id=boot_id))
    visit = SimpleNamespace(link=None, root=None, info=SimpleNamespace(boot_id="1", uptime=5.0))
    for error in (TargetHung("no answer to run"), TargetDied("the connection ended")):
        found = diagnosis.diagnose("box", error, visit, "", AgentEnd())  # type: ignore[arg-type]
        assert isinstance(found.error, TargetHung)
        assert str(found.error) == f"{error}, and the box stopped answering while it was asked why: {silent}"


@pytest.mark.parametrize("virtual", [False, True])
def test_box_whose_reboot_would_be_seen_is_not_waited_for(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, *, virtual: bool
) -> None:
    waits: list[float] = []

    def knock(link: Link, timeout: float) -> NoReturn:
        waits.append(timeout)
        raise NoConnection("nobody is there")

    driver = lab.driver()
    driver.start(lab.progress)
    ours, theirs = os.pipe()
    monkeypatch.setattr(diagnosis, "knock", knock)
    monkeypatch.setattr("touchstone.drivers.ssh.driver.DEATH_TIMEOUT", 0.0)
    if virtual:
        monkeypatch.setattr(driver._box, "death_fd", lambda: ours)
    try:
        lab.box.kill_sshd()
        with pytest.raises(TargetHung, match="the box does not answer over SSH either: nobody is there"):
            driver.run(probe())
    finally:
        os.close(ours)
        os.close(theirs)
    assert waits == [diagnosis.KNOCK_ONCE_MORE if virtual else diagnosis.KNOCK_TIMEOUT]
    lab.box.start_sshd()
