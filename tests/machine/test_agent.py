import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.agent_clients import CPUID, done, reached
from tests.support.fake_agent import Request
from touchstone.machine.agent import AHEAD
from touchstone.machine.channel import SocketChannel
from touchstone.machine.driver import AgentRefused, CountsOf, InfrastructureError
from touchstone.machine.probe import GPRS, Operand, Place, ProbeRequest
from touchstone.machine.probe_lines import MOST_CPUS, cpu_mask, splitmix64
from touchstone.machine.protocol import seal

SLOT, USLOT, STRIDE = 0x100000, 0x40000000, 0x8000


def test_hello_tells_what_the_target_is_and_every_boot_has_its_own_nonce() -> None:
    with reached() as (client, agent):
        info = client.info
        assert info is not None
        assert (info.vendor, info.cpus, info.os, info.subject, info.agent) == (
            "amd",
            4,
            "bare",
            "none",
            "1.0",
        )
        assert (info.slot, info.uslot, info.stride) == (SLOT, USLOT, STRIDE)
        first = agent.nonce
        client.hello()
        assert agent.nonce != first
        assert agent.requests[0].nonce == "-"


def test_a_result_has_every_register_also_those_that_did_not_change() -> None:
    probe = ProbeRequest(
        code=b"\x0f\xa2", seed=7, registers={"rcx": Operand(offset=5), "rdi": Operand("scratch", 0x10)}
    )
    with reached(lambda r: done(r, extra="rax=d rbx=68747541")) as (client, _):
        (result,) = client.run(probe)
    seeded = dict(zip((name for name in GPRS if name != "rsp"), splitmix64(7, 15), strict=True))
    given_values = seeded | {"rcx": 5, "rdi": SLOT + 0x3010, "rsp": SLOT + 0x6F00}
    assert result.given == given_values
    assert result.registers == given_values | {"rax": 0xD, "rbx": 0x68747541}
    assert list(result.registers) == list(GPRS)
    assert (result.start, result.slot, result.rip, result.rflags) == (SLOT, SLOT, SLOT + 2, 2)
    assert (result.vector, result.error_code, result.cr2, result.dr6, result.nmis) == (
        None,
        None,
        None,
        None,
        0,
    )


def test_addresses_are_those_of_the_cpu_that_runs_the_probe() -> None:
    probe = ProbeRequest(
        code=b"\x90",
        cpl=3,
        code_bits=32,
        cpus=(2, 0),
        at=0x80,
        registers={"rsi": Operand("start", -0x10), "rbx": Operand("stack")},
    )

    def reply(request: Request) -> bytes:
        assert request.fields == {
            "code": "90", "cpl": "3", "bits": "32", "on": "5", "at": "80", "rsi": "c-10", "rbx": "t0",
        }  # fmt: skip
        return done(request, 0, 2) + done(request, 2, 2)

    with reached(reply) as (client, _):
        two, zero = client.run(probe)
    assert (two.cpu, zero.cpu) == (2, 0)
    assert zero.given["rsi"] == USLOT + 0x70
    assert two.given["rsi"] == USLOT + 2 * STRIDE + 0x70
    assert two.given["rbx"] == USLOT + 2 * STRIDE + 0x7000


def test_addresses_of_a_place_are_those_that_the_agent_names() -> None:
    """Outside of long mode there are eight registers of 32 bits, and addresses wrap at 4 GiB."""
    probe = ProbeRequest(
        code=b"\x0f\xa2",
        code_bits=32,
        place=Place("pae-paging", linear=0xFFFFFFFE),
        seed=7,
        registers={"rsi": Operand("start", 2), "rdi": Operand("scratch"), "r8": Operand(offset=1)},
    )

    def reply(request: Request) -> bytes:
        assert request.fields["mode"] == "pae-paging"
        assert request.fields["linear"] == "fffffffe"
        return done(request, extra="start=fffffffe slot=10000")

    with reached(reply) as (client, _):
        (result,) = client.run(probe)
    assert (result.start, result.slot, result.address(2)) == (0xFFFFFFFE, 0x10000, 0)
    assert (result.given["rsi"], result.given["rdi"], result.given["r8"]) == (0, 0x13000, 0)
    assert result.given["rbx"] == splitmix64(7, 4)[3] & 0xFFFFFFFF


