"""The address from which control hypercalls are expected: all 64 bits of it count, and so does CPL."""

import pytest

from touchstone.machine.probe import Operand, Page, Place

UD = 6
NUMBERS = (0x56656E01, 0x56656E03, 0x56656E04)
"""Veneer's hypercalls that change nothing: prove, counters, trace."""
CALLS = {"amd": "vmmcall", "intel": "vmcall"}
USER = 1 << 2
CITE = {
    "doc": "touchstone-design",
    "title": "Veneer",
    "says": "Control is a hypercall that only CPL 0 may use, from where it is expected; "
    "anybody else gets #UD",
}

pytestmark = pytest.mark.touchstone(
    area="nested", requires="os == bare and subject.control-closed", cite=CITE
)


def control_address(target, subject):
    """Where the subject expects control hypercalls, which ``query`` of Veneer says."""
    said = target.query().get("control")
    if said is None:
        assert not subject.claims.get("query.control"), "claimed, and not said: control"
        pytest.skip("the subject does not say where it expects control hypercalls")
    return int(said, 16)


def demand_ud(result, number):
    assert result.vector == UD, f"{number:#x} at RIP {result.rip:#x} ended with vector {result.vector}"


@pytest.mark.touchstone(
    id="nested.hypercall.equal-low-half",
    title="A hypercall from an address that equals the expected one in its low half raises #UD",
    proves=["door-address"],
)
@pytest.mark.parametrize("upper", [1 << 32, 1 << 46, 0xFFFF_8000 << 32])
def test_equal_low_half(target, subject, probe, upper):
    linear = upper | control_address(target, subject)
    for number in NUMBERS:
        (result,) = probe(CALLS[target.vendor], place=Place(linear=linear), rax=number)
        demand_ud(result, number)
        assert result.rip == linear


@pytest.mark.touchstone(
    id="nested.hypercall.expected-address-ring-3",
    title="A hypercall from the expected address raises #UD at CPL 3",
    proves=["door-cpl"],
)
def test_expected_address_at_cpl_3(target, subject, probe):
    address = control_address(target, subject)
    readable = Place(pages=(Page(Operand(offset=address), set=USER),))
    for number in NUMBERS:
        for result in probe("jmp rdi", cpl=3, on="every-cpu", place=readable, rax=number, rdi=address):
            demand_ud(result, number)
            assert result.rip == address


AT_CPL_1_OR_2 = """
    mov rbx, rdi
    sgdt [rbx]
    movzx ecx, word ptr [rbx]
    inc ecx
    mov r8d, ecx
    mov rsi, [rbx + 2]
    lea rdi, [rbx + 0x100]
    mov [rbx + 2], rdi
    cld
    rep movsb
    mov [rdi], r12
    mov [rdi + 8], r13
    add word ptr [rbx], 16
    lgdt [rbx]
    xor edi, edi
    mov rsi, rbx
    lea r9, [rip + answered]
    push r9
    mov r9, rsp
    lea rcx, [r8 + r14 + 8]
    push rcx
    push r9
    pushfq
    lea rcx, [r8 + r14]
    push rcx
    push r15
    iretq
    answered: hlt
"""
"""To R15 at the CPL in R14, whose code and stack segments are in R12 and R13, by a copy of the GDT.

Where the stub goes on behind an answer, it stores to RSI and returns: to HLT, which is #GP there."""
SEGMENTS = {1: (0x0020_BA00_0000_0000, 0xB200_0000_0000), 2: (0x0020_DA00_0000_0000, 0xD200_0000_0000)}


@pytest.mark.touchstone(
    id="nested.hypercall.expected-address-ring-1-2",
    title="A hypercall from the expected address raises #UD at CPL 1 and 2",
    proves=["door-cpl"],
)
@pytest.mark.parametrize("cpl", SEGMENTS)
def test_expected_address_at_cpl_1_and_2(target, subject, probe, cpl):
    address = control_address(target, subject)
    code, stack = SEGMENTS[cpl]
    for number in NUMBERS:
        (result,) = probe(
            AT_CPL_1_OR_2, rax=number, rdi=Operand("scratch"), r12=code, r13=stack, r14=cpl, r15=address
        )
        demand_ud(result, number)
        assert result.rip == address


