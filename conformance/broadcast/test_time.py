"""The time-stamp counters of all CPUs, compared with each other."""

import pytest

from touchstone.machine.probe import SCRATCH_OFFSET, Operand

# The CPUs read the counter in turns. In the first CPU's scratch area (r15): whose turn it is; the last value
# that was read; how often it was more than the next one; which CPU read the counter then.
_TURNS = """
    mov rax, rdi
    sub rax, r15
    xor edx, edx
    div r14
    mov r9d, eax
    again: pause
    cmp [r15], r9d
    jne again
    lfence
    rdtsc
    shl rdx, 32
    or rax, rdx
    cmp rax, [r15 + 8]
    jae forward
    inc qword ptr [r15 + 16]
    mov [r15 + 24], r9
    forward: mov [r15 + 8], rax
    lea eax, [r9 + 1]
    xor edx, edx
    div r13d
    mov [r15], edx
    dec r12d
    jnz again
"""
_ROUNDS = 2


@pytest.mark.touchstone(
    id="broadcast.time.between-cpus",
    title="No CPU reads a time-stamp counter that is behind what another CPU has read before",
    area="broadcast",
    requires="os == bare and cpus >= 2",
    claims=False,
    cite=[
        {
            "doc": "intel-sdm",
            "title": "TSC Offset and TSC Multiplier",
            "says": "If “use TSC offsetting” is 1, RDTSC returns the sum of the IA32_TIME_STAMP_COUNTER and "
            "the value of the TSC offset.",
        },
        {
            "doc": "amd-apm",
            "title": "Layout of VMCB",
            "says": "TSC_OFFSET: To be added in RDTSC and RDTSCP.",
        },
    ],
    proves=["time-between-cpus", "time-offset"],
)
def test_between_cpus(target, probe):
    scratch = target.info.slot + SCRATCH_OFFSET
    results = probe(
        _TURNS,
        on="every-cpu",
        together=True,
        timeout=60,
        read=(0, 32),
        rdi=Operand("scratch"),
        r12=_ROUNDS,
        r13=target.cpus,
        r14=target.info.stride,
        r15=scratch,
    )
    for result in results:
        assert result.vector is None, f"CPU {result.cpu}: the turns ended with vector {result.vector}"
    words = [int.from_bytes(results[0].memory[at : at + 8], "little") for at in range(0, 32, 8)]
    assert words[1], "no CPU has read its counter"
    assert not words[2], (
        f"{words[2]} of {_ROUNDS * target.cpus} values were behind the one before, at last on CPU {words[3]}"
    )
