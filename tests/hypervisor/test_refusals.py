"""A failure of one CPU while VMX or SVM is being enabled: one error, a roll-back, and the next load works.

All cases are in one copy of Veneer, in which CPU 1 of three fails in the way that a variable asks for, once.
They share a machine of each vendor, which every case leaves as it has found it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.failing_machines import ASKED, FailingMachines, Vendor
from touchstone.drivers.build import build_bare
from touchstone.machine.driver import AgentRefused, Driver
from touchstone.machine.probe import ProbeRequest

HYPERVISOR = Path(__file__).parents[2] / "hypervisor"
CPUS = (0, 1, 2)
ONCE_ON_CPU_1 = f"static int met_@; if ({ASKED} == @ && host_this_cpu() == 1 && !met_@++)"
"""In front of a statement; @ stands for the number of the case."""
# mov rax, cr0; mov rbx, cr3; mov rcx, cr4; sgdt [rsp]; mov rdx, [rsp]; sidt [rsp]; mov rsi, [rsp];
# str edi; pushfq; pop r8
STATE = bytes.fromhex("0f20c0 0f20db 0f20e1 0f010424 488b1424 0f010c24 488b3424 0f00cf 9c 4158")
SHOWN = ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "r8")
SYSENTER_EIP, PAT, EFER, FEATURE_CONTROL, VM_HSAVE_PA = 0x176, 0x277, 0xC0000080, 0x3A, 0xC0010117


@dataclass(frozen=True)
class Case:
    """One fault, and what the refusal must say of it."""

    file: str
    find: str
    replace: str
    code: str
    says: str
    vendor: Vendor = "intel"


def before_launch(statement: str, says: str) -> Case:
    """The statement is executed when the VMCS has been filled."""
    find = "	result = vmx_launch(vcpu);\n"
    return Case("vmx/setup.c", find, f"	{ONCE_ON_CPU_1} {statement}\n{find}", "EIO", says)


def before_vmxon(statement: str, says: str) -> Case:
    """The statement is executed when VMXON is all that is left."""
    find = "	error = unlock_vmx(refusal);\n"
    return Case("vmx/setup.c", find, f"	{ONCE_ON_CPU_1} {statement}\n{find}", "EIO", says)


def before_vmrun(statement: str, says: str) -> Case:
    """The statement is executed when the VMCB has been filled."""
    find = "	svm->launched = false;\n"
    return Case("svm/setup.c", find, f"{find}	{ONCE_ON_CPU_1} {statement}\n", "EIO", says, "amd")


VMRUN = "VMRUN was refused; the value is the exit code; CPU 1, value ffffffffffffffff"
ENTRY = "VM entry failed; the value is the exit reason; CPU 1, value 80000021"
LAUNCH = "VMLAUNCH failed; the value is the VM-instruction error; CPU 1, value"
CASES = {
    "guest RFLAGS": before_launch("vmcs_write(VMCS_GUEST_RFLAGS, 0);", f"{ENTRY} rflags=0"),
    "guest CS": before_launch("vmcs_write(GUEST_ACCESS_RIGHTS(SEGMENT_CS), 0x93);", f"{ENTRY} cs=93"),
    "guest TR": before_launch("vmcs_write(GUEST_ACCESS_RIGHTS(SEGMENT_TR), 0x89);", f"{ENTRY} tr=89"),
    "guest CR3": before_launch("vmcs_write(VMCS_GUEST_CR3, 1ull << 60);", f"{ENTRY} cr3=1000000000000000"),
    "guest CR4": before_launch("vmcs_write(VMCS_GUEST_CR4, CR4_PAE);", f"{ENTRY} cr4=20"),
    "link pointer": before_launch("vmcs_write(VMCS_LINK_POINTER, 1);", "link-pointer=1"),
    "host CR4": before_launch("vmcs_write(VMCS_HOST_CR4, 0);", f"{LAUNCH} 8 host-cr4=0"),
    "host CS": before_launch("vmcs_write(HOST_CS_SELECTOR, 3);", f"{LAUNCH} 8 host-cs=3"),
    "controls": before_launch("vmcs_write(VMCS_PIN_CONTROLS, 0);", f"{LAUNCH} 7 pin=0"),
    "EPT pointer": before_launch("vmcs_write(VMCS_EPT_POINTER, 1);", f"{LAUNCH} 7 ept-pointer=1"),
    "field": Case(
        "vmx/setup.c",
        "	if (vmx->refused_field)\n",
        f"	{ONCE_ON_CPU_1} vmx_set(vmx, 0x7ffe, 0);\n	if (vmx->refused_field)\n",
        "EIO",
        "VMWRITE failed; the value is the encoding of the field; CPU 1, value 7ffe",
    ),
    "VMXON faults": before_vmxon("write_cr0(read_cr0() & ~CR0_NE);", "VMXON failed; CPU 1"),
    "VMXON fails": before_vmxon("*(u32 *)vmx->vmxon_region = 0;", "VMXON failed; CPU 1"),
    "firmware forgot a CPU": Case(
        "vmx/capabilities.c",
        "	feature_control = read_msr(MSR_FEATURE_CONTROL);\n",
        "	feature_control = read_msr(MSR_FEATURE_CONTROL);\n"
        f"	{ONCE_ON_CPU_1} feature_control = FEATURE_CONTROL_LOCKED;\n",
        "EPERM",
        "firmware has switched VMX off and locked the switch (IA32_FEATURE_CONTROL); CPU 1, value 1",
    ),
    "guest ASID": before_vmrun("vcpu->vmcb->asid = 0;", VMRUN),
    "guest EFER": before_vmrun("vcpu->vmcb->efer &= ~EFER_SVME;", VMRUN),
    "no intercept of VMRUN": before_vmrun("vcpu->vmcb->intercept_misc2 &= ~INTERCEPT_VMRUN;", VMRUN),
    "a CPU without EPT": Case(
        "vmx/capabilities.c",
        "	if (needed & ~found)\n",
        f"	{ONCE_ON_CPU_1} found = 0;\n	if (needed & ~found)\n",
        "ENODEV",
        "EPT lacks 4 levels, WB, 2-MiB pages or INVEPT of all contexts (IA32_VMX_EPT_VPID_CAP); CPU 1",
    ),
}


NUMBERS = {name: number for number, name in enumerate(CASES, 1)}


def broken_copy(directory: Path) -> Path:
    """Sources of a Veneer that can fail in all those ways."""
    subject = directory / "veneer"
    shutil.copytree(HYPERVISOR, subject)
    inserted: dict[tuple[str, str], tuple[list[str], list[str]]] = {}
    for name, case in CASES.items():
        before, after = case.replace.replace("@", str(NUMBERS[name])).split(case.find)
        places = inserted.setdefault((case.file, case.find), ([], []))
        places[0].append(before)
        places[1].append(after)
    files = {file: (subject / file).read_text(encoding="utf-8") for file, _ in inserted}
    for (file, find), (in_front, behind) in inserted.items():
        assert files[file].count(find) == 1, f"{file} has changed: {find!r}"
        files[file] = files[file].replace(find, "".join((*in_front, find, *behind)))
    head = f'#include "../core/host.h"\nextern volatile int {ASKED};\n'
    for number, (file, text) in enumerate(files.items()):
        variable = "" if number else f"volatile int {ASKED};\n"
        (subject / file).write_text(head + variable + text, encoding="utf-8")
    return subject


@pytest.fixture(scope="module")
def all_machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FailingMachines]:
    if shutil.which("bochs") is None:
        pytest.skip("apt-get install bochs bochs-term bochsbios vgabios")
    directory = tmp_path_factory.mktemp("refusals")
    image = build_bare(broken_copy(directory), directory=directory / "build")
    machines = FailingMachines(image, len(CPUS), directory)
    try:
        yield machines
    finally:
        machines.stop()


@pytest.fixture
def machines(request: pytest.FixtureRequest, all_machines: FailingMachines) -> Iterator[FailingMachines]:
    failed = request.session.testsfailed
    yield all_machines
    if request.session.testsfailed > failed:
        all_machines.stop()


def state(driver: Driver) -> list[dict[str, int]]:
    results = driver.run(ProbeRequest(code=STATE, cpus=CPUS))
    assert all(result.vector is None for result in results)
    return [{name: result.registers[name] for name in SHOWN} for result in results]


def msrs(driver: Driver, vendor: str) -> list[list[int]]:
    code = bytes.fromhex("".join(f"b9{msr.to_bytes(4, 'little').hex()}0f3250" for msr in MSRS[vendor]))
    pops = bytes.fromhex("4158 4159 415a 415b")
    results = driver.run(ProbeRequest(code=code + pops, cpus=CPUS))
    assert all(result.vector is None for result in results)
    return [[result.registers[name] for name in ("r8", "r9", "r10", "r11")] for result in results]


MSRS = {
    "intel": (SYSENTER_EIP, PAT, EFER, FEATURE_CONTROL),
    "amd": (SYSENTER_EIP, PAT, EFER, VM_HSAVE_PA),
}


@pytest.mark.parametrize("name", CASES)
def test_refused_and_rolled_back(name: str, machines: FailingMachines) -> None:
    case = CASES[name]
    driver = machines.get(case.vendor)
    before, msrs_before = state(driver), msrs(driver, case.vendor)
    machines.ask_for(driver, NUMBERS[name])
    with pytest.raises(AgentRefused) as refusal:
        driver.load()
    assert refusal.value.code == case.code
    assert case.says in refusal.value.text
    assert state(driver) == before
    assert msrs(driver, case.vendor) == msrs_before
    assert driver.query()["cpus"] == "0"
    driver.load()
    assert driver.query()["cpus"] == str(len(CPUS))
    driver.unload()
    assert state(driver) == before
    assert msrs(driver, case.vendor) == msrs_before
