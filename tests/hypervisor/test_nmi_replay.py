"""An NMI that Veneer takes outside of guest mode and replays blocks the next until its handler is done.

Each case is a copy of Veneer for the bare OS, which sends its own CPU an NMI at one place, and another one in
front of the replay: an OS that has one stack for all NMIs would lose the frame of the first.
"""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from touchstone.drivers.build import build_bare
from touchstone.drivers.registry import make_driver
from touchstone.machine.driver import AgentRefused
from touchstone.machine.settings import TargetSettings

HYPERVISOR = Path(__file__).parents[2] / "hypervisor"
CPU_MODELS = {"intel": "corei7_skylake_x", "amd": "ryzen"}
APIC_ID, ICR_LOW, ICR_HIGH, NMI = 0xFEE00020, 0xFEE00300, 0xFEE00310, 0x4400

SEND = f"""
#include "../core/memory.h"
void os_send_nmi(unsigned int cpu);
unsigned long long os_nmi_count(unsigned int cpu);
__attribute__((noreturn)) void os_panic(const char *why);

/* In host mode: the page tables of the OS are not there. */
static inline void send_nmi_in_host_mode(void)
{{
	static int sent;

	if (sent++)
		return;
	*(volatile u32 *)physical_to_host({ICR_HIGH}) = *(volatile u32 *)physical_to_host({APIC_ID});
	*(volatile u32 *)physical_to_host({ICR_LOW}) = {NMI};
	for (int i = 0; i < 1000; i++)
		pause();
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
    """Where the first NMI comes, and how many the OS has counted behind loading, and behind unloading."""

    vendor: Literal["intel", "amd"]
    file: str
    find: str
    replace: str
    loaded: int
    unloaded: int
    refused: bool = False


CURRENT = "	__atomic_store_n(&vmx->vmcs_is_current, false, __ATOMIC_SEQ_CST);\n"
LAUNCH = "	result = vmx_launch(vcpu);\n"
CASES = {
    "while VMX is enabled": Case(
        "intel",
        "vmx/setup.c",
        "	error = unlock_vmx(refusal);\n",
        "	os_send_nmi(0);\n	error = unlock_vmx(refusal);\n",
        2,
        2,
    ),
    "while SVM is enabled": Case(
        "amd",
        "svm/setup.c",
        "	find_cpuid_faulting(vcpu);\n",
        "	os_send_nmi(0);\n	find_cpuid_faulting(vcpu);\n",
        2,
        2,
    ),
    "after a refused VM entry": Case(
        "intel",
        "vmx/leave.c",
        "	restore_msrs(vmx_of(vcpu));\n",
        "	send_nmi_in_host_mode();\n	restore_msrs(vmx_of(vcpu));\n",
        2,
        2,
        refused=True,
    ),
    "when the VMCS is given up": Case(
        "intel", "vmx/leave.c", CURRENT, f"{CURRENT}	send_nmi_in_host_mode();\n", 0, 2
    ),
    "just before the VMCS is given up": Case(
        "intel", "vmx/leave.c", CURRENT, f"	send_nmi_in_host_mode();\n{CURRENT}", 0, 2
    ),
    # The guest takes this one before it leaves: nothing is replayed.
    "before the hypercall that leaves": Case(
        "intel",
        "core/hypercall.c",
        "	case HYPERCALL_UNLOAD:\n",
        "	case HYPERCALL_UNLOAD:\n		send_nmi_in_host_mode();\n",
        0,
        1,
    ),
}


def change(copy: Path, file: str, find: str, replace: str) -> None:
    path = copy / file
    text = path.read_text(encoding="utf-8")
    assert text.count(find) == 1, f"{file} has changed: {find!r}"
    first = re.search(r'(?m)^#include "', text)
    assert first
    text = text.replace(find, replace)
    path.write_text(text[: first.start()] + '#include "../core/vcpu.h"\n' + SEND + text[first.start() :])


@pytest.mark.skipif(
    shutil.which("bochs") is None, reason="apt-get install bochs bochs-term bochsbios vgabios"
)
@pytest.mark.parametrize("name", CASES)
def test_the_next_nmi_waits(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    copy = tmp_path / "veneer"
    shutil.copytree(HYPERVISOR, copy)
    change(copy, case.file, case.find, case.replace)
    change(copy, "core/nmi.c", "		raise_nmi();\n", f"{BEFORE_REPLAY}		raise_nmi();\n")
    if case.refused:
        change(copy, "vmx/setup.c", LAUNCH, f"	vmcs_write(VMCS_GUEST_RFLAGS, 0);\n{LAUNCH}")
    image = build_bare(copy, directory=tmp_path / "build")
    settings = TargetSettings(
        "replay", "bochs", case.vendor, 1, 64, CPU_MODELS[case.vendor], timeout_factor=10.0
    )
    driver = make_driver(settings, image, tmp_path)
    try:
        driver.start(lambda _: None)
        assert driver.nmi_counts() == [0]
        if case.refused:
            with pytest.raises(AgentRefused, match="VM entry failed"):
                driver.load()
        else:
            driver.load()
        assert driver.nmi_counts() == [case.loaded]
        if not case.refused:
            driver.unload()
        assert driver.nmi_counts() == [case.unloaded]
        driver.send_nmis((0,), 3)
        assert driver.nmi_counts() == [case.unloaded + 3]
    finally:
        driver.stop()