@pytest.mark.touchstone(
    id="nested.hypercall.same-page",
    title="A hypercall from the page in which it is expected, but from another address, raises #UD",
    proves=["door-address"],
)
@pytest.mark.parametrize("distance", [-3, 3, 0x10, -0x10, 0x100, -0x100])
def test_same_page(target, subject, probe, distance):
    address = control_address(target, subject)
    other = address + distance
    if other >> 12 != address >> 12:
        other = address - distance
    # The page as it is, with the instruction at another place: a copy of it that only this probe sees.
    for number in NUMBERS:
        (result,) = probe(CALLS[target.vendor], place=Place(linear=other), rax=number)
        demand_ud(result, number)
        assert result.rip == other


@pytest.mark.touchstone(
    id="nested.hypercall.unknown-operation",
    title="A control hypercall whose number is unknown raises #UD, also from where one is expected",
    proves=["door-address"],
)
@pytest.mark.parametrize("number", [0, 1, 0x56656E00, 0x56656E05, 1 << 32 | 0x56656E01, (1 << 64) - 1])
def test_unknown_operation(target, subject, probe, number):
    address = control_address(target, subject)
    # Where the stub goes on behind an answer, it stores to RSI and returns to where it was called.
    (result,) = probe("call rdx", rax=number, rdx=address, rdi=0, rsi=Operand("scratch"), r15=0x600D)
    demand_ud(result, number)
    assert result.rip == address
    assert result.registers["rax"] == number, "RAX has changed"


MANY_EXITS = """
    mov ebp, 100
    1: xor eax, eax
    cpuid
    dec ebp
    jnz 1b
    mov eax, 0x56656e03
    mov rdi, r12
    call r13
"""
"""CPUIDs that fill what may lie behind the counters, and the question for counter R12 at address R13."""


@pytest.mark.touchstone(
    id="nested.hypercall.counter-that-is-none",
    title="A control hypercall that asks for a counter that does not exist is answered with 0",
    proves=["door-address"],
)
@pytest.mark.parametrize("beyond", [-1, -2, 0, 1, 2, 1000, 1 << 32, (1 << 64) - 100])
def test_counter_that_is_none(target, subject, probe, beyond):
    address = control_address(target, subject)
    number = (len(target.exits(0)) + beyond) & (1 << 64) - 1
    (result,) = probe(MANY_EXITS, r12=number, r13=address, rsi=Operand("scratch"))
    assert result.vector is None, f"counter {number:#x} ended with vector {result.vector}"
    # The two behind it come in RDX and RCX.
    for at, name in enumerate(("rax", "rdx", "rcx")):
        value = result.registers[name]
        assert beyond + at < 0 or value == 0, f"counter {number:#x}: {name.upper()} is {value:#x}"


@pytest.mark.touchstone(
    id="nested.hypercall.counter-with-equal-low-bits",
    title="A control hypercall that asks for a counter looks at all 64 bits of its number",
    proves=["door-address"],
)
@pytest.mark.parametrize("upper", [1 << 8, 1 << 16, 1 << 32, 1 << 63])
def test_counter_with_equal_low_bits(target, subject, probe, upper):
    address = control_address(target, subject)
    # Of those that there are, the one that the probe makes rise.
    number = upper | list(target.exits(0)).index("cpuid")
    (result,) = probe(MANY_EXITS, r12=number, r13=address, rsi=Operand("scratch"))
    assert result.vector is None, f"counter {number:#x} ended with vector {result.vector}"
    assert result.registers["rax"] == 0, f"counter {number:#x} is {result.registers['rax']:#x}"
