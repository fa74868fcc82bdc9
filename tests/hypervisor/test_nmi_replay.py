"""An NMI that Veneer takes outside of guest mode and replays blocks the next until its handler is done.

In each case Veneer sends its own CPU an NMI at one place, and another one in front of the replay: an OS that
has one stack for all NMIs would lose the frame of the first. All cases are in one copy of Veneer for the bare
OS, where a variable asks for one of them, once. They share a machine of each vendor.
"""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.failing_machines import ASKED, FailingMachines, Vendor
from touchstone.drivers.build import build_bare
from touchstone.machine.driver import AgentRefused

HYPERVISOR = Path(__file__).parents[2] / "hypervisor"
APIC_ID, ICR_LOW, ICR_HIGH, NMI = 0xFEE00020, 0xFEE00300, 0xFEE00310, 0x4400

SEND = f"""
#include "../core/memory.h"
extern volatile int {ASKED};
void os_send_nmi(unsigned int cpu);
unsigned long long os_nmi_count(unsigned int cpu);
__attribute__((noreturn)) void os_panic(const char *why);

static inline bool is_asked_for(int number)
{{
	if ({ASKED} != number)
		return false;
	{ASKED} = 0;
	return true;
}}

/* In host mode: the page tables of the OS are not there. */
static inline void send_nmi_in_host_mode(int number)
{{
	if (!is_asked_for(number))
		return;
	*(volatile u32 *)physical_to_host({ICR_HIGH}) = *(volatile u32 *)physical_to_host({APIC_ID});
	*(volatile u32 *)physical_to_host({ICR_LOW}) = {NMI};
	for (int i = 0; i < 1000; i++)
		pause();
}}

static inline void send_nmi_in_the_os(int number)
{{
	if (is_asked_for(number))
		os_send_nmi(0);
}}
"""

BEFORE_REPLAY = """
		{
			u64 before = os_nmi_count(vcpu->cpu);

			os_send_nmi(vcpu->cpu);
			for (int i = 0; i < 1000; i++)
				pause();
			if (os_nmi_count(vcpu->cpu) != before)
				os_panic("an NMI overtook the one that is replayed");
		}
"""


@dataclass(frozen=True)
class Case:
    """Where the first NMI comes, and how many the OS has counted behind loading, and behind unloading.

    In ``replace``, @ stands for the number of the case.
    """

    vendor: Vendor
    file: str
    find: str
    replace: str
    loaded: int
    unloaded: int
    refused: bool = False


CURRENT = "	__atomic_store_n(&vmx->vmcs_is_current, false, __ATOMIC_SEQ_CST);\n"
LAUNCH = "	result = vmx_launch(vcpu);\n"
IN_HOST_MODE = "	send_nmi_in_host_mode(@);\n"
IN_THE_OS = "	send_nmi_in_the_os(@);\n"
UNLOCK = "	error = unlock_vmx(refusal);\n"
FAULTING = "	find_cpuid_faulting(vcpu);\n"
RESTORE = "	restore_msrs(vmx_of(vcpu));\n"
UNLOAD = "	case HYPERCALL_UNLOAD:\n"
CASES = {
    "while VMX is enabled": Case("intel", "vmx/setup.c", UNLOCK, IN_THE_OS + UNLOCK, 2, 2),
    "while SVM is enabled": Case("amd", "svm/setup.c", FAULTING, IN_THE_OS + FAULTING, 2, 2),
    "after a refused VM entry": Case(
        "intel", "vmx/leave.c", RESTORE, IN_HOST_MODE + RESTORE, 2, 2, refused=True
    ),
    "when the VMCS is given up": Case("intel", "vmx/leave.c", CURRENT, CURRENT + IN_HOST_MODE, 0, 2),
    "just before the VMCS is given up": Case("intel", "vmx/leave.c", CURRENT, IN_HOST_MODE + CURRENT, 0, 2),
    # The guest takes this one before it leaves: nothing is replayed.
    "before the hypercall that leaves": Case(
        "intel", "core/hypercall.c", UNLOAD, UNLOAD + IN_HOST_MODE, 0, 1
    ),
}
NUMBERS = {name: number for number, name in enumerate(CASES, 1)}


class Copy:
    """Sources of Veneer, changed in some places."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        shutil.copytree(HYPERVISOR, directory)
        self._begun: set[str] = set()

    def change(self, file: str, find: str, replace: str) -> None:
        """Replace a line that is there once. A file's first change puts the declarations in front."""
        path = self.directory / file
        text = path.read_text(encoding="utf-8")
        assert text.count(find) == 1, f"{file} has changed: {find!r}"
        text = text.replace(find, replace)
        if file not in self._begun:
            self._begun.add(file)
            first = re.search(r'(?m)^#include "', text)
            assert first
            text = text[: first.start()] + '#include "../core/vcpu.h"\n' + SEND + text[first.start() :]
        path.write_text(text, encoding="utf-8")


def changed_copy(directory: Path) -> Path:
    copy = Copy(directory / "veneer")
    for name, case in CASES.items():
        copy.change(case.file, case.find, case.replace.replace("@", str(NUMBERS[name])))
        if case.refused:
            refuse = f"	if ({ASKED} == {NUMBERS[name]})\n		vmcs_write(VMCS_GUEST_RFLAGS, 0);\n"
            copy.change("vmx/setup.c", LAUNCH, refuse + LAUNCH)
    copy.change("core/nmi.c", "		raise_nmi();\n", f"{BEFORE_REPLAY}		raise_nmi();\n")
    path = copy.directory / "core" / "nmi.c"
    path.write_text(f"{path.read_text(encoding='utf-8')}\nvolatile int {ASKED};\n", encoding="utf-8")
    return copy.directory


@pytest.fixture(scope="module")
def all_machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FailingMachines]:
    if shutil.which("bochs") is None:
        pytest.skip("apt-get install bochs bochs-term bochsbios vgabios")
    directory = tmp_path_factory.mktemp("nmi-replay")
    image = build_bare(changed_copy(directory), directory=directory / "build")
    machines = FailingMachines(image, 1, directory)
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


@pytest.mark.parametrize("name", CASES)
def test_the_next_nmi_waits(name: str, machines: FailingMachines) -> None:
    case = CASES[name]
    driver = machines.get(case.vendor)
    (before,) = driver.nmi_counts()
    machines.ask_for(driver, NUMBERS[name])
    if case.refused:
        with pytest.raises(AgentRefused, match="VM entry failed"):
            driver.load()
    else:
        driver.load()
    assert driver.nmi_counts() == [before + case.loaded]
    if not case.refused:
        driver.unload()
    assert driver.nmi_counts() == [before + case.unloaded]
    driver.send_nmis((0,), 3)
    assert driver.nmi_counts() == [before + case.unloaded + 3]