def test_the_memory_that_was_not_asked_for_breaks_the_protocol() -> None:
    with (
        reached(lambda r: done(r, extra="mem=00ff")) as (client, _),
        pytest.raises(InfrastructureError, match="2 bytes of memory came back, None was asked for"),
    ):
        client.run(CPUID)


def test_runs_of_zeros_in_memory() -> None:
    probe = ProbeRequest(code=b"\x90", read=(0, 0x105))
    with reached(lambda r: done(r, extra="mem=z02abzffcd00z01")) as (client, _):
        (result,) = client.run(probe)
    assert result.memory == bytes(2) + b"\xab" + bytes(0xFF) + b"\xcd" + bytes(2)


def test_an_exception_with_all_that_comes_with_it() -> None:
    probe = ProbeRequest(code=b"\x90", cpl=3, cpus=(2, 0), at=0x80, read=(0, 2))

    def reply(request: Request) -> bytes:
        exc = "end=exc vec=0e ec=6 rip=1 rflags=10002 cr2=dead000 mem=00ff nmi=12"
        return request.answer(f"cpu=0 of=2 {exc}") + request.answer(f"cpu=2 of=2 {exc} rax=1")

    with reached(reply) as (client, _):
        two, zero = client.run(probe)
    assert (two.cpu, zero.cpu) == (2, 0)
    assert (two.registers["rax"], zero.registers["rax"]) == (1, 0)
    assert (two.vector, two.error_code, two.cr2, two.memory, two.nmis) == (14, 6, 0xDEAD000, b"\x00\xff", 12)
    assert two.start == USLOT + 2 * STRIDE + 0x80
    assert two.scratch == USLOT + 2 * STRIDE + 0x3000


def test_registers_that_only_some_answers_have() -> None:
    def reply(request: Request) -> bytes:
        tables = "tables-start=1000:fff:2000:67:0:40 tables=3000:ffff:2000:67:8:40"
        call = "called=40002:1:2:3:4:5:6:10 returned=2:1:2:3:4:5:0:0"
        return done(request, extra=f"{tables} {call}")

    with reached(reply) as (client, _):
        (result,) = client.run(CPUID)
    assert result.more == {
        "idtr.base": (0x1000, 0x3000),
        "idtr.limit": (0xFFF, 0xFFFF),
        "gdtr.base": (0x2000, 0x2000),
        "gdtr.limit": (0x67, 0x67),
        "ldtr": (0, 8),
        "tr": (0x40, 0x40),
        "returned.rflags": (0x40002, 2),
        "returned.rbx": (1, 1),
        "returned.rbp": (2, 2),
        "returned.r12": (3, 3),
        "returned.r13": (4, 4),
        "returned.r14": (5, 5),
        "returned.r15": (6, 0),
        "returned.ss": (0x10, 0),
    }


def test_a_request_that_is_too_long_is_refused_and_not_sent() -> None:
    with reached() as (client, agent):
        with pytest.raises(AgentRefused, match="too-long"):
            client.run(ProbeRequest(code=bytes(1024), memory=((0, bytes(1024)),)))
        assert [request.verb for request in agent.requests] == ["hello"]


@pytest.mark.parametrize(
    "noise",
    [
        b"Veneer: CPU 2 took exit 0x72\n",
        b"\xff\x00=1 \n",
        b"no line end before the answer ",
        b"=1 01234567 99 ok cpu=0 of=1 end=done rip=1 rflags=2 #0000\n",
        seal("=1 01234567 2 ok cpu=0 of=1 end=done rip=bad rflags=2"),
        seal("!1 hiccup"),
    ],
)
def test_noise_around_an_answer_is_kept_and_does_not_count(noise: bytes) -> None:
    with reached(lambda r: noise + done(r) + noise) as (client, _):
        (result,) = client.run(CPUID)
        assert result.rip == 0x100002
        assert client._log.bytes_since(0).count(noise) >= 1


def test_answers_of_earlier_requests_do_not_count() -> None:
    def reply(request: Request) -> bytes:
        stale = request.answer("cpu=0 of=1 end=done rip=bad rflags=2", number=str(int(request.number) - 1))
        return stale + done(request)

    with reached(reply) as (client, _):
        assert [client.run(CPUID)[0].rip for _ in range(3)] == [0x100002] * 3


