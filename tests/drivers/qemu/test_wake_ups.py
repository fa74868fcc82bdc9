"""Interrupts that wake up a CPU of the bare OS, delivered as QEMU does to the guest of a hypervisor."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.emulators import CPUID, qemu, running, slot_of
from touchstone.drivers.build import BareImage
from touchstone.machine.probe import SCRATCH_OFFSET, ProbeRequest
from touchstone.suite.assemble import Assembler
from touchstone.suite.model import Body, Source

STRIDE = 0x8000
"""Of the slots (``targets/agent/PROTOCOL.md``)."""
COUNT = 24
"""Where the hook counts, in the scratch area of its CPU."""

# The next wake-up of any CPU (vector F0h) comes to the hook, in the slot of the CPU that runs this.
HOOK = f"""
begin:
    sidt [rsp - 16]
    mov rcx, [rsp - 14]
    add rcx, 0xf0 * 16
    lea rdi, [rip + begin + {SCRATCH_OFFSET}]
    mov [rdi], rcx
    mov rax, [rcx]
    mov [rdi + 8], rax
    movzx edx, ax
    shr rax, 32
    xor ax, ax
    or eax, edx
    mov [rdi + 16], rax             # the address of the OS's handler, which is below 4 GiB as this one
    lea rax, [rip + hook]
    mov [rcx], ax
    shr eax, 16
    mov [rcx + 6], ax
    jmp done
hook:
    push rax
    push rdi
    lea rdi, [rip + begin + {SCRATCH_OFFSET}]
    lock inc dword ptr [rdi + {COUNT}]
    mov rax, [rdi + 8]
    mov rdi, [rdi]
    mov [rdi], rax
    pop rdi
    pop rax
    {{then}}
done:
"""
# Behind the IRET of the second one, the first begins anew, on the stack of both.
TWICE = "int 0xf0; jmp $"
# The HLT, of one byte, is executed when the interrupt is over.
BEFORE_HLT = f"dec qword ptr [rsp]; jmp qword ptr [rip + begin + {SCRATCH_OFFSET + 16}]"


def assembled(text: str) -> bytes:
    lines = tuple(line.split("#")[0].strip() for line in text.replace(";", "\n").strip().splitlines())
    body = Body(lines, tuple(Source(Path("test"), number, 1) for number in range(len(lines))))
    made = Assembler().assemble([body])
    assert not made.problems, made.problems
    return made.codes[body].data


@pytest.mark.parametrize("then", [TWICE, BEFORE_HLT], ids=["twice", "before HLT"])
def test_a_cpu_wakes_up(image: BareImage, tmp_path: Path, then: str) -> None:
    with running(qemu(), image, tmp_path) as (machine, _):
        hook = 2
        machine.run(ProbeRequest(assembled(HOOK.format(then=then)), cpus=(hook,)))
        for cpu in (1, 3) * 2:
            assert machine.run(replace(CPUID, cpus=(cpu,)))
        count = slot_of(machine) + hook * STRIDE + SCRATCH_OFFSET + COUNT
        (result,) = machine.run(ProbeRequest(assembled(f"mov eax, {count}; mov eax, [rax]")))
        assert result.registers["rax"] >= 1, "no wake-up came to the hook"
        selectors = machine.run(ProbeRequest(bytes.fromhex("8cd0"), cpus=(0, 1, 2, 3)))  # mov eax, ss
        assert {one.registers["rax"] for one in selectors} == {0x10}
