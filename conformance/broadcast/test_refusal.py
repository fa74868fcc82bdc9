"""Loading is refused, and rolled back on all CPUs, if one CPU cannot be virtualized."""

import re

import pytest

from touchstone.machine.driver import AgentRefused
from touchstone.machine.probe import Operand

EFER, SVME = 0xC0000080, 1 << 12
VM_HSAVE_PA = 0xC0010117
VM_CR, SVMDIS = 0xC0010114, 1 << 4
FEATURE_CONTROL, LOCK, VMX_ON = 0x3A, 1 << 0, 1 << 2
VMX_BASIC = 0x480
CR4_VMXE = 1 << 13

WRMSR_RET = bytes.fromhex("0f30c3")

ROLL_BACK = {
    "doc": "touchstone-design",
    "title": "Veneer",
    "says": "The broadcast is a rendezvous: every CPU prepares, and reports; all commit, or all roll back "
    "and the caller gets one error, the same for every CPU",
}


def read_msr(probe, cpu, msr):
    (result,) = probe("rdmsr", on=cpu, rcx=msr)
    assert result.vector is None, f"CPU {cpu}: RDMSR of {msr:#x} ended with vector {result.vector}"
    return result.registers["rdx"] << 32 | result.registers["rax"]


def write_msr(probe, cpu, msr, value):
    """Write an MSR so that it stays: from the scratch area, as the agent puts EFER back after a WRMSR."""
    (result,) = probe(
        "call rdi",
        on=cpu,
        rdi=Operand("scratch"),
        memory=((0, WRMSR_RET),),
        rcx=msr,
        rax=value & 0xFFFFFFFF,
        rdx=value >> 32,
    )
    if result.vector == 14:
        pytest.skip("the scratch area's code cannot be run here, so no state can be left behind")
    assert result.vector is None, (
        f"CPU {cpu}: WRMSR of {value:#x} to {msr:#x} ended with vector {result.vector}"
    )


def refused(target, subject, state, same_state, virtualized, claim, cpu, value=None):
    """Load, which must be refused with the claimed error, because of this CPU, and leave every CPU alone.

    ``value``: of the register that forbids it, which a refusal that names one must have.
    """
    before, free = state(), target.query().get("free-pages")
    with pytest.raises(AgentRefused) as refusal:
        target.load()
    code = subject.claims.get(claim)
    assert refusal.value.code == code, f"refused with {refusal.value}, not with {code}"
    assert refusal.value.text, "a refusal says why"
    if named := re.search(r"\bCPU (\d+)\b", refusal.value.text):
        assert int(named[1]) == cpu, f"CPU {cpu} is why, and the refusal says: {refusal.value.text}"
    named = re.search(r"\bCPU \d+, value (?:0x)?([0-9a-f]+)", refusal.value.text)
    assert named or not subject.claims.get("refuses.says-where"), (
        f"claimed, and no CPU with a value: {refusal.value.text}"
    )
    if named and value is not None:
        assert int(named[1], 16) == value, f"it is {value:#x}, and the refusal says: {refusal.value.text}"
    same_state(before, "after the refusal")
    assert virtualized() == []
    status = target.query()
    assert (status.get("loaded"), status.get("cpus")) == ("0", "0"), (
        f"the subject says of itself: {dict(status)}"
    )
    assert status.get("free-pages") == free, "the refused loading has kept memory"


def take_svm(probe, cpu):
    write_msr(probe, cpu, EFER, read_msr(probe, cpu, EFER) | SVME)
    if not read_msr(probe, cpu, EFER) & SVME:
        pytest.skip("the agent does not let EFER.SVME stay set after a probe")


def take_vmx(probe, cpu, physical):
    """Enter VMX operation, and stay there."""
    control = read_msr(probe, cpu, FEATURE_CONTROL)
    if not control & LOCK:
        write_msr(probe, cpu, FEATURE_CONTROL, control | LOCK | VMX_ON)
    elif not control & VMX_ON:
        pytest.skip("firmware has switched VMX off in FEATURE_CONTROL")
    revision = read_msr(probe, cpu, VMX_BASIC) & 0x7FFFFFFF
    (result,) = probe(
        """
        mov rax, cr4
        bts rax, 13
        mov cr4, rax
        mov [rsp + 8], rsi
        vmxon [rsp + 8]
        """,
        on=cpu,
        rsi=physical(cpu),
        memory=((0, revision.to_bytes(4, "little")),),
    )
    assert result.vector is None, f"CPU {cpu}: VMXON ended with vector {result.vector}"
    assert not result.rflags & 0x41, f"CPU {cpu}: VMXON failed, RFLAGS {result.rflags:#x}"
    (result,) = probe("mov rax, cr4", on=cpu)
    if not result.registers["rax"] & CR4_VMXE:
        pytest.skip("the agent does not let CR4.VMXE stay set after a probe")


