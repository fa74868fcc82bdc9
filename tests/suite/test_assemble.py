# ruff: noqa: E501 (the messages are looked for as they are, in one piece)
from __future__ import annotations

import subprocess
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.checkout import ROOT
from tests.support.suite_texts import PATH
from touchstone.machine.probe import CodeBits
from touchstone.suite import assemble
from touchstone.suite.assemble import Assembler, AssemblerMissing
from touchstone.suite.body import is_plain
from touchstone.suite.code import Code
from touchstone.suite.load import load
from touchstone.suite.model import Body, Source


def body(*lines: str, first: int = 10, bits: CodeBits = 64) -> Body:
    return Body(lines, tuple(Source(PATH, first + number, 7) for number in range(len(lines))), bits)


def code(*lines: str, bits: CodeBits = 64) -> Code:
    only = body(*lines, bits=bits)
    assembled = Assembler().assemble([only])
    assert not assembled.problems
    return assembled.codes[only]


def refused(*lines: str, bits: CodeBits = 64) -> list[str]:
    only = body(*lines, bits=bits)
    assembled = Assembler().assemble([only])
    assert only not in assembled.codes
    return [str(problem).removeprefix("suite.yaml:") for problem in assembled.problems[only]]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["vmxon [rdi]"], "f30fc737"),
        (["vmrun rax", "clgi"], "0f01d80f01dd"),
        (["mov ecx, IA32_LSTAR", "rdmsr"], "b9820000c00f32"),
        (["mov ax, KERNEL_DS # the agent's"], "66b81000"),
        (["mov eax, SCRATCH_OFFSET"], "b800300000"),
        ([".code32", "inc eax"], "40"),
        ([".byte 0x0f, 0x01; nop"], "0f0190"),
        (['.ascii "a;b # c"'], "613b6220232063"),
        (["mov al, '#'  # a character"], "b023"),
        (["x = 5", "mov eax, x"], "b805000000"),
        (["vmovdqa32 zmm0{k1}{z}, zmm1"], "62f17dc96fc1"),
        (["// nothing", "nop // more"], "90"),
        (["1: loop 1b"], "e2fe"),
        (["lock", "add [rdi], eax"], "f00107"),
        (["raise nmi"], "67c7042500" + "03e0f000440000" + "f390" * 8),
        (["x: raise 0x50 # a vector"], "67c7042500" + "03e0f050400400" + "f390" * 8),
        ([".code32", "nmi: raise nmi"], "67c7042500" + "03e0f000440000" + "f390" * 8),
        (["mov eax, LOCAL_APIC + APIC_ICR"], "b80003e0f0"),
    ],
)
def test_bytes(lines: list[str], expected: str) -> None:
    assert code(*lines).data.hex() == expected


def test_a_copy_of_the_gdt() -> None:
    """What the word stands for, and nothing else."""
    assert code("copy_gdt rbx, 0x00cf_9300_0000_ffff, 0").data == code(
        "sgdt [rbx]", "sgdt [rbx + 0x10]",                                  # the operand of LGDT, and what was
        "movzx ecx, word ptr [rbx]", "inc ecx", "mov rsi, [rbx + 2]",
        "lea rdi, [rbx + 0x100]", "mov [rbx + 2], rdi", "cld", "rep movsb",
        "mov dword ptr [rdi], 0xffff", "mov dword ptr [rdi + 4], 0x00cf9300",
        "mov dword ptr [rdi + 8], 0", "mov dword ptr [rdi + 12], 0",
        "movzx ecx, word ptr [rbx]", "inc ecx", "add word ptr [rbx], 16",   # ECX: the first one's selector
    ).data  # fmt: skip
    assert code("copy_gdt ebp", bits=32).data == code(
        "sgdt [ebp]", "sgdt [ebp + 0x10]",
        "movzx ecx, word ptr [ebp]", "inc ecx", "mov esi, [ebp + 2]",
        "lea edi, [ebp + 0x100]", "mov [ebp + 2], edi", "cld", "rep movsb",
        "movzx ecx, word ptr [ebp]", "inc ecx",
        bits=32,
    ).data  # fmt: skip


def test_lines_behind_a_copy_of_the_gdt_are_where_they_were() -> None:
    found = code("nop", "here: COPY_GDT r13, 0x00af9b000000ffff # a code segment", "behind: nop")
    assert found.labels == {"here": 1, "behind": found.lines[2]}
    assert refused("copy_gdt rbx", "mov eax, rbx")[0].startswith("11:7: the assembler says: ")


