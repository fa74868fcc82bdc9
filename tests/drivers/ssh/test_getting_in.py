"""Keys, passwords, jumps and ssh_config; and what is said when they do not fit."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import paramiko
import pytest

from tests.support.debian import program
from tests.support.ssh.lab import SLOW, Lab
from tests.support.ssh.sshd import PATIENCE, make_key
from tests.support.ssh.tiny_server import TinyServer
from touchstone.drivers.ssh.address import Address
from touchstone.drivers.ssh.link import CONNECT_TIMEOUT, Link, NoConnection
from touchstone.machine.driver import InfrastructureError, TargetHung


@pytest.fixture
def server() -> Iterator[TinyServer]:
    server = TinyServer(password="open sesame")
    yield server
    server.close()


def address_of(server: TinyServer) -> Address:
    pin = server.host_key.fingerprint
    return Address(
        "127.0.0.1", server.port, "root", fingerprints=(pin,), config=None, password_variable="BOX_PASSWORD"
    )


def test_ssh_config_says_the_rest(lab: Lab, tmp_path: Path) -> None:
    config = tmp_path / "config"
    known = tmp_path / "known"
    key = lab.box.host_key
    known.write_text(f"[127.0.0.1]:{lab.box.port} {key.get_name()} {key.get_base64()}\n")
    config.write_text(
        f"Host rack-*\n HostName 127.0.0.1\n Port {lab.box.port}\n User root\n"
        f" IdentityFile {lab.box.key}\n IdentityFile {tmp_path}/absent\n UserKnownHostsFile {known}\n"
    )
    link = Link(Address("rack-7", config=config), SLOW)
    link.open()
    assert link.address.shown == f"root@127.0.0.1 port {lab.box.port}"
    assert link.run("echo $0; echo bad >&2; exit 3").status == 3
    link.close()


def test_proxy_jump_leads_through_two_machines(lab: Lab, tmp_path: Path) -> None:
    config, known, key = tmp_path / "config", tmp_path / "known", lab.box.host_key
    known.write_text(f"[127.0.0.1]:{lab.box.port} {key.get_name()} {key.get_base64()}\n")
    config.write_text(
        f"Host *\n User root\n IdentityFile {lab.box.key}\n UserKnownHostsFile {known}\n"
        f"Host gate*\n HostName 127.0.0.1\n Port {lab.box.port}\n"
        f"Host inner\n HostName 127.0.0.1\n Port {lab.box.port}\n ProxyJump gate1,root@gate2\n"
    )
    link = Link(Address("inner", config=config), SLOW)
    link.open()
    # Three logins: two machines to go through, and the box.
    assert link.run("echo $SSH_CONNECTION").text.endswith(f"127.0.0.1 {lab.box.port}")
    log = (lab.box.home / "sshd.log").read_text()
    assert log.count("Accepted publickey") == 3
    link.close()


def test_password_comes_from_the_environment_and_is_never_shown(
    server: TinyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = Link(address_of(server), SLOW)
    with pytest.raises(InfrastructureError, match="BOX_PASSWORD, which is not set"):
        link.open()
    monkeypatch.setenv("BOX_PASSWORD", "wrong horse")
    with pytest.raises(InfrastructureError, match="the password in BOX_PASSWORD") as caught:
        link.open()
    assert "wrong horse" not in str(caught.value)
    monkeypatch.setenv("BOX_PASSWORD", "open sesame")
    link.open()
    assert link.run("anything").text == "ran: anything"
    link.close()


def test_wrong_key_is_said_with_its_file(lab: Lab, tmp_path: Path) -> None:
    other = tmp_path / "other"
    make_key(other)
    link = Link(replace(lab.address, keys=(other,)), SLOW)
    with pytest.raises(InfrastructureError, match=f"does not let us in with {other}"):
        link.open()
    link = Link(replace(lab.address, keys=(tmp_path / "none",)), SLOW)
    with pytest.raises(InfrastructureError, match="there is no such key"):
        link.open()


def test_encrypted_key_wants_an_agent(lab: Lab, tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    paramiko.ECDSAKey.generate().write_private_key_file(str(locked), password="secret")
    link = Link(replace(lab.address, keys=(locked,)), SLOW)
    with pytest.raises(InfrastructureError, match="ssh-add"):
        link.open()


def test_key_of_an_agent(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    agent_program, add_program = program("ssh-agent", "openssh-client"), program("ssh-add", "openssh-client")
    socket = tmp_path / "agent"
    with subprocess.Popen(
        [agent_program.path, "-D", "-a", str(socket)],
        env=agent_program.environment(),
        stdout=subprocess.DEVNULL,
    ) as agent:
        try:
            monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
            add = [str(add_program.path), "-q", str(lab.box.key)]
            own = add_program.environment()
            deadline = time.monotonic() + PATIENCE
            while (added := subprocess.run(add, env=own, capture_output=True, check=False)).returncode:
                assert agent.poll() is None
                assert time.monotonic() < deadline, added.stderr.decode()
            link = Link(replace(lab.address, keys=()), SLOW)
            link.open()
            link.close()
        finally:
            agent.terminate()


def test_refused_connection_and_unknown_host_name() -> None:
    link = Link(Address("127.0.0.1", 1, "root", config=None))
    with pytest.raises(NoConnection, match="refuses connections") as caught:
        link.open()
    assert caught.value.refused
    link = Link(Address("no-such-box.invalid", user="root", config=None))
    with pytest.raises(NoConnection, match="is it spelled right"):
        link.open()


def test_a_server_that_says_nothing_costs_a_bounded_time(server: TinyServer) -> None:
    server.mute = True
    link = Link(address_of(server), factor=1.0 / CONNECT_TIMEOUT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BOX_PASSWORD", "x")
        with pytest.raises(NoConnection, match="says nothing of SSH"):
            link.open()


def test_a_command_that_does_not_end_costs_a_bounded_time(lab: Lab) -> None:
    link = Link(lab.address, SLOW)
    link.open()
    for timeout in (0.02, 0.2, 1.0, 6.0):  # until it is long enough to start a shell
        with pytest.raises(TargetHung, match=f"more than {timeout * SLOW:g} s on ") as caught:
            link.run("echo started; sleep 1000", timeout=timeout)
        if "the last it said: 'started" in str(caught.value):
            break
    else:
        pytest.fail(str(caught.value))
    # Both streams are drained: more than a window on each.
    done = link.run("head -c 3000000 /dev/zero >&2; head -c 3000000 /dev/zero; exit 7")
    assert (len(done.out), len(done.err), done.status) == (3_000_000, 3_000_000, 7)
    link.close()


def test_not_root_and_no_sudo(lab: Lab) -> None:
    from touchstone.drivers.ssh.root import Root

    link = Link(lab.address, SLOW)
    link.open()
    lab.box.tool("sudo", "echo 'sudo: a password is required' >&2; exit 1\n")
    with pytest.raises(InfrastructureError, match=r"a password is required.*NOPASSWD"):
        Root(link, root=False).check()
    lab.box.tool("sudo", '[ "$1" = -n ] && shift; exec env VIA=sudo "$@"\n')
    root = Root(link, root=False)
    root.check()
    assert root.run("echo $VIA 'quo\"ted'").text == 'sudo quo"ted'
    link.close()