@pytest.fixture
def clean(target):
    """Reset the machine after a check that ends half-way: nothing could be loaded any more."""
    done = []
    yield done
    if not done:
        target.reset()


@pytest.mark.touchstone(
    id="broadcast.load.in-use-on-one-cpu",
    title="If one CPU's virtualization hardware is in use, loading is refused as the subject says, for that "
    "CPU, and every CPU is left alone",
    area="broadcast",
    phase="native",
    requires="os == bare and (cpuid.svm or cpuid.vmx) and subject.refuses.in-use != false",
    cite=[
        ROLL_BACK,
        {
            "doc": "amd-apm",
            "title": "Extended Feature Enable Register (EFER)",
            "says": "Secure Virtual Machine Enable (SVME) Bit. Bit 12. Enables the SVM extensions.",
        },
        {
            "doc": "intel-sdm",
            "title": "Enabling and Entering VMX Operation",
            "says": "Before system software can enter VMX operation, it enables VMX by setting "
            "CR4.VMXE[bit 13] = 1.",
        },
    ],
    proves=["refuse-in-use", "refuse-rolls-back", "refuse-then-load"],
)
def test_in_use(target, subject, probe, state, same_state, virtualized, cycles, physical, clean):
    # Of four CPUs each refuses in turn: who waits for one too few misses the one that comes last.
    for cpu in sorted({0, 1, target.cpus // 2, target.cpus - 1}):
        if target.vendor == "amd":
            take_svm(probe, cpu)
            efer = read_msr(probe, cpu, EFER)
            saved = [read_msr(probe, other, VM_HSAVE_PA) for other in range(target.cpus)]
            refused(target, subject, state, same_state, virtualized, "refuses.in-use", cpu, efer)
            assert [read_msr(probe, other, VM_HSAVE_PA) for other in range(target.cpus)] == saved, (
                "a CPU's VM_HSAVE_PA is not what it was"
            )
            assert read_msr(probe, cpu, EFER) & SVME, f"CPU {cpu}: somebody else's EFER.SVME was cleared"
            write_msr(probe, cpu, EFER, read_msr(probe, cpu, EFER) & ~SVME)
        else:
            take_vmx(probe, cpu, physical)
            cr4 = probe("mov rax, cr4", on=cpu)[0].registers["rax"]
            refused(target, subject, state, same_state, virtualized, "refuses.in-use", cpu, cr4)
            (result,) = probe("vmxoff", on=cpu)
            assert result.vector is None, f"CPU {cpu}: somebody else's VMX operation was ended"
            target.reset()  # CR4.VMXE stays set: every probe ends with the CR4 that it began with
        for _ in cycles(1):
            pass
    clean.append(True)


@pytest.mark.touchstone(
    id="broadcast.load.switched-off-on-one-cpu",
    title="If firmware has switched virtualization off on one CPU, loading is refused as the subject says, "
    "for that CPU, and every CPU is left alone",
    area="broadcast",
    phase="native",
    requires="os == bare and (cpuid.svm or cpuid.vmx) and subject.refuses.switched-off != false",
    cite=[
        ROLL_BACK,
        {
            "doc": "intel-sdm",
            "title": "Enabling and Entering VMX Operation",
            "says": "If this bit is clear, execution of VMXON outside SMX operation causes a "
            "general-protection exception.",
        },
        {
            "doc": "amd-apm",
            "title": "VM_CR MSR (C001_0114h)",
            "says": "SVMDIS: when this bit is set, writes to EFER treat the SVME bit as MBZ.",
        },
    ],
    proves=["refuse-switched-off-intel", "refuse-switched-off-amd", "refuse-rolls-back", "refuse-then-load"],
)
def test_switched_off(target, subject, probe, state, same_state, virtualized, cycles, clean):
    msr, off = (VM_CR, SVMDIS) if target.vendor == "amd" else (FEATURE_CONTROL, LOCK)
    if probe("rdmsr", rcx=msr)[0].vector is not None:
        pytest.skip(f"the machine has no MSR {msr:#x} to switch virtualization off with")
    for cpu in sorted({0, target.cpus - 1}):
        value = read_msr(probe, cpu, msr)
        if target.vendor == "intel" and value & LOCK:
            pytest.skip("firmware has locked FEATURE_CONTROL")
        write_msr(probe, cpu, msr, value & ~VMX_ON | off if target.vendor == "intel" else value | off)
        if read_msr(probe, cpu, msr) == value:
            pytest.skip(f"MSR {msr:#x} does not keep what is written to it")
        refused(target, subject, state, same_state, virtualized, "refuses.switched-off", cpu)
        target.reset()  # what is locked stays locked until then
        for _ in cycles(1):
            pass
        target.reset()
    clean.append(True)
