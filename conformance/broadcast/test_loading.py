"""Loading: it takes every CPU, and is refused while the subject is loaded."""

import pytest

from touchstone.machine.driver import AgentRefused
from touchstone.machine.probe import Place

COMMIT = {
    "doc": "touchstone-design",
    "title": "Veneer",
    "says": "all commit, or all roll back and the caller gets one error, the same for every CPU; after "
    "the commit each CPU proves that it is in guest mode",
}
PROTOCOL = {
    "doc": "touchstone-protocol",
    "title": "subject do=...: the hypervisor under test",
    "says": "do=load: ok when every CPU is virtualised; else err code=EBUSY text=reason and nothing has "
    "changed",
}
PROTOCOL_QUERY = {
    "doc": "touchstone-protocol",
    "title": "subject do=...: the hypervisor under test",
    "says": "do=query: loaded=0 or 1, name=, version=, cpus= (how many are in guest mode now), and the "
    "subject's own keys.",
}
TRACE = {
    "doc": "touchstone-design",
    "title": "Veneer",
    "says": "Exits are counted per CPU and reason, and the last ones are kept in a ring; both can be read "
    "while it runs, and after a crash.",
}

pytestmark = pytest.mark.touchstone(area="broadcast")


ATTEMPTS = 20
"""Measurements to make on a running OS, where other programs cause exits as well."""

MOST_TRACED = 32
"""What is asked for of a trace: no more than every subject keeps."""


def rips(trace):
    """Where the exits of a trace were."""
    return [int(word[4:], 16) for line in trace for word in line.split() if word.startswith("rip=")]


def attempts(target):
    return range(ATTEMPTS if target.info.os != "bare" else 1)


def cpuids(target, subject, cpu):
    return target.exits(cpu).get("cpuid", 0) if subject.claims.get("counters") else 0


@pytest.mark.touchstone(
    id="broadcast.load.all-cpus",
    title="The hypervisor says that it has as many CPUs as the machine, and each of them confirms it",
    cite=COMMIT,
    proves=["load-every-cpu"],
)
def test_all_cpus(target, virtualized):
    status = target.query()
    assert status.get("loaded") == "1", f"the subject says of itself: {dict(status)}"
    # What a UEFI firmware has loaded cannot be asked.
    assert status.get("by") == "firmware" or status.get("cpus") == str(target.cpus), (
        f"{status.get('cpus')} of {target.cpus} CPUs are in guest mode"
    )
    assert virtualized() == list(range(target.cpus)), "these CPUs, and no others, carry the signature"


@pytest.mark.touchstone(
    id="broadcast.load.query",
    title="What the hypervisor says of itself is what it claims, on the processor that is there",
    cite=PROTOCOL_QUERY,
    proves=["load-every-cpu"],
)
def test_query(target, subject, probe):
    status = target.query()
    assert status.get("loaded") == "1", f"the subject says of itself: {dict(status)}"
    nested = subject.claims.get("nested")
    assert nested is None or status.get("nested", nested) == nested, (
        f"it claims nested = {nested}, and says nested={status.get('nested')}"
    )
    backend = {"amd": "svm", "intel": "vmx"}[target.vendor]
    assert status.get("backend", backend) == backend, (
        f"a processor with {backend}, and it says {dict(status)}"
    )
    if subject.claims.get("cpuid-version") and "version" in status:
        for result in probe("cpuid", on="every-cpu", rax=0x40000001):
            eax = result.registers["rax"]
            version = f"{eax >> 16}.{eax >> 8 & 0xFF}.{eax & 0xFF}"
            assert status.get("version") == version, (
                f"CPU {result.cpu}: {version}, and it says {dict(status)}"
            )


@pytest.mark.touchstone(
    id="broadcast.load.twice",
    title="Loading what is loaded is refused as the subject says, and changes nothing",
    requires="subject.refuses.loaded != false",
    cite=PROTOCOL,
    proves=["refuse-loaded"],
)
def test_twice(target, subject, state, virtualized):
    before, counted = state(), [cpuids(target, subject, cpu) for cpu in range(target.cpus)]
    for attempt in range(2):
        with pytest.raises(AgentRefused) as refusal:
            target.load()
        assert refusal.value.code == subject.claims.get("refuses.loaded"), (
            f"attempt {attempt + 1}: {refusal.value}"
        )
        assert refusal.value.text, "a refusal says why"
    assert state() == before
    assert virtualized() == list(range(target.cpus))
    assert all(cpuids(target, subject, cpu) >= count for cpu, count in enumerate(counted)), (
        "the exit counters began anew"
    )


