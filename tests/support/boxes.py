"""A Linux box for tests: started once, reached by SSH, with the agent on it when somebody wants it."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import paramiko

from tests.support.linux import linux_machine
from touchstone.drivers.linux_image.image import build_image, kernel_headers
from touchstone.drivers.qemu.linux import QemuLinuxMachine
from touchstone.machine.agent import AgentClient
from touchstone.machine.serial_log import SerialLog
from touchstone.machine.settings import TargetSettings

PATIENCE = 300.0
"""Seconds for what takes one or two on an idle machine."""
IMAGE = os.environ.get("TOUCHSTONE_TEST_IMAGE", "debian-12")


class Pinned(paramiko.MissingHostKeyPolicy):
    def __init__(self, fingerprint: str) -> None:
        self._fingerprint = fingerprint

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        if key.fingerprint != self._fingerprint:
            raise paramiko.SSHException(f"{key.fingerprint} is not {self._fingerprint}")


def say(sentence: str) -> None:
    print(sentence)


def a_machine(logs: Path, name: str = "linux-test") -> QemuLinuxMachine:
    settings = TargetSettings(
        name,
        "ssh",
        "amd",
        cpus=4,
        memory_mib=512,
        cpu_model="EPYC,+svm,+npt",
        timeout_factor=4.0,
        options={"machine": "q35", "kernel-arguments": "touchstone.words", "memmap": ["16M$400M"]},
    )
    return QemuLinuxMachine(settings, lambda progress: build_image(IMAGE, progress), logs)


@contextlib.contextmanager
def login(machine: QemuLinuxMachine) -> Iterator[paramiko.SSHClient]:
    address = machine.address()
    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(Pinned(address.host_key))
    client.connect(
        address.host,
        address.port,
        address.user,
        key_filename=str(address.key),
        allow_agent=False,
        look_for_keys=False,
        timeout=PATIENCE,
        banner_timeout=PATIENCE,
        auth_timeout=PATIENCE,
    )
    try:
        yield client
    finally:
        client.close()


def run(client: paramiko.SSHClient, command: str, *, check: bool = True) -> str:
    _, out, err = client.exec_command(command, timeout=PATIENCE)
    text = out.read().decode()
    status = out.channel.recv_exit_status()
    assert status == 0 or not check, f"{command}: {status}: {text}{err.read().decode()}"
    return text


class SshChannel:
    """What AgentClient wants, of a command that runs on the box."""

    def __init__(self, channel: paramiko.Channel) -> None:
        self._channel = channel

    def send(self, data: bytes, deadline: float) -> None:
        self._channel.settimeout(max(0.01, deadline - time.monotonic()))
        self._channel.sendall(data)

    def receive(self, deadline: float) -> bytes:
        self._channel.settimeout(max(0.01, deadline - time.monotonic()))
        return self._channel.recv(65536)


def build_agent(machine: QemuLinuxMachine, into: Path) -> None:
    image = machine.image
    for file in linux_machine.build_agent(image.release, kernel_headers(image, say)):
        shutil.copy2(file, into)


def put(client: paramiko.SSHClient, *files: Path) -> None:
    with client.open_sftp() as sftp:
        for file in files:
            sftp.put(str(file), f"/tmp/{file.name}")
            sftp.chmod(f"/tmp/{file.name}", 0o755)


class AgentBoxes:
    """The box with the agent on it, for one test after the other.

    Restoring it, logging in, and loading the agent take three seconds of an emulated CPU, so it is done for
    the first one, and behind a test that has left something else behind.
    """

    def __init__(self, machine: QemuLinuxMachine) -> None:
        self._machine = machine
        self._open = contextlib.ExitStack()
        self._client: paramiko.SSHClient | None = None
        self._found = ""
        self._booted: float | None = None

    def get(self, built: Path) -> paramiko.SSHClient:
        """A login on the box; nothing of ``built``, the agent, is in use."""
        if self._client is not None and self._is_as_it_was(self._client):
            return self._client
        self.forget()
        self._machine.restore(say)
        client = self._open.enter_context(login(self._machine))
        put(client, built / "touchstone_agent.ko", built / "touchstone-agent")
        run(client, "insmod /tmp/touchstone_agent.ko")
        self._found = self._state(client)
        self._booted = self._machine.boot_seconds
        self._client = client
        return client

    def forget(self) -> None:
        """It is not as it was, or will not be: restore it for the next one."""
        self._client = None
        self._open.close()

    def _is_as_it_was(self, client: paramiko.SSHClient) -> bool:
        if self._machine.boot_seconds != self._booted:
            return False  # somebody else has restored it, and the login is dead
        try:
            return self._state(client) == self._found
        except (OSError, paramiko.SSHException, AssertionError):
            return False

    @staticmethod
    def _state(client: paramiko.SSHClient) -> str:
        """Once the program of the test before has ended: the modules, the CPUs, and the files in /tmp."""
        return run(
            client,
            "while grep -q '^touchstone_agent [0-9]* 1 ' /proc/modules; do :; done; dmesg -C; "
            "cut -d ' ' -f 1,3 /proc/modules; cat /sys/devices/system/cpu/online; ls /tmp",
        )


@contextlib.contextmanager
def agent(client: paramiko.SSHClient) -> Iterator[AgentClient]:
    transport = client.get_transport()
    assert transport is not None
    channel = transport.open_session(timeout=PATIENCE)
    channel.exec_command("exec /tmp/touchstone-agent")
    speaker = AgentClient(SshChannel(channel), SerialLog(), 8.0)
    speaker.wait_ready(PATIENCE)
    speaker.hello()
    try:
        yield speaker
    finally:
        channel.close()
