"""How the client of an agent takes what ends a request or a boot: deaths, hangs, panics, damaged lines."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from tests.support.agent_clients import CPUID, SLOW, OutOfTime, done, out_of_time, reached
from tests.support.emulators import accepted
from tests.support.fake_agent import FakeAgent
from touchstone.machine import agent as agent_module
from touchstone.machine.agent import AgentClient
from touchstone.machine.channel import SocketChannel
from touchstone.machine.driver import AgentRefused, CountsOf, InfrastructureError, TargetDied, TargetHung
from touchstone.machine.probe import ProbeRequest
from touchstone.machine.protocol import seal
from touchstone.machine.serial_log import SerialLog


def test_a_death_is_charged_to_the_probe_whose_answer_is_next() -> None:
    with reached(lambda r: done(r) if r.fields["code"] != "03" else None) as (client, _):
        outcomes = client.run_many([ProbeRequest(code=bytes([number])) for number in range(8)])
        assert [accepted(next(outcomes))[0].cpu for _ in range(3)] == [0, 0, 0]
        with pytest.raises(TargetDied):
            next(outcomes)


def test_a_death_is_charged_to_the_reading_of_counters_whose_answer_is_next() -> None:
    with reached(lambda r: done(r) if r.verb == "run" else None) as (client, _):
        answers = client.ask_many([CPUID, CountsOf(0), CPUID])
        next(answers)
        with pytest.raises(TargetDied):
            next(answers)


def test_no_answer_in_time_is_a_hang() -> None:
    with (
        reached(lambda r: b"thinking") as (client, _),
        pytest.raises(TargetHung, match="no answer to run"),
    ):
        client.run(ProbeRequest(code=b"\x90", timeout=0.05 / SLOW))


def test_a_hang_is_told_with_the_last_words_and_not_before_the_time_is_over() -> None:
    client, channel = out_of_time(lambda r: b"thinking")
    began = time.monotonic()
    with pytest.raises(TargetHung, match="no answer to run; the last it said was 'thinking'"):
        client.run(ProbeRequest(code=b"\x90", timeout=30.0))
    ended = time.monotonic()
    assert began + 60.0 <= channel.deadlines[-1] <= ended + 60.0


def test_a_damaged_answer_is_not_a_hang_of_the_target() -> None:
    client, _ = out_of_time(lambda r: done(r).replace(b"end=", b"end?"))
    with pytest.raises(InfrastructureError, match=r"the answer to run came damaged \(wrong checksum"):
        client.run(CPUID)


@pytest.mark.parametrize(
    ("pairs", "why"),
    [
        ("loaded1 cpus=4", "'loaded1' is not key=value"),
        ("loaded=1 =4", "'=4' is not key=value"),
        ("loaded=1 cpus=4 loaded=0", "loaded occurs twice"),
    ],
)
def test_what_a_subject_answers_is_its_own_and_not_the_lines(pairs: str, why: str) -> None:
    client, _ = out_of_time(lambda r: r.answer(pairs))
    for ask in (client.query, lambda: client.exits(0), lambda: client.trace(0, 1)):
        with pytest.raises(AgentRefused, match=f"EPROTO: what the subject answers is malformed: {why}"):
            ask()
    with pytest.raises(InfrastructureError, match="came damaged"):  # the agent's own words
        client.run(CPUID)


def test_exit_counters_that_are_no_numbers_are_the_subjects() -> None:
    client, _ = out_of_time(lambda r: r.answer("cpuid=many"))
    with pytest.raises(AgentRefused, match="EPROTO: an exit counter of the subject's: cpuid='many'"):
        client.exits(0)


@pytest.mark.parametrize("code", ["checksum", "syntax"])
def test_a_request_that_came_damaged_is_not_a_hang_of_the_target(code: str) -> None:
    with (
        reached(lambda r: seal(f"=1 - 0 err code={code} text=what")) as (client, _),
        pytest.raises(InfrastructureError, match=f"could not read the request \\({code}"),
    ):
        client.run(CPUID)


def test_the_end_of_the_channel_is_a_death() -> None:
    with reached(lambda r: None) as (client, _), pytest.raises(TargetDied, match="connection"):
        client.run(CPUID)


def test_a_machine_that_says_ready_again_was_reset() -> None:
    with reached(lambda r: seal("!1 ready os=bare cpus=4")) as (client, _):
        with pytest.raises(TargetDied, match="reset behind our back"):
            client.run(CPUID)
        with pytest.raises(InfrastructureError, match="not been greeted"):
            client.run(CPUID)


def test_a_refused_nonce_means_that_the_machine_was_reset() -> None:
    with (
        reached(lambda r: r.answer("code=nonce", "err")) as (client, _),
        pytest.raises(TargetDied, match="does not know this session"),
    ):
        client.query()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (seal("!1 panic cpu=2 vec=0e rip=100abc") + b"panic: cr2 0\n", "on CPU 2: exception 0e at 100abc"),
        (b"it is over\n" + seal("!1 panic cpu=1 text=see the line before"), "on CPU 1: it is over"),
        (b"noise\n" + seal("!1 panic cpu=0 text=no memory for 4 CPUs"), "on CPU 0: no memory for 4 CPUs"),
    ],
)
def test_a_panic_of_the_targets_os_is_a_death_at_once_and_its_report_is_kept(
    words: bytes, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_module, "LAST_WORDS", 0.01)  # they come in one piece
    with reached(lambda r: words) as (client, _):
        with pytest.raises(TargetDied, match=f"the target's OS panicked {reason}"):
            client.run(replace(CPUID, timeout=60.0))
        assert words in client._log.bytes_since(0)
        with pytest.raises(InfrastructureError, match="not been greeted"):
            client.run(CPUID)


def test_the_ready_line_is_found_between_boot_messages() -> None:
    agent = FakeAgent()
    channel = SocketChannel(agent.ours)
    client = AgentClient(channel, SerialLog())
    agent.say(b"SeaBIOS\r\n!1 rea\n" + seal("!1 ready os=bare cpus=4"))
    assert client.wait_ready(60).fields["cpus"] == "4"
    with pytest.raises(TargetHung, match=r"the agent was not ready after 0.05 s"):
        client.wait_ready(0.05)
    channel.close()
    agent.close()


def test_one_who_prints_without_an_end_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or its log fills the disk: a guest's program may print as fast as the box can."""
    monkeypatch.setattr(agent_module, "MOST_NOISE", 1 << 20)
    channel = OutOfTime(None)
    channel.said += [b"\xa5" * 4095 + b"\n"] * 300
    with pytest.raises(TargetHung, match=r"the agent was not ready, and 1 MiB were printed in its place$"):
        AgentClient(channel, SerialLog()).wait_ready(3600)
    assert len(channel.said) == 43
    # What is printed beside answers does not add up.
    client, channel = out_of_time(done)
    channel.reply = lambda request: b"x\n" * 400_000 + done(request)
    for _ in range(3):
        assert client.run(CPUID)[0].rip == 0x100002


@pytest.mark.parametrize(("where", "said"), [("", ""), (" in=subject", ", in the hypervisor's own code")])
def test_a_panics_headline_says_whose_code_it_was(
    where: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_module, "LAST_WORDS", 0.0)
    channel = OutOfTime(None)
    channel.said.append(seal(f"!1 panic cpu=1 vec=0d rip=10f5f2{where}"))
    with pytest.raises(TargetDied, match=f"panicked on CPU 1: exception 0d at 10f5f2{said}$"):
        AgentClient(channel, SerialLog()).wait_ready(1.0)


def test_a_panics_headline_is_the_last_boots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_module, "LAST_WORDS", 0.0)
    panic, ready = seal("!1 panic cpu=1 text=see the line before"), seal("!1 ready os=bare cpus=4")
    channel, log = OutOfTime(None), SerialLog()
    for expected in ("the first", "the second", "third"):
        client = AgentClient(channel, log)
        if expected == "the second":
            channel.said.append(ready + b"the second\n" + panic)
            client.wait_ready(1.0)
        else:
            channel.said.append(f"{expected}\n".encode() + panic)
        with pytest.raises(TargetDied, match=f"panicked on CPU 1: {expected}$"):
            client.wait_ready(1.0)