@pytest.mark.touchstone(
    id="broadcast.exits.own-counters",
    title="An exit is counted on its own CPU and on no other",
    requires="cpus >= 2 and subject.counters",
    cite=[
        {
            "doc": "touchstone-design",
            "title": "Veneer",
            "says": "Exits are counted per CPU and reason, and the last ones are kept in a ring; both can "
            "be read while it runs",
        }
    ],
    proves=["load-own-exits"],
)
def test_own_counters(target, subject, probe):
    for cpu in range(target.cpus):
        wanted = [5 if other == cpu else 0 for other in range(target.cpus)]
        for _ in attempts(target):
            before = [cpuids(target, subject, other) for other in range(target.cpus)]
            probe("cpuid\ncpuid\ncpuid\ncpuid\ncpuid", on=cpu)
            rose = [cpuids(target, subject, other) - count for other, count in enumerate(before)]
            if rose == wanted:
                break
        assert rose == wanted, f"five CPUIDs on CPU {cpu}: the counters rose by {rose}"


@pytest.mark.touchstone(
    id="broadcast.exits.trace",
    title="The last exits of every CPU can be read while it runs, and lead to the probe's instruction",
    requires="subject.trace",
    cite=TRACE,
    proves=["exits-trace"],
)
def test_trace(target, probe):
    for cpu in range(target.cpus):
        for _ in attempts(target):
            (result,) = probe("nop\ncpuid\nnop", on=cpu)
            trace = target.trace(cpu, 4)
            where = f"rip={result.start + 1:#x}"
            if any(where in line for line in trace):
                break
        assert any(where in line for line in trace), f"CPU {cpu}: no exit at {where} among {trace}"


@pytest.mark.touchstone(
    id="broadcast.exits.trace-order",
    title="The trace of a CPU has that CPU's own exits, the newest one last",
    requires="os == bare and subject.trace",
    cite=TRACE,
    proves=["exits-trace", "load-own-exits"],
)
def test_trace_order(target, probe):
    for cpu in range(target.cpus):
        (result,) = probe("cpuid\nnop\ncpuid\nnop\nnop\ncpuid", on=cpu)
        wanted = [result.start + offset for offset in (0, 3, 7)]
        trace = target.trace(cpu, 6)
        assert [rip for rip in rips(trace) if result.start <= rip < result.rip][-3:] == wanted, (
            f"CPU {cpu}: no CPUID at {', '.join(map(hex, wanted))}, in this order: {trace}"
        )
        for count in (1, 3):
            trace = target.trace(cpu, count)
            assert len(trace) == count, f"CPU {cpu}: asked for its last {count} exits, it says {trace}"


@pytest.mark.touchstone(
    id="broadcast.exits.trace-registers",
    title="The trace has EAX and ECX of each exit",
    requires="os == bare and subject.trace and subject.trace-registers",
    cite=TRACE,
    proves=["exits-trace", "load-own-exits"],
)
def test_trace_registers(target, probe):
    body = """
        cpuid
        mov eax, 0x5a000002
        mov ecx, 0x77
        cpuid
        mov eax, 0x5a000003
        mov ecx, 0x78
        cpuid
        """
    for cpu in range(target.cpus):
        asked = [(0x5A000010 + cpu, 0x10 + cpu), (0x5A000002, 0x77), (0x5A000003, 0x78)]
        probe(body, on=cpu, rax=asked[0][0], rcx=asked[0][1])
        wanted = [f"info={ecx << 32 | eax:#x}" for eax, ecx in asked]
        trace = [line for line in target.trace(cpu, 6) if "5a0000" in line]
        assert [line.split()[-1] for line in trace] == wanted, f"CPU {cpu}: {trace}"


