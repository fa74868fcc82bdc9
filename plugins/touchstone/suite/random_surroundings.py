"""Units of random probes in which an exit stands beside what it can disturb.

That is: interrupt shadows, vector and x87 state, repeated strings, changed code, far transfers, tables.
RDI points to the scratch area.
"""

from __future__ import annotations

from collections.abc import Callable

from touchstone.machine.probe import CodeBits
from touchstone.suite.random_units import TF, Dice, Unit

RF = 1 << 16
_EXITS: tuple[tuple[str, ...], ...] = (
    ("xor eax, eax", "cpuid"),
    ("mov eax, 0x80000002", "cpuid"),
    ("mov ecx, 0xc0000080", "rdmsr"),
    ("mov ecx, 0xdeadbeef", "rdmsr"),
    ("xor ecx, ecx", "xgetbv"),
    ("xor ecx, ecx", "mov eax, 1", "xor edx, edx", "xsetbv"),
    ("mov ecx, 0xdeadbeef", "xor eax, eax", "xor edx, edx", "wrmsr"),
    ("wbinvd",),
    ("vmmcall",),
    ("vmcall",),
    ("stgi",),
)
"""The last line of each is what exits, or may. Not INVD: a bare processor loses what its caches hold."""
_PREFIXES = (0xF0, 0xF0, 0x66, 0xF2, 0xF3, 0x2E, 0x3E, 0x65, 0x67)
"""LOCK, operand size, REPNE, REP, segments, address size."""


def _exit(dice: Dice) -> tuple[str, ...]:
    return dice.one(_EXITS)


def _shadow(dice: Dice, bits: CodeBits) -> Unit:
    """In the shadow of MOV SS, POP SS or STI (SDM 3A 6.8.3)."""
    *before, exits = _exit(dice)
    if dice.chance(30):
        return Unit((*before, "sti", exits, "cli"))
    if bits != 64 and dice.chance(50):
        return Unit((*before, "push ss", "pop ss", exits))
    return Unit((*before, "mov ebp, ss", "mov ss, ebp", exits))


def _prefixed(dice: Dice, bits: CodeBits) -> Unit:
    """With one to three prefixes that make it longer, or #UD."""
    a = "rax" if bits == 64 else "eax"
    cpuid, control = ("xor eax, eax", "cpuid"), (dice.one((f"mov {a}, cr0", f"mov {a}, cr4", "clts")),)
    *before, exits = dice.one((cpuid, cpuid, control, _exit(dice), _exit(dice)))
    found = [dice.one(_PREFIXES) for _ in range(1 + dice.below(3))]
    if bits == 64 and dice.chance(20):
        found.append(0x40 | dice.below(16))  # REX, which changes the register of MOV to CR
    return Unit((*before, f".byte {', '.join(map(hex, found))}; {exits}"))


def _string(dice: Dice, bits: CodeBits) -> Unit:
    """Beside a repeated string instruction, forwards or backwards."""
    a, b = ("rsi", "rdi") if bits == 64 else ("esi", "edi")
    what = dice.one(("rep movsb", "rep stosw", "repe cmpsb", "repne scasb", "rep lodsb", "rep outsb"))
    lines = ["mov ebx, eax", f"lea {b}, [{b} + 64]", f"mov {a}, {b}", dice.one(("cld", "std"))]
    if what == "rep outsb":
        lines.append("mov edx, 0x80")
    lines += [f"mov ecx, {dice.below(5)}", what, "cld"]
    if dice.chance(70):
        lines += _exit(dice)
    return Unit((*lines, f"sub {b}, 64"))


def _vector(dice: Dice, bits: CodeBits) -> Unit:
    """Between two looks at a register of SSE or AVX."""
    p = "rdi" if bits == 64 else "edi"
    if dice.chance(30):
        return Unit(
            (
                *("xor ecx, ecx", "mov eax, 7", "xor edx, edx", "xsetbv", "vpcmpeqb ymm5, ymm5, ymm5"),
                *_exit(dice),
                *(f"vmovdqu [{p} + 64], ymm5", f"mov ebx, [{p} + 92]", "vzeroall"),
            )
        )
    return Unit(
        (
            *("mov eax, 0x12345678", "movd xmm3, eax", "pshufd xmm3, xmm3, 0"),
            *_exit(dice),
            *("psrldq xmm3, 12", "movd ebx, xmm3", "pxor xmm3, xmm3"),
        )
    )


