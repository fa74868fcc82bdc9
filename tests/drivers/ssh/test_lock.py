"""The lock on a box: who has it, for how long, and what ends it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.ssh.lab import SLOW, Lab, wait_for
from touchstone.drivers.ssh import lock as ssh_lock
from touchstone.drivers.ssh.link import Link
from touchstone.drivers.ssh.lock import BoxLock
from touchstone.drivers.ssh.root import Root
from touchstone.machine.driver import InfrastructureError


def held_lock(lab: Lab, silence: float) -> tuple[Link, BoxLock]:
    link = Link(lab.address, SLOW)
    link.open()
    lock = BoxLock(silence=silence)
    lock.acquire(Root.enter(link)[0], lab.progress)
    return link, lock


def test_lock_is_released_when_no_heartbeats_come(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection stands all the time, as it does for sshd when only the network went."""
    monkeypatch.setattr(ssh_lock, "BEAT", 3600.0)
    link, lock = held_lock(lab, 0.2)
    assert lock._channel is not None
    assert lock._channel.recv(1) == b""
    assert not lock.held
    assert lock.lost
    assert link.alive
    link.close()
    lab.driver().start(lab.progress)


@pytest.mark.parametrize("how", ["link", "open to others", "a file"])
def test_lock_is_not_taken_where_others_can_get_at_it(lab: Lab, how: str, tmp_path: Path) -> None:
    place, victim = lab.box.run / "touchstone", tmp_path / "victim"
    victim.mkdir(0o700)
    (victim / "lock").write_text("not ours")
    if how == "link":
        place.symlink_to(victim)
    elif how == "a file":
        place.write_text("x")
    else:
        place.mkdir(0o755)
        place.chmod(0o755)
    with pytest.raises(InfrastructureError, match="/run/touchstone must be a directory of ours that nobody"):
        held_lock(lab, 60)
    assert (victim / "lock").read_text() == "not ours"


def test_nobody_else_can_open_the_lock(lab: Lab) -> None:
    (lab.box.run / "lock" / "touchstone").symlink_to("victim")
    link, lock = held_lock(lab, 60)
    place = lab.box.run / "touchstone"
    assert (place.stat().st_mode & 0o777, (place / "lock").stat().st_mode & 0o777) == (0o700, 0o600)
    assert not (lab.box.run / "lock" / "victim").exists()
    lock.release()
    link.close()


# Lasts until its parent, the guard, was woken some times: only signs of life do that. Or for a minute.
NAP = """
echo >>{naps}
woken() {{
    while read -r key n; do [ "$key" != voluntary_ctxt_switches: ] || echo $n; done </proc/$PPID/status
}}
first=$(woken) left=600
while [ $(($(woken) - first)) -lt 5 ] && [ $left -gt 0 ]; do left=$((left - 1)); /bin/sleep 0.1; done
"""


def test_a_released_lock_is_free_at_once(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if its shell on the box takes its time to end."""
    monkeypatch.setattr(ssh_lock, "_SCRIPT", f"{ssh_lock._SCRIPT}\nsleep 0.5\n")
    first, lock = held_lock(lab, 60)
    lock.release()
    second, other = held_lock(lab, 60)
    assert not any("waiting for" in said for said in lab.said)
    other.release()
    first.close()
    second.close()


def test_lock_is_kept_while_heartbeats_come(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if signs of life come before its guard expects any."""
    monkeypatch.setattr(ssh_lock, "BEAT", 0.02)
    trap = "trap 'alive=1' USR1"
    assert trap in ssh_lock._SCRIPT
    monkeypatch.setattr(ssh_lock, "_SCRIPT", ssh_lock._SCRIPT.replace(trap, f"/bin/sleep 0.3; {trap}"))
    naps = lab.directory / "naps"
    lab.box.tool("sleep", NAP.format(naps=naps))
    link, lock = held_lock(lab, 1)
    assert lock._channel is not None
    lock._channel.settimeout(0.1)
    while not naps.exists() or len(naps.read_text()) < 4:
        with pytest.raises(TimeoutError):  # and not the end
            lock._channel.recv(1)
    assert lock.held
    link.close()


def test_guard_does_not_kill_a_process_that_reused_the_holders_pid(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The holder was killed, and its PID may be another process's by the time that the guard looks."""
    said = lab.directory / "said"
    monkeypatch.setattr(ssh_lock, "BEAT", 3600.0)
    for old, new in (
        ("|| exit\n", f"|| {{ echo orphan >>{said}; exit; }}\n"),
        ("kill $$\n", f"echo kill >>{said}\n"),
    ):
        assert ssh_lock._SCRIPT.count(old) == 1
        monkeypatch.setattr(ssh_lock, "_SCRIPT", ssh_lock._SCRIPT.replace(old, new))
    naps = Path(f"{said}.naps")
    lab.box.tool("sleep", f"echo >>{naps}; until [ -e {said}.killed ]; do /bin/sleep 0.02; done\n")
    link, lock = held_lock(lab, 1)
    wait_for(naps.exists)  # a holder that is killed before it has a guard leaves none
    link.run(f"read -r token pid rest <{ssh_lock.LOCK}; kill -9 $pid")
    assert lock._channel is not None
    assert lock._channel.recv(1) == b""
    Path(f"{said}.killed").touch()
    wait_for(lambda: said.exists() and bool(said.read_text()))
    assert said.read_text() == "orphan\n"
    link.close()


@pytest.mark.parametrize("disposable", [True, False])
def test_who_leaves_a_box_that_is_thrown_away_does_not_wait_for_its_lock(
    lab: Lab, disposable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may hang: a run that a signal ends has no time for that."""
    driver = lab.driver()
    driver.start(lab.progress)
    channel, waited = driver._lock._channel, []
    assert channel is not None
    monkeypatch.setattr(channel.status_event, "wait", lambda *_: waited.append(1))
    monkeypatch.setattr(driver._box, "disposable", disposable)
    driver.stop()
    assert bool(waited) is not disposable
