"""A box that we did not start, and of which the inventory has host, port, user and key."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest

from tests.support import boxes
from tests.support.runs import run_suites
from touchstone.drivers.emulated.linux_machine import SshAddress
from touchstone.drivers.linux_image.image import LinuxImage, kernel_headers
from touchstone.journal.read import read_journal
from touchstone.words import Verdict

INVENTORY = """
include = ["touchstone:inventory.toml"]
[targets.amd-box]
driver = "ssh"
vendor = "amd"
cpus = {cpus}
host = "{host}"
port = {port}
user = "{user}"
key = "{key}"
kernel-headers = "{headers}"    # there is no compiler on it, and this machine has another kernel
timeout-factor = 4              # an emulator
"""


# A few of each phase: that a box is judged as every other target. linux-amd has the whole of these areas.
SUITES = tuple(
    f"conformance/{suite}"
    for suite in (
        "broadcast/signature.yaml",
        "broadcast/exits.yaml",
        "broadcast/test_loading.py",
        "teardown/gone.yaml",
        "teardown/hardware.yaml",
    )
)
STATE = "cat /proc/sys/kernel/random/boot_id; ls /run /tmp; cut -d' ' -f1 /proc/modules"


class Owner:
    """Has a box, and looks after it."""

    def __init__(self, image: LinuxImage, cpus: int, address: SshAddress, home: Path) -> None:
        self.image = image
        self.cpus = cpus
        self.address = address
        transport = paramiko.Transport((address.host, address.port))
        try:
            transport.start_client(timeout=300)
            key = transport.get_remote_server_key()
        finally:
            transport.close()
        (home / ".ssh").mkdir()
        self.known_hosts = home / ".ssh" / "known_hosts"
        self.known_hosts.write_text(f"[{address.host}]:{address.port} {key.get_name()} {key.get_base64()}\n")

    def run(self, command: str) -> str:
        """A command on the box."""
        with paramiko.SSHClient() as client:
            client.load_host_keys(str(self.known_hosts))
            key = str(self.address.key)
            client.connect(
                self.address.host, self.address.port, self.address.user, key_filename=key, timeout=300
            )
            _, out, _ = client.exec_command(command, timeout=300)
            return out.read().decode()


@pytest.fixture(scope="module")
def owner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Owner]:
    if shutil.which("qemu-system-x86_64") is None:
        pytest.skip("no QEMU")
    home = tmp_path_factory.mktemp("home")
    machine = boxes.a_machine(home / "logs", "not-a-target")
    try:
        machine.start(print)
        yield Owner(machine.image, machine.settings.cpus, machine.address(), home)
    finally:
        machine.stop()


def test_judged_and_left_as_it_was(owner: Owner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = owner.address
    inventory = tmp_path / "inventory.toml"
    inventory.write_text(
        INVENTORY.format(
            cpus=owner.cpus,
            host=address.host,
            port=address.port,
            user=address.user,
            key=address.key,
            headers=kernel_headers(owner.image, print),
        )
    )
    monkeypatch.setenv("HOME", str(owner.known_hosts.parents[1]))
    owner.run("mkdir -m 700 /run/touchstone")  # the directory of our lock stays
    before = owner.run(STATE)
    arguments = ["--target=amd-box", f"--touchstone-inventory={inventory}"]
    # Beside an emulator, each with a worker of its own.
    journal = tmp_path / "journal.jsonl"
    beside = ["--target=qemu-amd", "-n", "auto", f"--journal={journal}"]
    run = run_suites(tmp_path, *SUITES, *arguments, *beside)
    assert run.status == 0, run.printed
    assert f"on {owner.cpus} of {owner.cpus} CPUs" in run.printed
    assert run.words() <= {"conformant", "unsupported", "machine", "known-deviation"}
    found = read_journal(journal)
    assert not found.missing
    for target in ("amd-box", "qemu-amd"):
        own = [line.verdict for key, line in found.judged.items() if key.target == target]
        assert own.count(Verdict.CONFORMANT) >= 20, target
        # One line, or several if it is longer than the screen.
        assert re.search(rf"^{target}: .*(?:\n {{4}}.*)*Veneer", run.printed, re.MULTILINE)
    boxes = {line.verdict for key, line in found.judged.items() if key.target == "amd-box"}
    assert boxes == {Verdict.CONFORMANT, Verdict.UNSUPPORTED}
    assert owner.run(STATE) == before
    bare = run_suites(tmp_path, SUITES[0], *arguments, "--hypervisor=none")
    assert bare.status == 1, bare.printed
    assert {verdict.word for verdict in bare.verdicts if verdict.claims} <= {"deviation", "unsupported"}