def _x87(dice: Dice, bits: CodeBits) -> Unit:
    """Between two looks at the x87, or at MXCSR."""
    p = "rdi" if bits == 64 else "edi"
    if dice.chance(40):
        return Unit(
            (
                *(f"mov dword ptr [{p}], {0x1F80 | dice.below(4) << 13:#x}", f"ldmxcsr [{p}]"),
                *_exit(dice),
                *(f"stmxcsr [{p}]", f"mov ebx, [{p}]", f"mov dword ptr [{p}], 0x1f80", f"ldmxcsr [{p}]"),
            )
        )
    return Unit(
        (
            *("fninit", "fldpi", "fld1"),
            *_exit(dice),
            *("faddp", f"fstp qword ptr [{p} + 16]", f"mov ebx, [{p} + 20]", "fnstsw ax", "fninit"),
        )
    )


def _changed(dice: Dice, bits: CodeBits) -> Unit:
    """Code that the code before it has just made of NOPs, behind a jump (SDM 3A 8.1.3).

    Without the jump, QEMU 7.2 executes the old code in a guest of SVM.
    """
    new = dice.one((0xA20F, 0x310F, 0x320F, 0x0B0F, 0x9090))  # CPUID, RDTSC, RDMSR, UD2, NOP
    before = ("xor eax, eax", "mov ecx, 0x277")  # what CPUID and RDMSR read
    behind = ("1: nop", "nop", "xor eax, eax", "xor edx, edx")  # of RDTSC nothing is left
    if bits == 64:
        return Unit((*before, f"mov word ptr [rip + 1f], {new:#x}", "jmp 1f", *behind), writes_code=True)
    # POP has 1 byte, MOV 6, JMP 2.
    found = ("call 2f", "2: pop ebx", f"mov word ptr [ebx + 9], {new:#x}", "jmp 1f")
    return Unit((*before, *found, *behind), writes_code=True)


def _transfer(dice: Dice, bits: CodeBits) -> Unit:
    """A far return, a far jump or IRET to the next instruction, with RF and TF as it comes."""
    exits = _exit(dice)
    flags = 2 | (RF if dice.chance(60) else 0) | (TF if dice.chance(30) else 0)
    kind = dice.below(3)
    if bits == 32:
        if kind == 0:
            return Unit(
                (f"push {flags:#x}", "push cs", "call 1f", "1: add dword ptr [esp], 5", "iretd", *exits)
            )
        return Unit(("push cs", "call 1f", "1: add dword ptr [esp], 5", "retf", *exits))
    if kind == 0:
        stack = ("mov ebx, ss", "mov rcx, rsp", "push rbx", "push rcx", f"push {flags:#x}")
        return Unit(
            (*stack, "mov ebx, cs", "push rbx", "lea rbx, [rip + 1f]", "push rbx", "iretq", "1: nop", *exits)
        )
    if kind == 1:
        return Unit(("mov ebx, cs", "push rbx", "lea rbx, [rip + 1f]", "push rbx", "retfq", "1: nop", *exits))
    pointer = ("lea rbx, [rip + 1f]", "mov [rdi + 8], ebx", "mov ebx, cs", "mov [rdi + 12], bx")
    return Unit((*pointer, "jmp fword ptr [rdi + 8]", "1: nop", *exits))


def _tables(dice: Dice, bits: CodeBits) -> Unit:
    """Segment registers and descriptor tables, loaded with what they hold, or with what they must not."""
    p = "rdi" if bits == 64 else "edi"
    return dice.one(
        (
            Unit((f"sgdt [{p} + 32]", f"lgdt [{p} + 32]", *_exit(dice))),
            Unit((f"sidt [{p} + 32]", f"lidt [{p} + 32]", *_exit(dice))),
            Unit(("xor eax, eax", "lldt ax", *_exit(dice))),
            Unit(("str eax", "ltr ax")),
            Unit(("mov eax, ds", "mov es, eax", *_exit(dice), "mov ebx, es")),
            Unit(
                (f"mov eax, {dice.one((0xFFF8, 0x4B, 4, 3)):#x}", "mov es, eax", *_exit(dice), "mov ebx, es")
            ),
            Unit((f"smsw [{p} + 4]", f"lmsw [{p} + 4]")),
            Unit(("int3",)),
        )
    )


SURROUNDINGS: tuple[tuple[int, Callable[[Dice, CodeBits], Unit]], ...] = (
    (20, _shadow), (20, _prefixed), (14, _string), (12, _vector), (8, _x87), (8, _changed), (14, _transfer),
    (8, _tables),
)  # fmt: skip
"""How often, and what makes it."""
ONLY_WIDE = (_changed, _transfer)
"""Not for 16-bit code."""
