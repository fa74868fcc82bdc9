"""CPUID, MSRs, control bits and instructions agree on whether there is VMX or SVM."""

import pytest

UD, GP = 6, 13
SVM_BIT, SVME, SVMDIS = 1 << 2, 1 << 12, 1 << 4
VMX_BIT, LOCK, VMX_ON = 1 << 5, 1 << 0, 1 << 2

NUMBERS = (0x56656E01, 0x56656E02, 0x56656E03, 0x56656E04)
"""Veneer's own hypercalls: prove, unload, counters, trace."""


def low(result, name):
    return result.registers[name] & 0xFFFFFFFF


def svm_witnesses(probe, cpu):
    """What each witness says on a CPU: True if it says that SVM can be used."""
    run = lambda text, **registers: probe(text, on=cpu, **registers)[0]  # noqa: E731
    feature = run("cpuid", rax=0x80000001)
    revision = run("cpuid", rax=0x8000000A)
    vm_cr = run("rdmsr", rcx=0xC0010114)
    efer = run("rdmsr\nbts eax, 12\nwrmsr\nrdmsr", rcx=0xC0000080)
    hsave = run("rdmsr", rcx=0xC0010117)
    # With EFER.SVME set, CLGI and STGI need no other state, and STGI undoes CLGI.
    instructions = run("rdmsr\nbts eax, 12\nwrmsr\nclgi\nstgi", rcx=0xC0000080)
    # Not every processor has VM_CR.
    switch = {} if vm_cr.vector == GP else {"VM_CR.SVMDIS": not low(vm_cr, "rax") & SVMDIS}
    return switch | {
        "CPUID 8000_0001 ECX.SVM": bool(low(feature, "rcx") & SVM_BIT),
        "CPUID 8000_000A": bool(low(revision, "rax")),
        "EFER.SVME": efer.vector is None and bool(low(efer, "rax") & SVME),
        "VM_HSAVE_PA": hsave.vector is None,
        "CLGI and STGI": instructions.vector is None,
    }


def vmx_witnesses(probe, cpu):
    """What each witness says on a CPU: True if it says that VMX can be used, or could be."""
    run = lambda text, **registers: probe(text, on=cpu, **registers)[0]  # noqa: E731
    feature = run("cpuid", rax=1)
    control = run("rdmsr", rcx=0x3A)
    basic = run("rdmsr", rcx=0x480)
    cr4 = run("mov rax, cr4\nbts rax, 13\nmov cr4, rax\nmov rax, cr4")
    # With VMXE set, where that works, VMXON of address 1 is #GP or VMfailInvalid, but never #UD.
    vmxon = run("mov rax, cr4\nbts rax, 13\nmov cr4, rax\npush 1\nvmxon [rsp]")
    switched = low(control, "rax")
    return {
        "CPUID.1:ECX.VMX": bool(low(feature, "rcx") & VMX_BIT),
        "FEATURE_CONTROL": control.vector is None and (not switched & LOCK or bool(switched & VMX_ON)),
        "IA32_VMX_BASIC": basic.vector is None,
        "CR4.VMXE": cr4.vector is None and bool(cr4.registers["rax"] & 1 << 13),
        "VMXON": cr4.vector is None and vmxon.vector != UD,
    }


@pytest.mark.touchstone(
    id="nested.story.witnesses-agree",
    title="CPUID, MSRs, control bits and instructions agree on whether there is virtualization, on every CPU",
    area="nested",
    level="must",
    claims=False,
    requires="cpuid.svm or cpuid.vmx",
    proves=["nested-one-story"],
    cite=[
        {
            "doc": "intel-sdm",
            "title": "Enabling and Entering VMX Operation",
            "says": "Before system software can enter VMX operation, it enables VMX by setting "
            "CR4.VMXE[bit 13] = 1.",
        },
        {
            "doc": "amd-apm",
            "title": "Enabling SVM",
            "says": "Before enabling SVM, software should detect whether SVM can be enabled: CPUID "
            "Fn8000_0001_ECX[SVM], VM_CR.SVMDIS, CPUID Fn8000_000A_EDX[SVML].",
        },
    ],
)
def test_witnesses_agree(target, probe):
    witnesses = svm_witnesses if target.vendor == "amd" else vmx_witnesses
    for cpu in range(target.cpus):
        said = witnesses(probe, cpu)
        table = "\n".join(f"  {name:26} {'usable' if says else 'hidden'}" for name, says in said.items())
        assert len(set(said.values())) == 1, f"CPU {cpu}: the witnesses contradict each other:\n{table}"


@pytest.mark.touchstone(
    id="nested.story.hidden-on-every-cpu",
    title="Every witness says that there is no virtualization, on every CPU",
    area="nested",
    level="must",
    requires="subject.nested == hidden and (cpuid.svm or cpuid.vmx)",
    proves=["nested-hidden"],
    cite={
        "doc": "touchstone-design",
        "title": "Veneer",
        "says": "CPUID, VMX/SVM MSRs, FEATURE_CONTROL / VM_CR, EFER.SVME, CR4.VMXE and the instructions "
        "all tell the same story",
    },
)
def test_hidden_on_every_cpu(target, probe):
    witnesses = svm_witnesses if target.vendor == "amd" else vmx_witnesses
    seen = {cpu: [name for name, says in witnesses(probe, cpu).items() if says] for cpu in range(target.cpus)}
    assert not any(seen.values()), f"these give it away, by CPU: {seen}"


@pytest.mark.touchstone(
    id="nested.hypercall.survives-strangers",
    title="Strangers at the hypercall leave the hypervisor loaded on every CPU",
    area="nested",
    requires="subject.control-closed",
    level="must",
    proves=["door-closed", "door-cpl"],
    cite={
        "doc": "touchstone-design",
        "title": "Veneer",
        "says": "Control is a hypercall that only CPL 0 may use, from where it is expected; anybody else "
        "gets #UD, as on a machine without it.",
    },
)
def test_survives_strangers(target, probe):
    call = "vmmcall" if target.vendor == "amd" else "vmcall"
    for number in NUMBERS:
        for cpl in (0, 3):
            for result in probe(call, on="every-cpu", cpl=cpl, rax=number):
                assert result.vector == UD, (
                    f"CPU {result.cpu}, CPL {cpl}: {call.upper()} with RAX = {number:#x} ended with "
                    f"vector {result.vector}, not with #UD"
                )
    status = target.query()
    assert status.get("loaded") == "1", f"the subject says of itself: {dict(status)}"
    assert status.get("cpus") == str(target.cpus), (
        f"{status.get('cpus')} of {target.cpus} CPUs are in guest mode"
    )