@pytest.mark.parametrize(
    ("line", "bits", "expected"),
    [
        ("copy_gdt", 64,
         "copy_gdt takes the register that points to the memory for the copy, then descriptors:"
         " `copy_gdt rbx, 0x00cf93000000ffff`. It cannot be ''; RCX, RSI and RDI are changed"),
        ("copy_gdt rdi, 0", 64,
         "copy_gdt takes the register that points to the memory for the copy, then descriptors:"
         " `copy_gdt rbx, 0x00cf93000000ffff`. It cannot be 'rdi'; RCX, RSI and RDI are changed"),
        ("copy_gdt rbx", 32, "in 32-bit code, copy_gdt takes a 32-bit register: ebx"),
        ("copy_gdt r8", 32, "in 32-bit code, copy_gdt takes a 32-bit register: ebx"),
        ("copy_gdt ebx", 16, "copy_gdt is for 64-bit and 32-bit code"),
        ("copy_gdt rbx, rax", 64,
         "copy_gdt adds descriptors of 64 bits, not 'rax'; write 0 for one that the body makes"),
        ("copy_gdt rbx, 0x1_0000_0000_0000_0000", 64,
         "copy_gdt adds descriptors of 64 bits, not '0x1_0000_0000_0000_0000'; write 0 for one that the body makes"),
        ("copy_gdt rbx, 0, 0, 0, 0, 0, 0, 0, 0, 0", 64, "9 descriptors; copy_gdt adds at most 8"),
        ("copy_gdt: nop", 64, "'copy_gdt' is a word of the language or a register and cannot be a label"),
    ],
)  # fmt: skip
def test_copies_of_the_gdt_that_cannot_be(line: str, bits: CodeBits, expected: str) -> None:
    assert refused("nop", line, bits=bits) == [f"11:7: {expected}"]


def test_labels_and_lines() -> None:
    found = code(
        "mov eax, 1", "again: fault: dec ecx", "# nothing", "jnz again; nop", "lea rax, [rip + fault]"
    )
    assert found.data.hex() == "b801000000ffc975fc90488d05f4ffffff"
    assert found.labels == {"again": 5, "fault": 5}
    assert found.lines == (0, 5, 7, 7, 10)
    assert [found.line_of(offset) for offset in (0, 4, 5, 8, 9, 10, 16, 17, -1)] == [
        0,
        0,
        1,
        3,
        3,
        4,
        4,
        None,
        None,
    ]


def test_32_bit_code() -> None:
    found = code("inc eax", "into", "here: push es", "mov eax, [edi]", bits=32)
    assert found.data.hex() == "40ce068b07"
    assert (found.labels, found.lines, found.code_bits) == ({"here": 2}, (0, 1, 2, 3), 32)


def test_the_same_lines_with_other_bits_are_another_body() -> None:
    wide, narrow = body("push rax", "nop"), body("push eax", "nop", bits=32)
    same = body("nop"), body("nop", bits=32)
    assembled = Assembler().assemble([wide, narrow, *same])
    assert not assembled.problems
    assert [assembled.codes[one].code_bits for one in same] == [64, 32]


def test_errors_of_32_bit_code() -> None:
    (found,) = refused("nop", "inc r8", bits=32)
    assert found.startswith("11:7: the assembler says: ")
    assert refused("here: mov eax, OFFSET here", bits=32) == [
        "10:7: a body does not know where it will lie; start a register with the address of a label: `given: {rsi: label}`"
    ]


def test_a_label_may_be_called_like_an_instruction() -> None:
    assert code("loop: loop loop").data.hex() == "e2fe"


def test_bodies_do_not_see_each_other() -> None:
    one, two = (
        body("here: nop", "x = 1", "mov eax, x"),
        body("here: jmp here", "x = 2", "mov eax, x", first=20),
    )
    codes = Assembler().assemble([one, two]).codes
    assert (codes[one].data.hex(), codes[two].data.hex()) == ("90b801000000", "ebfeb802000000")
    three = body("jmp here")
    assert three in Assembler().assemble([one, three]).problems


def test_code32_in_one_body_does_not_reach_the_next() -> None:
    one, two = body(".code32", "nop"), body("mov rax, 1")
    assert len(Assembler().assemble([one, two]).codes) == 2


