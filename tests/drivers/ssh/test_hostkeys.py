from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.ssh.lab import SLOW, Lab
from touchstone.drivers.ssh.address import Address
from touchstone.drivers.ssh.link import Link
from touchstone.machine.driver import InfrastructureError


def refusal(address: Address) -> str:
    link = Link(address, SLOW)
    with pytest.raises(InfrastructureError) as caught:
        link.open()
    assert not link.alive
    return str(caught.value)


def known_by(lab: Lab, path: Path) -> Address:
    return replace(lab.address, fingerprints=(), known_hosts=(path,))


def test_unknown_key_is_refused_with_the_known_hosts_line_to_add(lab: Lab, tmp_path: Path) -> None:
    known_hosts = tmp_path / "known_hosts"
    text = refusal(known_by(lab, known_hosts))
    assert lab.box.host_key.fingerprint in text
    assert f'fingerprint = "{lab.box.host_key.fingerprint}"' in text
    line = next(line.strip() for line in text.splitlines() if line.strip().startswith("[127.0.0.1]:"))
    known_hosts.write_text(line + "\n")  # the line does what it is said to do
    link = Link(known_by(lab, known_hosts), SLOW)
    link.open()
    assert link.run("echo in").text == "in"
    link.close()


def test_changed_key_is_refused(lab: Lab, tmp_path: Path) -> None:
    known_hosts = tmp_path / "known_hosts"
    old = lab.box.host_key
    known_hosts.write_text(f"[127.0.0.1]:{lab.box.port} {old.get_name()} {old.get_base64()}\n")
    lab.box.stop()
    lab.box.new_host_key()
    lab.box.start()
    for address in (known_by(lab, known_hosts), lab.address):
        text = refusal(address)
        assert lab.box.host_key.fingerprint in text
        assert "installed anew" in text


def test_pinned_key_overrides_known_hosts(lab: Lab, tmp_path: Path) -> None:
    known_hosts = tmp_path / "known_hosts"
    known_hosts.write_text(f"[127.0.0.1]:{lab.box.port} ssh-ed25519 {'A' * 68}\n")
    link = Link(replace(lab.address, known_hosts=(known_hosts,)), SLOW)
    link.open()
    link.close()


def test_a_key_that_changes_during_a_run_is_an_infrastructure_error(lab: Lab) -> None:
    from tests.support.ssh.lab import probe

    driver = lab.driver()
    driver.start(lab.progress)
    lab.box.stop()
    lab.box.new_host_key()
    lab.box.start()
    with pytest.raises(InfrastructureError, match="the host key of"):
        driver.run(probe())
