"""A running OS does not notice that a hypervisor comes and goes: work checks itself, one kind per check."""

import pytest

CYCLES = 10
DESIGN = {
    "doc": "touchstone-design",
    "title": "Touchstone: the house",
    "says": "slipped underneath a running system on every processor and taken out again",
}


@pytest.fixture
def notices_nothing(target, state, virtualized, complaints):
    """Load and unload again and again while workers of a kind go round on every CPU."""

    def judge(kind):
        with target.work(kind) as work:
            before = state()
            for cycle in range(1, CYCLES + 1):
                target.load()
                assert virtualized() == list(range(target.cpus)), f"cycle {cycle}: not every CPU was taken"
                work.proceed(2 if cycle == 1 else 1)
                target.unload()
                assert virtualized() == [], f"cycle {cycle}: these CPUs still answer as virtualized"
                work.proceed()
                for cpu, (old, new) in enumerate(zip(before, state(), strict=True)):
                    assert new == old, f"cycle {cycle}: CPU {cpu} is not what it was"
        assert complaints() == []

    return judge


@pytest.mark.touchstone(
    id="teardown.live.processes",
    title="Processes are forked, scheduled and waited for while the hypervisor comes and goes",
    area="teardown",
    phase="unloaded",
    requires="os == linux",
    cite=[
        DESIGN,
        {
            "doc": "intel-sdm",
            "title": "Loading Guest Control Registers, Debug Registers, and MSRs",
            "says": "CR0, CR3 and CR4 are loaded from the guest-state area.",
        },
    ],
    proves=["live-os", "loading-transparent", "unloading-transparent", "every-cpu"],
)
def test_processes(target, notices_nothing):
    notices_nothing("processes")


@pytest.mark.touchstone(
    id="teardown.live.faults",
    title="Page faults tell where and why, and pages keep their content, while the hypervisor comes and goes",
    area="teardown",
    phase="unloaded",
    requires="os == linux",
    cite=[
        DESIGN,
        {
            "doc": "intel-sdm",
            "title": "Interrupt 14—Page-Fault Exception (#PF)",
            "says": "The processor loads the CR2 register with the linear address that generated the "
            "exception.",
        },
    ],
    proves=["live-os", "page-fault-fidelity", "memory-transparent", "unloading-transparent"],
)
def test_faults(target, notices_nothing):
    notices_nothing("faults")


@pytest.mark.touchstone(
    id="teardown.live.timers",
    title="No timer's expiry gets lost or comes early while the hypervisor comes and goes",
    area="teardown",
    phase="unloaded",
    requires="os == linux",
    cite=[
        DESIGN,
        {
            "doc": "amd-apm",
            "title": "Interrupt Masking in EFLAGS.IF and GIF",
            "says": "Interrupts that arrive while GIF is 0 are held pending until GIF is set to 1.",
        },
    ],
    proves=["live-os", "time", "unloading-transparent"],
)
def test_timers(target, notices_nothing):
    notices_nothing("timers")


@pytest.mark.touchstone(
    id="teardown.live.perf",
    title="A performance counter's NMIs are each taken while the hypervisor comes and goes",
    area="teardown",
    phase="unloaded",
    requires="os == linux",
    cite=[
        DESIGN,
        {
            "doc": "intel-sdm",
            "title": "Nonmaskable Interrupt (NMI)",
            "says": "When the processor receives a NMI, it handles it immediately by calling the NMI handler "
            "pointed to by interrupt vector number 2; no other interrupts, including NMIs, are received "
            "until the handler has completed.",
        },
    ],
    proves=["live-os", "nmi-exact", "unloading-transparent"],
)
def test_perf(target, notices_nothing):
    notices_nothing("perf")


@pytest.mark.touchstone(
    id="teardown.live.ptrace",
    title="A debugger's breakpoint and single steps are each taken while the hypervisor comes and goes",
    area="teardown",
    phase="unloaded",
    requires="os == linux",
    cite=[
        DESIGN,
        {
            "doc": "intel-sdm",
            "title": "Single-Step Exception Condition",
            "says": "The exception is a trap-class exception, because the exception is generated after the "
            "instruction is executed.",
        },
    ],
    proves=["live-os", "single-step", "debug-registers", "unloading-transparent"],
)
def test_ptrace(target, notices_nothing):
    notices_nothing("ptrace")


@pytest.mark.touchstone(
    id="teardown.live.signals",
    title="Signals and exceptions reach the process that they are for while the hypervisor comes and goes",
    area="teardown",
    phase="unloaded",
    requires="os == linux",
    cite=[
        DESIGN,
        {
            "doc": "amd-apm",
            "title": "Exceptions and Interrupts",
            "says": "Faults are reported on the boundary before the interrupted instruction, traps on the "
            "one after it.",
        },
    ],
    proves=["live-os", "exception-fidelity", "unloading-transparent"],
)
def test_signals(target, notices_nothing):
    notices_nothing("signals")


@pytest.mark.touchstone(
    id="teardown.live.vdso",
    title="The vDSO tells the kernel's time and the right CPU while the hypervisor comes and goes",
    area="teardown",
    phase="unloaded",
    requires="os == linux",
    cite=[
        DESIGN,
        {
            "doc": "intel-sdm",
            "title": "Time-Stamp Counter",
            "says": "The RDTSC instruction reads the time-stamp counter and is guaranteed to return a "
            "monotonically increasing unique value whenever executed, except for a 64-bit counter "
            "wraparound.",
        },
    ],
    proves=["live-os", "time", "unloading-transparent"],
)
def test_vdso(target, notices_nothing):
    notices_nothing("vdso")


@pytest.mark.touchstone(
    id="teardown.live.fpu",
    title="Every register of the FPU, SSE and AVX keeps its value while the hypervisor comes and goes",
    area="teardown",
    phase="unloaded",
    requires="os == linux",
    cite=[
        DESIGN,
        {
            "doc": "amd-apm",
            "title": "#VMEXIT",
            "says": "The VMM saves and restores the guest state that VMRUN and #VMEXIT do not.",
        },
    ],
    proves=["live-os", "exit-keeps-state", "unloading-transparent"],
)
def test_fpu(target, notices_nothing):
    notices_nothing("fpu")


@pytest.mark.touchstone(
    id="teardown.live.kvm",
    title="After unloading, Linux' own hypervisor runs a guest on every CPU",
    area="teardown",
    phase="unloaded",
    requires="os == linux",
    claims=False,
    cite=[
        DESIGN,
        {
            "doc": "intel-sdm",
            "title": "VMXOFF—Leave VMX Operation",
            "says": "Takes the logical processor out of VMX operation.",
        },
        {
            "doc": "amd-apm",
            "title": "Basic Operation",
            "says": "VMRUN saves some host processor state information in the host state-save area, loads "
            "guest state from the VMCB and enters the guest; the guest runs until an intercept causes "
            "#VMEXIT.",
        },
    ],
    proves=["hardware-released", "live-os"],
)
def test_kvm(target, complaints):
    tried = target.try_kvm()
    if tried["insert"] == "none":
        pytest.skip(f"{target.name} has no KVM for its CPUs")
    assert (tried.get("open"), tried.get("vm"), tried.get("run")) == ("ok", "ok", "ok"), dict(tried)
    assert tried["cpus"] == str(target.cpus), f"the guest ran on {tried['cpus']} of {target.cpus} CPUs"
    assert complaints() == []
