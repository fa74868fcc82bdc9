"""Loading under a running Linux with work on every CPU, and with KVM at hand."""

import pytest

DESIGN = {
    "doc": "touchstone-design",
    "title": "Touchstone: the house",
    "says": "slipped underneath a running system on every processor and taken out again",
}
ROUNDS = 3


@pytest.mark.touchstone(
    id="broadcast.live.all-work",
    title="Work of all kinds goes on, on every CPU, when the hypervisor is loaded under it",
    area="broadcast",
    phase="unloaded",
    requires="os == linux",
    cite=DESIGN,
    proves=["load-live-os"],
)
def test_all_work(target, subject, virtualized, complaints):
    with target.work() as work:
        target.load()
        for _ in range(ROUNDS):
            work.proceed()
            assert virtualized() == list(range(target.cpus)), "not every CPU is taken"
        for cpu in range(target.cpus) if subject.claims.get("counters") else ():
            assert sum(target.exits(cpu).values()) > 0, f"CPU {cpu} never came to the hypervisor"
    assert complaints() == []


@pytest.mark.touchstone(
    id="broadcast.live.kvm-refused",
    title="While the hypervisor is loaded, Linux' own one is refused, and neither of them is harmed",
    area="broadcast",
    phase="loaded",
    requires="os == linux",
    cite=[
        DESIGN,
        {
            "doc": "touchstone-design",
            "title": "Veneer",
            "says": "CPUID, VMX/SVM MSRs, FEATURE_CONTROL / VM_CR, EFER.SVME, CR4.VMXE and the instructions "
            "all tell the same story",
        },
    ],
    proves=["refuse-other-hypervisor"],
)
def test_kvm_refused(target, virtualized, complaints):
    tried = target.try_kvm()
    assert tried.get("vm") != "ok", f"KVM has a virtual machine: {dict(tried)}"
    if tried["insert"] == "none":
        pytest.skip(f"{target.name} has no KVM for its CPUs")
    assert virtualized() == list(range(target.cpus)), "trying KVM took CPUs from the hypervisor"
    with target.work("processes", "fpu") as work:
        work.proceed()
    assert complaints() == []