def test_the_same_answer_twice_counts_once() -> None:
    probe = ProbeRequest(code=b"\x90", cpus=(0, 1))
    with reached(lambda r: done(r, 0, 2) + done(r, 0, 2) + done(r, 1, 2)) as (client, _):
        assert [result.cpu for result in client.run(probe)] == [0, 1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cpu=0 of=2 end=done rip=1 rflags=2", "of=2, asked for"),
        ("cpu=1 of=1 end=done rip=1 rflags=2", "cpu=1"),
        ("cpu=0 of=1 end=done rflags=2", "rip is missing"),
        ("cpu=0 of=1 end=done rip=xyz rflags=2", "rip='xyz' is not a number"),
        ("cpu=0 of=1 end=exc rip=1 rflags=2", "vec is missing"),
        ("cpu=0 of=1 end=maybe rip=1 rflags=2", "end=maybe"),
        ("cpu=0 of=1 end=done rip=1 rflags=2 mem=0", "mem=0"),
        ("cpu=0 of=1 end=done rip=1 rflags=2 mem=z0", "mem=z0"),
        ("cpu=0 of=1 end=done rip=1 rflags=2 mem=0z02", "mem=0z02"),
        ("cpu=0 of=1 end=done rip=1 rflags=2 mem=z02z03", "5 bytes of memory came back"),
        ("of=1 end=done rip=1 rflags=2", "cpu is missing"),
        ("cpu=0 of=1 end=done rip=1 rflags=2 tables=1:2:3:4:5:6", "tables-start=None"),
        ("cpu=0 of=1 end=done rip=1 rflags=2 tables-start=1:2:3:4:5:6 tables=1:2:3:4:5", "tables=1:2:3:4:5$"),
        ("cpu=0 of=1 end=done rip=1 rflags=2 called=2:1:1:1:1:1:1:1 returned=2:1:1:1:1:1:x:1", "returned=2"),
    ],
)
def test_an_answer_that_breaks_the_protocol_is_an_infrastructure_error(text: str, message: str) -> None:
    with reached(lambda r: r.answer(text)) as (client, _), pytest.raises(InfrastructureError, match=message):
        client.run(CPUID)


def test_two_different_answers_of_one_cpu() -> None:
    probe = ProbeRequest(code=b"\x90", cpus=(0, 1))
    with (
        reached(lambda r: done(r, 0, 2) + done(r, 0, 2, "rax=1")) as (client, _),
        pytest.raises(InfrastructureError, match="two different answers of CPU 0"),
    ):
        client.run(probe)


def test_a_refusal() -> None:
    refusal = "code=EBUSY text=VMX is in use"
    with reached(lambda r: r.answer(refusal, "err")) as (client, _):
        with pytest.raises(AgentRefused, match="EBUSY: VMX is in use") as caught:
            client.load("fail")
        assert (caught.value.code, caught.value.text) == ("EBUSY", "VMX is in use")
        with pytest.raises(AgentRefused):
            client.run(CPUID)


def test_the_refusal_of_one_cpu_leaves_nothing_behind() -> None:
    probe = ProbeRequest(code=b"\x90", cpus=(0, 1))

    def reply(request: Request) -> bytes:
        if request.fields.get("on") != "3":
            return done(request)
        return request.answer("cpu=0 of=2 code=state text=#GP", "err") + done(request, 1, 2)

    with reached(reply) as (client, _):
        with pytest.raises(AgentRefused, match="state: CPU 0: #GP"):
            client.run(probe)
        assert client.run(CPUID)[0].cpu == 0


def test_many_probes_are_sent_ahead_and_answered_in_their_order() -> None:
    held = []

    def reply(request: Request) -> bytes:
        """Nothing, before the last of those that are sent ahead has come."""
        refused = request.fields["code"] == "02"
        held.append(request.answer("code=state text=#GP", "err") if refused else done(request))
        return b"".join(held) if len(held) == AHEAD else b""

    with reached(reply) as (client, _):
        probes = [ProbeRequest(code=bytes([number])) for number in range(AHEAD)]
        outcomes = list(client.run_many(probes))
        assert [str(one) for one in outcomes if isinstance(one, AgentRefused)] == ["state: #GP"]
        assert isinstance(outcomes[2], AgentRefused)
        assert len(outcomes) == AHEAD


