"""A box that is a place of labgrid: had by one run, for a bounded time, and given back however that run ends.

With a double of labgrid's client by day, and with labgrid itself at night.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support import labgrid
from tests.support.checkout import ROOT
from tests.support.ssh.lab import HANG, Lab, meanwhile, probe, wait_for
from touchstone.drivers.ssh.address import Address
from touchstone.drivers.ssh.driver import SshDriver
from touchstone.drivers.ssh.labgrid import Place
from touchstone.drivers.ssh.settings import PlaceName
from touchstone.machine.driver import AgentRefused, HostError, TargetHung

KINDS = ["double", pytest.param("labgrid", marks=pytest.mark.nightly)]
HOLD = """
import sys
from pathlib import Path
from touchstone.drivers.ssh.labgrid import Place
from touchstone.drivers.ssh.settings import PlaceName
place = Place(PlaceName(*sys.argv[1:3]), 60, Path(sys.argv[3]))
place.acquire(lambda said: None)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """labgrid's own, installed when a test first wants them."""
    return labgrid.install(tmp_path_factory.mktemp("labgrid") / "venv")


@pytest.fixture(params=KINDS)
def rack(
    lab: Lab, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[labgrid.Lab]:
    home = tmp_path / "rack"
    home.mkdir()
    made: labgrid.Lab
    if request.param == "double":
        made = labgrid.Double(home, lab.box.port)
    else:
        made = labgrid.Real(request.getfixturevalue("programs"), home, lab.box.port)
    monkeypatch.setenv("PATH", str(made.programs), prepend=":")
    monkeypatch.setenv("LG_PLACE", "another")
    yield made
    lab.close()
    made.close()


def a_place(
    rack: labgrid.Lab, tmp_path: Path, name: str = labgrid.PLACE, patience: float = 60, records: str = "own"
) -> Place:
    return Place(PlaceName(name, rack.coordinator), patience, tmp_path / records, poll=0.05)


def a_driver(lab: Lab, place: Place) -> SshDriver:
    """For a box of which the inventory has no host, port and user."""
    address = Address("", keys=lab.address.keys, fingerprints=lab.address.fingerprints, config=None)
    return lab.driver(address=address, place=place)


def test_box_is_found_power_cycled_and_given_back(lab: Lab, rack: labgrid.Lab, tmp_path: Path) -> None:
    driver = a_driver(lab, a_place(rack, tmp_path))
    driver.start(lab.progress)
    assert "-touchstone-" in rack.holder()
    assert driver.run(probe())[0].vector is None
    with pytest.raises(TargetHung):
        driver.run(probe(HANG, timeout=0.03))

    def reboot() -> None:
        lab.box.stop()
        (lab.box.modules / "touchstone_agent").unlink(missing_ok=True)
        lab.box.set_boot_id("00000000-0000-4000-8000-000000000003")
        lab.box.start()
        wait_for(done.exists)  # the box dies with the thread that started it

    done = tmp_path / "done"
    with meanwhile(lambda: rack.cycles() == 1, reboot):
        try:
            driver.reset(lab.progress)
            assert driver.run(probe())[0].vector is None
            with pytest.raises(AgentRefused, match="labgrid sends no NMI"):
                driver.inject_nmi()
            assert rack.holder(), "it is kept over a reset"
            driver.stop()
        finally:
            done.touch()
    assert rack.holder() == ""


def test_waits_for_somebody_and_says_who(lab: Lab, rack: labgrid.Lab, tmp_path: Path) -> None:
    rack.client("acquire", user="alice")
    place = a_place(rack, tmp_path)

    def waits() -> bool:
        return any("is held by desk/alice, since 20" in said for said in lab.said)

    with meanwhile(waits, lambda: rack.client("release-from", "desk/alice")):
        place.acquire(lab.progress)
    assert "-touchstone-" in rack.holder()
    assert lab.said[-1].endswith("is ours now")
    place.release()
    place.release()
    assert rack.holder() == ""


def test_does_not_wait_for_ever(lab: Lab, rack: labgrid.Lab, tmp_path: Path) -> None:
    rack.client("acquire", user="bob")
    driver = a_driver(lab, a_place(rack, tmp_path, patience=0.1))
    with pytest.raises(HostError, match=r"is held by desk/bob, since .* did not become free in 0\.1 s"):
        driver.start(lab.progress)
    assert rack.holder() == "desk/bob"
    rack.client("release-from", "desk/bob")
    first = a_place(rack, tmp_path)
    first.acquire(lab.progress)
    with pytest.raises(HostError, match=r"is held by .*-touchstone-.*did not become free"):
        a_place(rack, tmp_path, patience=0.1).acquire(lab.progress)
    with pytest.raises(HostError, match=r"is held by .*-touchstone-.*did not become free"):
        a_place(rack, tmp_path, patience=0.1, records="of another checkout").acquire(lab.progress)
    assert rack.holder()
    first.release()


@pytest.mark.parametrize("whom", ["the worker", "its process group"])
def test_free_when_the_worker_was_killed(lab: Lab, rack: labgrid.Lab, tmp_path: Path, whom: str) -> None:
    words = [sys.executable, "-c", HOLD, labgrid.PLACE, rack.coordinator, str(tmp_path / "own")]
    worker = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    with worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"held\n"
        assert rack.holder()
        if whom == "the worker":
            worker.kill()
        else:
            os.killpg(worker.pid, signal.SIGTERM)
    next_worker = a_place(rack, tmp_path)
    next_worker.acquire(lab.progress)  # waits until it was released
    next_worker.release()
    assert rack.holder() == ""
    assert not any("has left acquired" in said for said in lab.said)


def test_what_was_killed_with_its_guard_is_released_by_the_next_run(
    lab: Lab, rack: labgrid.Lab, tmp_path: Path
) -> None:
    first = a_place(rack, tmp_path)
    first.acquire(lab.progress)
    kept = rack.holder()
    assert first._guard is not None
    assert first._locked is not None
    with first._guard as guard:
        guard.kill()
    first._locked.close()
    assert rack.holder() == kept
    with pytest.raises(HostError, match="did not become free"):  # it is no business of another checkout
        a_place(rack, tmp_path, patience=0.1, records="of another checkout").acquire(lab.progress)
    second = a_place(rack, tmp_path)
    second.acquire(lab.progress)
    assert any(f"which {kept} has left acquired" in said for said in lab.said)
    assert rack.holder() not in ("", kept)
    second.release()


def test_place_and_coordinator_that_are_not_there(lab: Lab, rack: labgrid.Lab, tmp_path: Path) -> None:
    with pytest.raises(HostError, match=r"the place nowhere of labgrid at .*matches nothing"):
        a_place(rack, tmp_path, "nowhere").acquire(lab.progress)
    part = labgrid.PLACE[:-1]
    with pytest.raises(HostError, match=f"there is no place '{part}' in labgrid; there is '{labgrid.PLACE}'"):
        a_place(rack, tmp_path, part).acquire(lab.progress)
    with pytest.raises(HostError, match=r"at 127\.0\.0\.1:9: .*Could not connect to coordinator"):
        Place(PlaceName(labgrid.PLACE, "127.0.0.1:9"), 60, tmp_path / "own").acquire(lab.progress)
    assert rack.holder() == ""


def test_without_labgrid_the_extra_is_named(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    driver = lab.driver(place=Place(PlaceName("amd-box"), 60, tmp_path / "records"))
    with pytest.raises(HostError, match=r"needs labgrid-client.*touchstone\[labgrid\]"):
        driver.start(lab.progress)


def test_inventory_goes_before_the_place(lab: Lab, rack: labgrid.Lab, tmp_path: Path) -> None:
    driver = lab.driver(address=replace(lab.address, user="nobody-else"), place=a_place(rack, tmp_path))
    driver._box.start(lab.progress)
    assert driver._box.address().user == "nobody-else"
    driver._box.stop()
    assert rack.holder() == ""


def test_docs_name_the_version_of_the_extra() -> None:
    page = (ROOT / "docs" / "add-your-box.md").read_text()
    assert f"pip install {labgrid.pinned()}`" in page
