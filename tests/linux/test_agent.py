"""The agent's module and program, alone and under Veneer, in stock kernels and in one that looks for bugs."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.linux import linux_machine
from tests.support.linux.agent_session import KVM_WORKS, Session
from tests.support.linux.qemu_machine import expect_no_bugs, serve_agent
from touchstone.machine.agent import AgentClient
from touchstone.machine.channel import SocketChannel
from touchstone.machine.serial_log import SerialLog

CPUS = 4
END_OF_TRANSMISSION = b"\x04"
SLOWNESS = 8.0
PATIENCE = 600.0
"""Seconds that a machine may take to get to its next agent."""


@contextlib.contextmanager
def agent_on(channel: SocketChannel) -> Iterator[Session]:
    agent = AgentClient(channel, SerialLog(), SLOWNESS)
    agent.wait_ready(PATIENCE)
    agent.hello()
    session = Session(agent)
    state = session.read_state()
    yield session
    assert session.read_state() == state
    channel.send(END_OF_TRANSMISSION, time.monotonic() + PATIENCE)


def ask_all(kernel: linux_machine.Kernel, tmp_path: Path) -> str:
    """All that agent.c is there for. Returns what the machine has said."""
    with serve_agent(kernel, tmp_path, "EPYC,+svm,+npt", CPUS) as (machine, channel):
        with agent_on(channel) as alone:
            assert (alone.info.os, alone.info.vendor, alone.info.subject) == ("linux", "amd", "none")
            assert alone.apic_ids() == [0, 1, 2, 3]
            assert b"VeneerVeneer" not in alone.signatures()
            alone.check_endings()
            alone.check_values()
            alone.check_refusals()
            alone.check_kvm({"insert": "there", **KVM_WORKS, "cpus": "4"})
            alone.check_work()
        with agent_on(channel) as under:
            assert under.signatures() == {b"VeneerVeneer"}
            under.check_endings()
            under.check_values()
            under.check_refusals()
            under.check_kvm({"insert": "none", "open": "EBUSY"})
            under.check_work()
        with agent_on(channel) as around:
            for _ in range(3):
                around.check_endings()
            around.check_values()
            around.check_work()
        with agent_on(channel) as gap:
            assert gap.apic_ids() == [0, 2, 3]
            gap.check_endings()
            gap.check_values()
        output = machine.wait()
    linux_machine.expect_ok(linux_machine.AGENT_TESTS, output)
    times = re.search(r"^# Veneer came and went (\d+) times under its probes", output, re.MULTILINE)
    assert times, output
    assert int(times[1]) >= 3
    return output


# One will do: tests/agent/test_linux.py has more to ask of the agent on the kernel that its boxes have.
def test_linux_does_not_notice_the_agent(tmp_path: Path) -> None:
    ask_all(linux_machine.newest_kernel(), tmp_path)


@pytest.mark.parametrize("release", linux_machine.each_debug_kernel())
def test_a_kernel_that_looks_for_bugs_finds_none(release: str, tmp_path: Path) -> None:
    expect_no_bugs(ask_all(linux_machine.get_debug_kernel(release), tmp_path))
