"""What a subject does not claim is not demanded of it."""

from __future__ import annotations

import dataclasses
import re

from tests.support.checkout import suite_files
from touchstone.machine.probe import Operand
from touchstone.suite.load import load
from touchstone.suite.model import Check

HYPERCALL = re.compile(r"\b(vmcall|vmmcall)\b")
EXCEPTED = {
    # Whatever a hypercall does, it keeps these.
    "exits.state.every-exit-extended",
    "exits.state.every-exit-xss",
    "exits.state.every-exit-msrs",
    "exits.state.every-exit-tsc-aux",
    "exits.state.fs-gs-access",
    # The other vendor's is no hypercall, but an invalid opcode.
    "exits.places.hypercall-cs-base",
}
"""Checks that execute hypercalls of subjects that may have some for everybody."""


def unguarded(check: Check) -> bool:
    """Whether a case of a check executes a hypercall, and neither requires the claim."""
    return any(
        HYPERCALL.search(line)
        and not any("subject.control-closed" in one.text for one in (*check.requires, *case.requires))
        for case in check.probes
        for line in case.body.lines
    )


UNCONDITIONAL = {"cpuid", "getsec", "invd", "xsetbv"}
"""Counters of what exits without being asked to, in VMX (SDM 3C 26.1.2)."""
PROCESSORS = {
    # The fault comes before the exit.
    "exits.cr.ring3-no-exit",
    "exits.msr.ring3-no-exit",
    # No bitmap covers these MSRs.
    "exits.msr.outside-exits",
}
"""Checks of other counters, where the processor decides what exits."""


def leaves_no_choice(check: Check) -> bool:
    """Whether a check demands exits, or none, where a hypervisor may choose, of one that claims no choice."""
    counters = {name for case in check.probes for name in case.expect.exits}
    claims = {
        name
        for case in check.probes
        for one in (*check.requires, *case.requires)
        for name in re.findall(r"subject\.([a-z0-9.-]+)", one.text)
    }
    return bool(counters - UNCONDITIONAL) and not claims - {"counters", "trace", "unloadable"}


def test_what_a_hypervisor_may_let_exit_is_demanded_of_one_that_claims_it() -> None:
    """One that has no bitmap of MSRs is slow, and does nothing wrong."""
    checks = [check for path in suite_files() for check in load(path).checks]
    found = {check.id: check for check in checks if leaves_no_choice(check)}
    assert found.keys() >= PROCESSORS
    wrong = [f"{check.source}: {name}" for name, check in found.items() if name not in PROCESSORS]
    assert not wrong, "these require no claim of what exits:\n" + "\n".join(wrong)


def test_a_hypercall_that_must_raise_ud_is_one_of_a_subject_that_claims_to_be_closed() -> None:
    """KVM's answer everybody, and SimpleVisor's fail in VMX' own way: neither has promised anything else."""
    checks = [check for path in suite_files() for check in load(path).checks]
    found = {check.id: check for check in checks if unguarded(check) and check.phase != "unloaded"}
    assert found.keys() >= EXCEPTED
    wrong = [f"{check.source}: {name}" for name, check in found.items() if name not in EXCEPTED]
    assert not wrong, "these require no subject.control-closed:\n" + "\n".join(wrong)


SYNTHETIC = range(0x40000000, 0x40000100)
"""MSRs that no processor has, so that a hypervisor may (SDM 4 2.1)."""
MSR_ACCESS = re.compile(r"\b(rdmsr|wrmsr)\b")
NUMBER_IN_ECX = re.compile(r"\bmov ecx, (0x[0-9a-f_]+)")


def takes_synthetic_msrs_for_absent(check: Check) -> bool:
    """Whether a check accesses one at CPL 0, where it need not fault, and does not require the claim."""
    for case in check.probes:
        claimed = any("subject.synthetic-msrs" in one.text for one in (*check.requires, *case.requires))
        text = "\n".join(case.body.lines)
        if claimed or case.cpl == 3 or not MSR_ACCESS.search(text):
            continue
        given = case.given.registers.get("rcx")
        numbers = [int(one.replace("_", ""), 16) for one in NUMBER_IN_ECX.findall(text)]
        if isinstance(given, Operand) and given.base == "number":
            numbers.append(given.offset)
        if any(number in SYNTHETIC for number in numbers):
            return True
    return False


def test_an_msr_that_a_hypervisor_may_have_made_up_is_taken_for_absent_only_by_its_claim() -> None:
    checks = [check for path in suite_files() for check in load(path).checks]
    wrong = [f"{check.source}: {check.id}" for check in checks if takes_synthetic_msrs_for_absent(check)]
    assert not wrong, "these require no subject.synthetic-msrs == none:\n" + "\n".join(wrong)
    (own,) = (check for check in checks if check.id == "exits.msr.synthetic-range")
    assert takes_synthetic_msrs_for_absent(dataclasses.replace(own, requires=()))
