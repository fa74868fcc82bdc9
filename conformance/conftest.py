"""Fixtures that Python checks of several areas share."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

import pytest

from touchstone.machine.probe import SCRATCH_OFFSET, Operand
from touchstone.machine.svm_guest import PHYSICAL

# GDTR and IDTR go to the scratch area, the rest stays in registers.
_READ_STATE = """
    sgdt [rdi]
    sidt [rdi + 16]
    mov ecx, IA32_EFER
    rdmsr
    shl rdx, 32
    or rax, rdx
    mov r8, rax
    mov ecx, IA32_PAT
    rdmsr
    shl rdx, 32
    or rax, rdx
    mov r9, rax
    mov ecx, IA32_LSTAR
    rdmsr
    shl rdx, 32
    or rax, rdx
    mov r10, rax
    mov ecx, IA32_SYSENTER_ESP
    rdmsr
    shl rdx, 32
    or rax, rdx
    mov r11, rax
    mov r12, cr0
    mov r13, cr3
    mov r14, cr4
    mov r15, dr7
    xor ebx, ebx
    str bx
    lar esi, ebx
    xor ebp, ebp
    sldt bp
    mov eax, fs
    mov ecx, gs
"""
_NAMES = {
    "efer": "r8", "pat": "r9", "lstar": "r10", "sysenter-esp": "r11", "cr0": "r12", "cr3": "r13",
    "cr4": "r14", "dr7": "r15", "tr": "rbx", "tr-access": "rsi", "ldtr": "rbp", "fs": "rax", "gs": "rcx",
}  # fmt: skip
# Bits that change on Linux with the process that ran last on a CPU: DR7.GE stays set behind one with a
# breakpoint, CR4.PCE behind one that has mapped a performance counter.
_OF_LAST_PROCESS = {"dr7": 1 << 9, "cr4": 1 << 8}


def pytest_ignore_collect(collection_path, config):
    """Leave random probes out unless they are asked for: they take as long as one likes."""
    asked = config.getoption("--fuzz-seconds", None)
    return True if collection_path.name == "test_random.py" and asked is None else None


@pytest.fixture
def state(target, probe):
    """Read what a CPU is: ``state()`` gives a mapping of register to value for every CPU."""

    def read():
        left_out = _OF_LAST_PROCESS if target.info.os == "linux" else {}
        found = []
        for result in probe(_READ_STATE, on="every-cpu", rdi=Operand("scratch"), read=(0, 32)):
            assert result.vector is None, (
                f"CPU {result.cpu}: reading its state ended with vector {result.vector}"
            )
            values = {
                name: f"{result.registers[register] & ~left_out.get(name, 0):#x}"
                for name, register in _NAMES.items()
            }
            for name, offset in (("gdtr", 0), ("idtr", 16)):
                limit, base = struct.unpack_from("<HQ", result.memory, offset)
                values[name] = f"{base:#x}+{limit:#x}"
            found.append(values)
        return found

    return read


@pytest.fixture
def same_state(state):
    """Compare every CPU with what it was: ``same_state(before, "after unloading")``."""

    def compare(before, when):
        for cpu, (old, new) in enumerate(zip(before, state(), strict=True)):
            assert new == old, f"{when}: CPU {cpu} is not what it was"

    return compare


@pytest.fixture
def virtualized(target, probe, subject):
    """Find the CPUs in guest mode: ``virtualized()`` gives those whose CPUID has the subject's signature.

    Of a subject that claims none, its own word must do: the first so many CPUs.
    """
    signed = subject.absent or "cpuid-signature.ebx" in subject.claims

    def ask():
        if not signed:
            status = target.query()
            if status.get("by") == "firmware":
                pytest.skip("it claims no signature, and what a UEFI firmware has loaded cannot be asked")
            said = status.get("cpus", "0")
            assert said in map(str, range(target.cpus + 1)), (
                f"the subject says that {said} of {target.cpus} CPUs are in guest mode"
            )
            return list(range(int(said)))
        wanted = tuple(subject.claims.get(f"cpuid-signature.{name}") for name in ("ebx", "ecx", "edx"))
        return [
            result.cpu
            for result in probe("cpuid", on="every-cpu", rax=0x40000000)
            if tuple(result.registers[name] & 0xFFFFFFFF for name in ("rbx", "rcx", "rdx")) == wanted
        ]

    return ask


@dataclass(frozen=True)
class Step:
    """A load or an unload that has been done."""

    cycle: int
    """Counts from 1."""
    loaded: bool
    """Whether the subject is loaded now."""

    def __str__(self):
        return f"cycle {self.cycle}, after {'loading' if self.loaded else 'unloading'}"


@pytest.fixture
def cycles(target, subject, virtualized):
    """Load and unload the subject so many times: ``for step in cycles(20)`` stops after each load and unload.

    Where the subject claims a signature in CPUID, every CPU must carry it after each load, and none after
    each unload.
    """
    signed = "cpuid-signature.ebx" in subject.claims

    def run(count):
        for cycle in range(1, count + 1):
            target.load()
            assert not signed or virtualized() == list(range(target.cpus)), (
                f"cycle {cycle}: not every CPU was taken"
            )
            yield Step(cycle, loaded=True)
            target.unload()
            assert not signed or virtualized() == [], f"cycle {cycle}: these CPUs still answer as virtualized"
            yield Step(cycle, loaded=False)

    return run


@pytest.fixture
def physical(probe):
    """Find the physical address of a CPU's scratch area: ``physical(cpu, offset)``.

    Only for targets whose page tables can be read where they physically are (os == bare).
    """

    def walk(cpu, offset=0):
        (result,) = probe(PHYSICAL, on=cpu, rdi=Operand("scratch", offset))
        assert result.vector is None, f"the page tables of CPU {cpu} cannot be read where they are"
        return result.registers["rax"]

    return walk


# The sender (whose scratch area is rsi) sends r12 NMIs to all other CPUs, one after the other. The others
# loop over CPUID and count their rounds until the sender sets `stop`. The sender waits until each of them has
# gone _PASSES rounds further since the local APICs accepted the NMI: then it has taken the NMI.
# Scratch area: 0 rounds, 8 ready, 16 stop, 0x100 the round that each other CPU must reach.
_NMI_STORM = """
    mov dword ptr [rdi + 8], 1
    cmp rdi, rsi
    je sender
    again: xor eax, eax
    cpuid
    inc qword ptr [rdi]
    cmp dword ptr [rsi + 16], 0
    je again
    jmp over
    sender: mov r10, r15
    mov r9d, r13d
    ready: pause
    cmp dword ptr [r10 + 8], 0
    je ready
    add r10, r14
    dec r9d
    jnz ready
    send: mov dword ptr [r8 + 0x300], 0xc4400
    accepted: pause
    test dword ptr [r8 + 0x300], 0x1000
    jnz accepted
    mov r10, r15
    mov r9d, r13d
    lea r11, [rdi + 0x100]
    mark: mov rax, [r10]
    add rax, {passes}
    mov [r11], rax
    add r10, r14
    add r11, 8
    dec r9d
    jnz mark
    xor eax, eax
    cpuid
    mov r10, r15
    mov r9d, r13d
    lea r11, [rdi + 0x100]
    wait: cmp r10, rdi
    je next
    mov rax, [r11]
    taken: pause
    cmp [r10], rax
    jb taken
    next: add r10, r14
    add r11, 8
    dec r9d
    jnz wait
    dec r12d
    jnz send
    mov dword ptr [rdi + 16], 1
    over: nop
