"""Loading and unloading, again and again."""

import re

import pytest

from touchstone.machine.driver import AgentRefused

AS_OFTEN = {
    "doc": "touchstone-design",
    "title": "Veneer",
    "says": "Load and unload as often as asked in one boot.",
}
PROTOCOL = {
    "doc": "touchstone-protocol",
    "title": "subject do=...: the hypervisor under test",
    "says": "do=unload: ok. A refusal (err) could not be carried out and changed nothing.",
}
CYCLES = 20

pytestmark = pytest.mark.touchstone(area="teardown", phase="unloaded")


@pytest.mark.touchstone(
    id="teardown.cycle.twenty",
    title="Twenty times loaded and unloaded, every CPU is what it was after each of them",
    cite=AS_OFTEN,
    proves=["load-again"],
)
def test_twenty(target, cycles, state, same_state):
    before = state()
    for step in cycles(CYCLES):
        if not step.loaded:
            same_state(before, step)


@pytest.mark.touchstone(
    id="teardown.cycle.memory",
    title="Every page that loading takes comes back with unloading",
    # Under Linux other programs allocate and free memory meanwhile.
    requires="os == bare",
    cite=AS_OFTEN,
    proves=["unload-memory"],
)
def test_memory(target, subject, cycles):
    def free():
        status = target.query()
        if "free-pages" not in status:
            assert not subject.claims.get("query.free-pages"), "claimed, and not said: free-pages"
            pytest.skip("the subject does not say how much memory is free (free-pages)")
        said = status["free-pages"]
        assert re.fullmatch("[0-9]{1,18}", said), f"the subject says that {said:.100} pages are free"
        return int(said)

    before = free()
    for step in cycles(3):
        if step.loaded:
            assert free() < before, f"{step}: no memory was taken, so free-pages measures nothing"
        else:
            assert free() == before, f"{step}: {before - free()} pages did not come back"


@pytest.mark.touchstone(
    id="teardown.cycle.counters",
    title="Exit counters begin anew with every loading",
    requires="subject.counters",
    cite={
        "doc": "touchstone-protocol",
        "title": "subject do=...: the hypervisor under test",
        "says": "do=exits: exit counters of CPU K since loading",
    },
    proves=["unload-counters"],
)
def test_counters(target, probe, cycles):
    # Programs of a running OS add some dozens of CPUIDs each; all of them together stay below this number.
    made = 200 if target.info.os == "bare" else 4000
    loop = f"mov r12d, {made}\n1: xor eax, eax\ncpuid\ndec r12d\njnz 1b"
    for step in cycles(2):
        if step.loaded:
            probe(loop, on="every-cpu")
            counts = [target.exits(cpu).get("cpuid", 0) for cpu in range(target.cpus)]
            assert all(made <= count < 2 * made for count in counts), (
                f"{step}, and {made} CPUIDs on each CPU: {counts}"
            )


@pytest.mark.touchstone(
    id="teardown.unload.not-loaded",
    title="Unloading what is not loaded is refused, and changes nothing",
    cite=PROTOCOL,
    proves=["refuse-loaded"],
)
def test_not_loaded(target, state, virtualized):
    assert target.query().get("loaded") == "0"
    before = state()
    for _ in range(2):
        with pytest.raises(AgentRefused) as refusal:
            target.unload()
        assert refusal.value.text, "a refusal says why"
    assert state() == before
    target.load()
    assert virtualized() == list(range(target.cpus)), "loading afterwards does not take every CPU"


@pytest.mark.touchstone(
    id="teardown.unload.none-lost",
    title="Before it is unloaded, the hypervisor still has every CPU, whatever the checks before did to it",
    phase="loaded",
    cite={
        "doc": "touchstone-design",
        "title": "Veneer",
        "says": "all commit, or all roll back … after the commit each CPU proves that it is in guest mode",
    },
    proves=["load-every-cpu"],
)
def test_none_lost(target, virtualized):
    lost = sorted(set(range(target.cpus)) - set(virtualized()))
    assert lost == [], f"not in guest mode any more: CPU {', '.join(map(str, lost))}"


@pytest.mark.touchstone(
    id="teardown.unload.all-cpus",
    title="Unloading frees every CPU, and the hypervisor says that it has none",
    phase="loaded",
    requires="subject.unloadable",
    cite={
        "doc": "touchstone-design",
        "title": "Touchstone: the house",
        "says": "slipped underneath a running system on every processor and taken out again",
    },
    proves=["unload-every-cpu"],
)
def test_all_cpus(target, virtualized):
    assert virtualized() == list(range(target.cpus))
    target.unload()
    status = target.query()
    assert (status.get("loaded"), status.get("cpus")) == ("0", "0"), (
        f"the subject says of itself: {dict(status)}"
    )
    assert virtualized() == []


@pytest.mark.touchstone(
    id="teardown.cycle.tsc",
    title="No CPU's time goes backwards or falls behind another one's, neither through loading nor "
    "through unloading",
    cite=[
        {
            "doc": "intel-sdm",
            "title": "Time-Stamp Counter",
            "says": "The RDTSC instruction reads the time-stamp counter and is guaranteed to return a "
            "monotonically increasing unique value whenever executed, except for a 64-bit counter "
            "wraparound.",
        },
        {
            "doc": "amd-apm",
            "title": "Time-Stamp Counter",
            "says": "The time-stamp counter (TSC) is used to count processor-clock cycles; it is "
            "incremented every cycle.",
        },
    ],
    proves=["load-keeps-time", "unload-keeps-time"],
)
def test_tsc(target, probe, cycles):
    def now():
        results = probe("rdtsc", on="every-cpu")
        return [result.registers["rdx"] << 32 | result.registers["rax"] for result in results]

    # The CPUs are asked one after the other: each is ahead of the last, if their counters agree.
    rounds = [now() for _ in range(3)]
    asked = [value for values in rounds for value in values]
    agree = asked == sorted(asked)
    last = rounds[-1]
    for step in cycles(3):
        for _ in range(3):
            here = now()
            for cpu, (old, new) in enumerate(zip(last, here, strict=True)):
                assert new > old, f"{step}: the TSC of CPU {cpu} went from {old} to {new}"
            assert not agree or here == sorted(here), (
                f"{step}: the TSCs of the CPUs, asked in their order: {here}"
            )
            last = here