def test_half_of_what_is_sent_ahead_goes_out_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[int] = []
    send = SocketChannel.send

    def counting(channel: SocketChannel, data: bytes, deadline: float) -> None:
        lines.append(data.count(b"\n"))
        send(channel, data, deadline)

    with reached(done) as (client, _):
        monkeypatch.setattr(SocketChannel, "send", counting)
        assert len(list(client.run_many([CPUID] * (2 * AHEAD + 1)))) == 2 * AHEAD + 1
    assert lines == [AHEAD, AHEAD // 2, AHEAD // 2, 1]


def test_a_probe_that_is_too_long_is_refused_in_its_turn() -> None:
    probes = [CPUID, ProbeRequest(code=bytes(2048)), CPUID]
    with reached(done) as (client, agent):
        kinds = [type(outcome) for outcome in client.run_many(probes)]
        assert kinds == [list, AgentRefused, list]
        assert len(agent.requests) == 3  # hello, and two of them


def test_counts_query_exits_and_trace() -> None:
    def reply(request: Request) -> bytes:
        if request.verb == "counts":
            return b"".join(request.answer(f"cpu={cpu} of=4 nmi={cpu * 10}") for cpu in (3, 1, 0, 2))
        return request.answer(
            {
                "query": "loaded=1 name=veneer version=0.1 cpus=4 nested=hidden",
                "exits": "cpuid=12 rdmsr=3",
                "trace": "exits=cpuid:100abc:0,shutdown:100def:ff",
            }[request.fields["do"]]
        )

    with reached(reply) as (client, agent):
        assert client.nmi_counts() == [0, 10, 20, 30]
        assert client.query()["nested"] == "hidden"
        assert client.exits(2) == {"cpuid": 12, "rdmsr": 3}
        assert client.trace(1, 2) == ["cpuid rip=0x100abc info=0x0", "shutdown rip=0x100def info=0xff"]
        assert agent.requests[-1].fields == {"do": "trace", "cpu": "1", "n": "2"}


def test_probes_and_readings_of_counters_are_sent_ahead_and_answered_in_their_order() -> None:
    held: list[bytes] = []
    counts = iter(("cpuid=1", "cpuid=nothing", "cpuid=4"))

    def reply(request: Request) -> bytes:
        held.append(done(request) if request.verb == "run" else request.answer(next(counts)))
        return b"".join(held) if len(held) == 5 else b""

    with reached(reply) as (client, agent):
        answers = client.ask_many([CountsOf(1), CPUID, CountsOf(2), CPUID, CountsOf(1)])
        first, _, refused, _, last = list(answers)
        assert (first, last) == ({"cpuid": 1}, {"cpuid": 4})
        assert str(refused).startswith("EPROTO: an exit counter of the subject's")
        asked = [(one.verb, one.fields.get("cpu")) for one in agent.requests[1:]]
        assert asked == [("subject", "1"), ("run", None), ("subject", "2"), ("run", None), ("subject", "1")]


def test_a_request_for_what_only_some_agents_can_do_tells_how_long_it_may_take() -> None:
    def reply(request: Request) -> bytes:
        if request.verb == "kvm":
            return request.answer("code=EOPNOTSUPP text=no hypervisor here", status="err")
        assert request.pairs == [("do", "wait"), ("rounds", "2"), ("limit", "31")]
        return request.answer("fpu=7:1 text=fpu on CPU 2, round 8: YMM3 has changed")

    with reached(reply) as (client, _):
        said = client.request("work", {"do": "wait", "rounds": "2"}, limit=2.55)
        assert said == {"fpu": "7:1", "text": "fpu on CPU 2, round 8: YMM3 has changed"}
        with pytest.raises(AgentRefused, match="EOPNOTSUPP: no hypervisor here"):
            client.request("kvm", {}, timeout=1.0)


def test_nmi_names_its_cpus() -> None:
    with reached() as (client, agent):
        client.send_nmis((0, 3), 5)
        assert agent.requests[-1].fields == {"on": "9", "n": "5"}
    assert cpu_mask(range(MOST_CPUS)) == 2**MOST_CPUS - 1
    with pytest.raises(ValueError, match="CPU 256 is not between 0 and 255"):
        cpu_mask([MOST_CPUS])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.binary(max_size=200), max_size=5))
def test_no_bytes_on_the_wire_break_the_client(junk: list[bytes]) -> None:
    def reply(request: Request) -> bytes:
        return b"\n".join(junk) + b"\n" + done(request)

    with reached(reply) as (client, _):
        assert client.run(CPUID)[0].rip == 0x100002