def test_assembler_errors_are_reported_at_the_suites_lines() -> None:
    good, bad, worse = (
        body("nop"),
        body("nop", "bogus rax", "mov eax, [x", first=20),
        body("mov al, 0x100", first=30),
    )
    assembled = Assembler().assemble([good, bad, worse])
    assert assembled.codes[good].data == b"\x90"
    assert [str(problem) for problem in assembled.problems[bad]] == [
        "suite.yaml:21:7: the assembler says: no such instruction: `bogus rax'",
        "suite.yaml:22:7: the assembler says: bad expression",
        "suite.yaml:22:7: the assembler says: junk `x' after expression",
    ]
    assert str(assembled.problems[worse][0]).startswith("suite.yaml:30:7: the assembler says: ")


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["nop", "mov rax, rxa"], "11:7: 'rxa' is no register, no constant and no label of this body (did you mean 'rdx'?)"),
        (["here: nop", "jmp heer"], "11:7: 'heer' is no register, no constant and no label of this body (did you mean 'here'?)"),
        (["mov ecx, IA32_LSTR"], "10:7: 'IA32_LSTR' is no register, no constant and no label of this body (did you mean 'ia32_lstar'?)"),
        (["here: nop", "mov rax, offset here"],
         "11:7: a body does not know where it will lie; take the address of a label with `lea rax, [rip + label]`"),
        (["# nothing"], "10:7: the body has no instruction"),
        ([".skip 1025"], "10:7: the body has 1025 bytes; a probe has at most 1024"),
        ([".skip 1 << 40"], "10:7: .skip takes plain numbers up to 4096 here, not '1 << 40'"),
        (["nop /* until the end of all bodies"], "10:7: a body must not contain a /* comment; use #"),
        (['.ascii "open'], "10:7: a body must not contain a string that does not end"),
        ([". = . + 4"], "10:7: a body must not move the location counter"),
        ([".macro m"], "10:7: the directive .macro is not allowed in a body, which is code and data (.byte to .octa, .align)"),
        ([".sektion .data"], "10:7: the directive .sektion is not allowed in a body, which is code and data (.byte to .octa, .align)"),
        (["nop; .incbin \"/etc/passwd\""], "10:7: the directive .incbin is not allowed in a body, which is code and data (.byte to .octa, .align)"),
        (["here: .text"], "10:7: the directive .text is not allowed in a body, which is code and data (.byte to .octa, .align)"),
    ],
)  # fmt: skip
def test_refusals(lines: list[str], expected: str) -> None:
    assert refused(*lines) == [expected]


def test_every_text_is_assembled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = []
    run = subprocess.run

    def counted(*arguments: object, **options: object) -> object:
        runs.append(options["input"])
        return run(*arguments, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "run", counted)
    assembler = Assembler()
    many: Iterable[Body] = [body("nop"), body("nop", first=50), body("ud2")]
    assert len(assembler.assemble(many).codes) == 3
    assert len(runs) == 1
    again = assembler.assemble([body("nop", first=80), body("bogus")])
    assert len(again.codes) == 1
    assert len(runs) == 2
    later = body("bogus", first=90)
    assert assembler.assemble([later]).problems[later][0].source == later.sources[0]
    assert len(runs) == 2
    assert assembler.assemble([]).codes == {}


def test_no_assembler() -> None:
    with pytest.raises(AssemblerMissing, match="no `as-of-nobody` on PATH: install GNU binutils"):
        Assembler("as-of-nobody").assemble([body("nop")])


def test_a_program_that_is_no_assembler() -> None:
    with pytest.raises(AssemblerMissing, match="`false` failed with status 1"):
        Assembler("false").assemble([body("nop")])


def test_bodies_with_the_same_text_have_hashes_of_their_own() -> None:
    """Else a dictionary of many of them compares each with each."""
    bodies = [body("cpuid", first=line) for line in range(2000)]
    assert len({hash(one) for one in bodies}) > 1990
    here = body("cpuid")
    elsewhere = [
        replace(here, sources=(replace(here.sources[0], path=Path(f"{n}.yaml")),)) for n in range(2000)
    ]
    assert len({hash(one) for one in elsewhere}) > 1990, "suites alike, such as a generator's"
    assert body("cpuid") == body("cpuid")
    assert hash(body("cpuid")) == hash(body("cpuid"))


def test_a_plain_body_is_assembled_as_its_statements_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bodies without labels and directives go to the assembler as they are written, comments included."""
    written = [
        body("mov eax, 1 # one; two", "  cpuid ; nop;", "", "# nothing", "mov al, ';'"),
        *(
            probe.body
            for path in sorted((ROOT / "conformance" / "exits").glob("*.yaml"))
            for check in load(path).checks
            for probe in check.probes
        ),
    ]
    plain = [body for body in written if is_plain(body)]
    assert written[0] in plain
    assert len(plain) > 500
    as_written = Assembler().assemble(plain)
    monkeypatch.setattr(assemble, "is_plain", lambda body: False)
    assert Assembler().assemble(plain) == as_written