@pytest.mark.touchstone(
    id="broadcast.exits.trace-with-base",
    title="The trace names the instruction pointer of an exit, whatever the base of its code segment is",
    requires="os == bare and subject.trace",
    cite=[
        {
            "doc": "intel-sdm",
            "title": "Saving RIP, RSP, RFLAGS, and SSP",
            "says": "The contents of the RIP, RSP, and RFLAGS registers are saved into … fields.",
        },
        {
            "doc": "amd-apm",
            "title": "State Saved on Exit",
            "says": "Guest state … is saved in the VMCB: … RIP …",
        },
    ],
    proves=["exits-trace"],
)
@pytest.mark.parametrize("bits", [32, 16])
def test_trace_with_base(target, probe, bits):
    # Where no other check has a CPUID: what the trace says of this exit is then this exit.
    for before, base in ((41 + bits, 0), (43 + bits, 0x1234_5000)):
        (result,) = probe(f".fill {before}, 1, 0x90\ncpuid", code_bits=bits, place=Place(base=base))
        assert result.vector is None, f"with base {base:#x} it ended with vector {result.vector}"
        trace = target.trace(0, 8)
        assert result.start + before in rips(trace), (
            f"base {base:#x}: no exit at {result.start + before:#x}: {trace}"
        )


@pytest.mark.touchstone(
    id="broadcast.exits.trace-whole-rip",
    title="The trace names all 64 bits of the instruction pointer",
    requires="os == bare and subject.trace",
    cite=TRACE,
    proves=["exits-trace"],
)
@pytest.mark.parametrize("linear", [0x7FFF_1234_5678, 0xFFFF_8000_1234_5678])
def test_trace_whole_rip(target, probe, linear):
    for cpu in range(target.cpus):
        leaf = 0x5A00_5000 + (linear >> 56) + cpu
        (result,) = probe("cpuid", on=cpu, rax=leaf, place=Place(linear=linear))
        assert result.vector is None, f"CPU {cpu}: it ended with vector {result.vector}"
        trace = [line for line in target.trace(cpu, 8) if line.endswith(f"{leaf:x}")]
        assert [f"rip={linear:#x}" in line for line in trace] == [True], f"CPU {cpu}: {trace}"


CPUIDS = """
    1: mov eax, r12d
    xor ecx, ecx
    cpuid
    inc r12d
    dec r13d
    jnz 1b
    """
"""R13 CPUIDs, of the leaves from R12 on."""
TURNS = 12
IN_A_TURN = 16


@pytest.mark.touchstone(
    id="broadcast.exits.trace-goes-round",
    title="The trace of a CPU has its last exits in their order, however many there were before",
    requires="os == bare and subject.trace",
    cite=TRACE,
    proves=["exits-trace"],
)
def test_trace_goes_round(target, probe):
    # More exits than a trace keeps, so that they begin at many places of it.
    for turn in range(TURNS):
        first = 0x5A01_0000 + turn * IN_A_TURN
        (result,) = probe(CPUIDS, r12=first, r13=IN_A_TURN)
        assert result.vector is None, f"turn {turn} ended with vector {result.vector}"
        wanted = [f"info={first + number:#x}" for number in range(IN_A_TURN)]
        trace = [line.split()[-1] for line in target.trace(0, MOST_TRACED)]
        assert [info for info in trace if info in wanted] == wanted, f"turn {turn}: {trace}"


EXIT_CODES = {"amd": {"cpuid": 0x72, "rdmsr": 0x7C}, "intel": {"cpuid": 10, "rdmsr": 31}}
"""APM2 appendix C; SDM 3D appendix C."""


@pytest.mark.touchstone(
    id="broadcast.exits.trace-codes",
    title="The reasons in the trace of a CPU are the processor's exit codes",
    requires="os == bare and subject.trace and subject.trace-codes",
    cite=[
        {"doc": "intel-sdm", "title": "Basic Exit Reasons", "says": "10: CPUID. … 31: RDMSR."},
        {"doc": "amd-apm", "title": "SVM Intercept Exit Codes", "says": "72h VMEXIT_CPUID … 7Ch VMEXIT_MSR"},
    ],
    proves=["exits-trace"],
)
def test_trace_codes(target, probe):
    codes = EXIT_CODES[target.vendor]
    for cpu in range(target.cpus):
        probe("cpuid\nmov ecx, IA32_EFER\nrdmsr", on=cpu, rax=0x5A000020)
        asked = [int(line.split()[0], 16) for line in target.trace(cpu, 16)]
        assert codes["cpuid"] in asked, f"CPU {cpu}: no CPUID among the reasons {asked}"
        assert codes["rdmsr"] in asked, f"CPU {cpu}: no RDMSR among the reasons {asked}"