"""
_PASSES = 16
_LOCAL_APIC = 0xFEE00000


@pytest.fixture
def nmi_storm(target, probe):
    """Send NMIs while all CPUs loop over CPUID: in ``nmi_storm(6)`` each CPU has to take 6 of the first CPU,
    and 6 of the last one.

    Only for targets whose local APICs are in xAPIC mode and mapped where they physically are (os == bare).
    """

    def send(sender, count):
        scratch = target.info.slot + SCRATCH_OFFSET
        results = probe(
            _NMI_STORM.format(passes=_PASSES),
            on="every-cpu",
            together=True,
            timeout=60,
            rdi=Operand("scratch"),
            rsi=scratch + sender * target.info.stride,
            r8=_LOCAL_APIC,
            r12=count,
            r13=target.cpus,
            r14=target.info.stride,
            r15=scratch,
        )
        for result in results:
            assert result.vector is None, f"CPU {result.cpu}: the storm ended with vector {result.vector}"
        return [result.nmis for result in results]

    def storm(count):
        for sender in sorted({0, target.cpus - 1}):
            taken = send(sender, count)
            wanted = [0 if cpu == sender else count for cpu in range(target.cpus)]
            assert taken == wanted, (
                f"CPU {sender} sent {count} NMIs to every other CPU; taken, by CPU: {taken}"
            )

    return storm


_COMPLAINTS = re.compile(
    r"WARNING:|BUG:|Oops|unchecked MSR|(?:soft|hard) lockup|rcu_\w+: INFO|general protection|Call Trace"
    r"|possible recursive|circular locking|KASAN|bad page"
)


@pytest.fixture
def complaints(target):
    """Read the kernel's warnings: ``complaints()`` gives those lines of the log since the check began."""

    def ask():
        return [line for line in target.serial().splitlines() if _COMPLAINTS.search(line)]

    return ask
