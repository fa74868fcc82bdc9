"""Work on a running Linux goes on, and checks its own results, while the subject comes and goes."""

import pytest

CYCLES = 10
DESIGN = {
    "doc": "touchstone-design",
    "title": "Touchstone: the house",
    "says": "slipped underneath a running system on every processor and taken out again",
}


def kind(name, title, proves, cite):
    """One kind of work (``work`` in PROTOCOL.md), and the check that it is."""
    mark = pytest.mark.touchstone(id=f"teardown.live.{name}", title=title, proves=proves, cite=[DESIGN, cite])
    return pytest.param(name, marks=mark)


KINDS = [
    kind(
        "processes",
        "Processes are forked, scheduled and waited for while the hypervisor comes and goes",
        ["unload-live-os", "load-live-os"],
        {
            "doc": "intel-sdm",
            "title": "Loading Guest Control Registers, Debug Registers, and MSRs",
            "says": "CR0, CR3 and CR4 are loaded from the guest-state area.",
        },
    ),
    kind(
        "faults",
        "Page faults tell where and why, and pages keep their content, while the hypervisor comes and goes",
        ["unload-live-os", "page-error-code", "page-cr2"],
        {
            "doc": "intel-sdm",
            "title": "Interrupt 14—Page-Fault Exception (#PF)",
            "says": "The processor loads the CR2 register with the linear address that generated the "
            "exception.",
        },
    ),
    kind(
        "timers",
        "No timer's expiry gets lost or comes early while the hypervisor comes and goes",
        ["unload-live-os", "interrupt-once", "unload-gif"],
        {
            "doc": "amd-apm",
            "title": "Interrupt Masking in EFLAGS.IF and GIF",
            "says": "Interrupts that arrive while GIF is 0 are held pending until GIF is set to 1.",
        },
    ),
    kind(
        "perf",
        "A performance counter's NMIs are each taken while the hypervisor comes and goes",
        ["unload-live-os", "counters-work", "unload-keeps-nmi"],
        {
            "doc": "intel-sdm",
            "title": "Nonmaskable Interrupt (NMI)",
            "says": "When the processor receives a NMI, it handles it immediately by calling the NMI handler "
            "pointed to by interrupt vector number 2; no other interrupts, including NMIs, are received "
            "until the handler has completed.",
        },
    ),
    kind(
        "ptrace",
        "A debugger's breakpoint and single steps are each taken while the hypervisor comes and goes",
        ["unload-live-os", "step-one-trap", "debug-instruction-breakpoint"],
        {
            "doc": "intel-sdm",
            "title": "Single-Step Exception Condition",
            "says": "The exception is a trap-class exception, because the exception is generated after the "
            "instruction is executed.",
        },
    ),
    kind(
        "signals",
        "Signals and exceptions reach the process that they are for while the hypervisor comes and goes",
        ["unload-live-os", "fault-error-code"],
        {
            "doc": "amd-apm",
            "title": "Exceptions and Interrupts",
            "says": "Faults are reported on the boundary before the interrupted instruction, traps on the "
            "one after it.",
        },
    ),
    kind(
        "vdso",
        "The vDSO tells the kernel's time and the right CPU while the hypervisor comes and goes",
        ["unload-live-os", "time-forward"],
        {
            "doc": "intel-sdm",
            "title": "Time-Stamp Counter",
            "says": "The RDTSC instruction reads the time-stamp counter and is guaranteed to return a "
            "monotonically increasing unique value whenever executed, except for a 64-bit counter "
            "wraparound.",
        },
    ),
    kind(
        "fpu",
        "Every register of the FPU, SSE and AVX keeps its value while the hypervisor comes and goes",
        ["unload-live-os", "load-keeps-vectors", "unload-keeps-vectors"],
        {
            "doc": "amd-apm",
            "title": "#VMEXIT",
            "says": "The VMM saves and restores the guest state that VMRUN and #VMEXIT do not.",
        },
    ),
]


@pytest.mark.touchstone(area="teardown", phase="unloaded", requires="os == linux")
@pytest.mark.parametrize("kind", KINDS)
def test_work_goes_on(target, kind, cycles, state, same_state, complaints):
    with target.work(kind) as work:
        before = state()
        for step in cycles(CYCLES):
            work.proceed(2 if step.cycle == 1 and step.loaded else 1)
            if not step.loaded:
                same_state(before, step)
    assert complaints() == []


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
    proves=["unload-next-hypervisor"],
)
def test_kvm(target, complaints):
    tried = target.try_kvm()
    if tried["insert"] == "none":
        pytest.skip(f"{target.name} has no KVM for its CPUs")
    assert (tried.get("open"), tried.get("vm"), tried.get("run")) == ("ok", "ok", "ok"), dict(tried)
    assert tried["cpus"] == str(target.cpus), f"the guest ran on {tried['cpus']} of {target.cpus} CPUs"
    assert complaints() == []