def clock(probe):
    (result,) = probe("rdtsc", on=0)
    return result.registers["rdx"] << 32 | result.registers["rax"]


@pytest.mark.touchstone(
    id="broadcast.load.query-ticks",
    title="The time of a hypercall, if the hypervisor says it, is not longer than the question took",
    requires="os == bare",
    cite=PROTOCOL_QUERY,
    proves=["load-every-cpu"],
)
def test_query_ticks(target, probe):
    before = clock(probe)
    said = target.query().get("hypercall-ticks")
    after = clock(probe)
    if said is None:
        pytest.skip("the subject does not say how long a hypercall takes")
    assert 0 < int(said) < after - before, f"{said} of {after - before} ticks"


@pytest.mark.touchstone(
    id="broadcast.exits.questions-not-counted",
    title="Asking the hypervisor for its state and its trace is neither counted nor in the trace",
    level="should",
    requires="os == bare and subject.counters and subject.trace and subject.few-exits",
    cite=[
        {
            "doc": "touchstone-design",
            "title": "Words in code and commits",
            "says": "Control hypercalls are not counted as exits.",
        }
    ],
    proves=["exits-control-uncounted"],
)
def test_questions_not_counted(target, probe):
    probe("cpuid\ncpuid\ncpuid\ncpuid", on="every-cpu")

    def hypercalls():
        return [target.exits(cpu).get("hypercall", 0) for cpu in range(target.cpus)]

    before = hypercalls()
    control = target.query().get("control")
    traces = [target.trace(cpu, 4) for cpu in range(target.cpus)]
    assert hypercalls() == before
    # Where control hypercalls come from, if the subject says it.
    asked = [line for trace in traces for line in trace if control and f"rip=0x{control}" in line]
    assert not asked, f"control hypercalls in the trace: {asked}"


@pytest.mark.touchstone(
    id="broadcast.exits.trace-of-few",
    title="The trace of a CPU begins with its first exit since loading",
    phase="unloaded",
    requires="os == bare and subject.counters and subject.trace",
    cite=TRACE,
    proves=["exits-trace"],
)
def test_trace_of_few(target):
    target.load()
    for cpu in range(target.cpus):
        before = sum(target.exits(cpu).values())
        trace = target.trace(cpu, MOST_TRACED)
        after = sum(target.exits(cpu).values())
        assert min(before, MOST_TRACED) <= len(trace) <= min(after, MOST_TRACED), (
            f"CPU {cpu} has had {before} to {after} exits, and the trace has {len(trace)}: {trace}"
        )
    target.unload()


@pytest.mark.touchstone(
    id="broadcast.load.unknown-option",
    title="Loading with an option that does not exist is refused, and takes no CPU",
    level="should",
    phase="unloaded",
    requires="os == bare and way == bare and subject.refuses.option != false",
    cite={
        "doc": "touchstone-protocol",
        "title": "subject do=...: the hypervisor under test",
        "says": "do=load [opt=WORD]: ok when every CPU is virtualised; else err code=EBUSY text=reason, "
        "and no CPU is",
    },
    proves=["refuse-loaded"],
)
def test_unknown_option(target, subject, virtualized):
    with pytest.raises(AgentRefused) as refusal:
        target.load("no-such-option")
    assert refusal.value.code == subject.claims.get("refuses.option")
    assert refusal.value.text, "a refusal says why"
    assert virtualized() == []
    assert target.query().get("loaded") == "0"


@pytest.mark.touchstone(
    id="broadcast.load.again",
    title="After unloading, loading takes every CPU again",
    phase="unloaded",
    cite={"doc": "touchstone-design", "title": "Veneer", "says": "Load and unload as often as asked."},
    proves=["load-again"],
)
def test_again(target, virtualized, cycles):
    assert virtualized() == []
    for step in cycles(2):
        assert target.query().get("cpus") == str(target.cpus if step.loaded else 0), str(step)
