from __future__ import annotations

import cProfile

import pytest

from tests.support.suite_texts import HEAD, PATH, case, check, code_of, expectation, loaded, problems
from touchstone.machine.probe import Operand
from touchstone.suite.load import duplicates, load, load_all
from touchstone.suite.model import Citation, ExpectedEnd, LabelAddress, Source
from touchstone.suite.problems import SuiteErrors

DESIGN = """\
suite: VMX instructions while nested virtualization is hidden
area: nested
requires: vendor == intel and subject.nested == hidden
checks:
  - id: nested.vmx.vmxon-ud
    title: VMXON raises #UD, at every privilege level
    level: must
    cite: {doc: intel-sdm, title: "VMXON—Enter VMX Operation", says: "…IF … CR4.VMXE = 0 … THEN #UD"}
    each: {cpl: [0, 3], on: [every-cpu]}
    given: {rdi: scratch, gprs: random}
    run: vmxon [rdi]
    expect: {exception: "#UD", rip: start, gprs: unchanged}
"""


def test_the_example_of_the_design() -> None:
    suite = loaded(DESIGN)
    (found,) = suite.checks
    assert (suite.title, suite.area) == ("VMX instructions while nested virtualization is hidden", "nested")
    assert found.title == "VMXON raises #UD, at every privilege level"
    assert found.cite[0].says == "…IF … CR4.VMXE = 0 … THEN #UD"
    assert [need.text for need in found.requires] == ["vendor == intel and subject.nested == hidden"]
    assert [(one.label, one.cpl, one.on) for one in found.cases] == [
        ("cpl=0, on=every-cpu", 0, "every-cpu"),
        ("cpl=3, on=every-cpu", 3, "every-cpu"),
    ]
    first = found.cases[0]
    assert first.given.random
    assert first.given.registers == {"rdi": Operand("scratch")}
    assert first.body.lines == ("vmxon [rdi]",)
    assert first.body.sources == (Source(PATH, 11, 10),)
    assert (first.expect.ends, first.expect.rip, first.expect.rip_at_end) == (
        (ExpectedEnd(6),),
        Operand("start"),
        False,
    )
    assert first.expect.gprs_unchanged
    assert (found.source, found.end_line) == (Source(PATH, 5, 5), 12)
    assert found.text.splitlines()[0] == "  - id: nested.vmx.vmxon-ud"
    assert found.text.splitlines()[-1].endswith("gprs: unchanged}")


def test_defaults() -> None:
    found = check("run: nop\nexpect: native")
    assert (found.level, found.phase, found.timeout, found.claims) == ("must", "loaded", 5.0, False)
    assert (found.tags, found.proves, found.requires) == ((), (), ())
    assert found.cite == (Citation("intel-sdm", "CPUID", "It does"),)
    (only,) = found.cases
    assert (only.label, only.cpl, only.on, only.body.code_bits) == ("", 0, "first", 64)
    assert only.expect.native
    assert not only.expect.rip_at_end


def test_suite_defaults_reach_every_check_and_a_check_overrides_them() -> None:
    suite = loaded("""\
suite: S
area: teardown
phase: unloaded
requires: cpus >= 2
cite: {doc: amd-apm, title: T, says: S}
checks:
  - {id: teardown.a, title: A, run: nop, expect: native}
  - id: teardown.b
    title: B
    phase: native
    requires: vendor == amd
    cite:
      - {doc: a, title: b, says: c, section: 26.10}
      - {doc: d, title: e, says: f}
    run: nop
    expect: native
""")
    first, second = suite.checks
    assert (first.phase, second.phase) == ("unloaded", "native")
    assert [need.text for need in second.requires] == ["cpus >= 2", "vendor == amd"]
    assert [cite.section for cite in second.cite] == ["26.10", None]
    assert first.text == "  - {id: teardown.a, title: A, run: nop, expect: native}"


def test_an_entry_ends_before_blank_lines_and_comments() -> None:
    text = HEAD + "".join(
        f"  - id: exits.x{number}\n    title: X\n    run: nop\n    expect: native\n\n  # the next one\n\n"
        for number in range(3)
    )
    assert [(one.source.line, one.end_line) for one in loaded(text).checks] == [(5, 8), (12, 15), (19, 22)]
    assert all(one.text.endswith("expect: native") for one in loaded(text).checks)


@pytest.mark.parametrize("value", ["yes", "no", "on", "1_000", "012", "1:30:00", "1e3", "26.10", "~x"])
def test_titles_stay_what_was_written(value: str) -> None:
    assert (
        loaded(HEAD + f"  - {{id: exits.x, title: {value}, run: nop, expect: native}}").checks[0].title
        == value
    )


def test_a_mnemonic_is_no_comment() -> None:
    found = check("run: ud2   #UD is raised\nexpect: {exception: #UD, rip: start}   # really")
    assert found.cases[0].expect.ends == (ExpectedEnd(6),)
    assert found.cases[0].expect.rip == Operand("start")
    text = HEAD + "  #UD in front of a line is a comment\n  - id: exits.x\n    title: #GP(0) and #UDX\n"
    assert problems(text + "    run: nop\n    expect: native\n") == [
        "7:12: YAML takes '#UDX' and what follows for a comment; put title in quotes"
    ]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0x10", 16),
        ("0b101", 5),
        ("1_000", 1000),
        ("0", 0),
        ("-1", 2**64 - 1),
        ("0xffff_ffff_0000_0000", 0xFFFFFFFF00000000),
    ],
)
def test_numbers(text: str, value: int) -> None:
    assert case(f"given: {{rax: {text}}}\nrun: nop\nexpect: native").given.registers == {
        "rax": Operand("number", value)
    }


def test_addresses() -> None:
    found = case("""\
given: {rdi: scratch, rsi: scratch+8, rbp: stack-0x10, rdx: start+2, rcx: end-1, rbx: here + 4, dr0: here,
        r8: IA32_LSTAR, r9: KERNEL_CS+3}
run: |
  nop
  here: nop
expect: native
""")
    assert found.given.registers == {
        "rdi": Operand("scratch"),
        "rsi": Operand("scratch", 8),
        "rbp": Operand("stack", -16),
        "rdx": Operand("start", 2),
        "rcx": LabelAddress("end", -1),
        "rbx": LabelAddress("here", 4),
        "r8": Operand("number", 0xC0000082),
        "r9": Operand("number", 11),
    }
    assert found.given.debug == {"dr0": LabelAddress("here")}


def test_state() -> None:
    given = case("""\
given:
  gprs: zero
  rflags: {tf: 1, df: 1, iopl: 3}
  cr4: {osxsave: 0, pge: 1}
  efer: {sce: 1}
  dr7: {l0: 1, rw0: 3}
  dr6: 0
  memory: {0x10: "48 8b", 0x20: 0x1122334455667788, 0x30: {bytes: 2, is: -1}}
  at: page-end
  keep: [ia32-lstar, IA32_STAR, 0xc0000102, ia32-lstar]
run: nop
expect: native
""").given
    assert not given.random
    assert given.rflags == 1 << 8 | 1 << 10 | 3 << 12 | 2
    assert given.bits == {"cr4": (1 << 7, 1 << 18), "efer": (1, 0)}
    assert given.debug == {"dr7": Operand("number", 1 | 3 << 16), "dr6": Operand("number", 0)}
    assert given.memory == (
        (0x10, b"\x48\x8b"),
        (0x20, bytes.fromhex("8877665544332211")),
        (0x30, b"\xff\xff"),
    )
    assert given.at_page_end
    assert given.keep == (0xC0000082, 0xC0000081, 0xC0000102)


def test_source_positions_of_body_lines() -> None:
    body = (
        check("""\
run: |

  mov ecx, 1   # one
    cpuid

  nop
expect: native
""")
        .cases[0]
        .body
    )
    assert body.lines == ("mov ecx, 1   # one", "cpuid", "nop")
    assert [(source.line, source.column) for source in body.sources] == [(9, 7), (10, 9), (12, 7)]


def test_twins_make_one_case_per_vendor() -> None:
    found = check('run: {intel: vmcall, amd: "vmmcall"}\neach: {cpl: [0, 3]}\nexpect: {exception: "#UD"}')
    assert [(one.label, one.body.lines[0]) for one in found.cases] == [
        ("cpl=0, vendor=intel", "vmcall"),
        ("cpl=0, vendor=amd", "vmmcall"),
        ("cpl=3, vendor=intel", "vmcall"),
        ("cpl=3, vendor=amd", "vmmcall"),
    ]
    assert [one.requires[0].text for one in found.cases[:2]] == ["vendor == intel", "vendor == amd"]


def test_parts_of_a_body_that_are_for_both_vendors_or_one_of_them() -> None:
    found = check("""\
each: {insn: [cpuid, rdtsc]}
run:
  - {intel: msr = IA32_VMX_BASIC, amd: msr = VM_HSAVE_PA}
  - |
    {insn}

    mov ecx, msr
  - intel: vmcall
    amd: |
      vmmcall
      nop
  - "after: hlt"
expect: {rip: after}
""").cases
    assert [one.label for one in found] == [
        "insn=cpuid, vendor=intel",
        "insn=cpuid, vendor=amd",
        "insn=rdtsc, vendor=intel",
        "insn=rdtsc, vendor=amd",
    ]
    assert found[0].body.lines == ("msr = IA32_VMX_BASIC", "cpuid", "mov ecx, msr", "vmcall", "after: hlt")
    assert found[3].body.lines == (
        "msr = VM_HSAVE_PA", "rdtsc", "mov ecx, msr", "vmmcall", "nop", "after: hlt",
    )  # fmt: skip
    (first, *_) = found[3].body.sources
    places = [(one.line - first.line, one.column) for one in found[3].body.sources]
    assert places == [(0, 44), (2, 9), (4, 9), (7, 11), (8, 11), (9, 10)]
    assert code_of(found[0]).data.hex() == "0fa2" + "b980040000" + "0f01c1" + "f4"
    assert code_of(found[3]).data.hex() == "0f31" + "b9170101c0" + "0f01d9" + "90" + "f4"


def test_parts_that_are_all_for_both_vendors_are_one_body() -> None:
    only = case("run: [cpuid, nop]\nexpect: native")
    assert (only.label, only.requires, only.body.lines) == ("", (), ("cpuid", "nop"))


def test_bits_of_all_cases_and_of_each() -> None:
    assert case("bits: 32\nrun: into\nexpect: native").body.code_bits == 32
    found = check("each: {bits: [32, 64], cpl: 3}\nrun: nop\nexpect: native").cases
    assert [(one.label, one.body.code_bits) for one in found] == [
        ("bits=32, cpl=3", 32),
        ("bits=64, cpl=3", 64),
    ]
    twins = check("bits: 32\nrun: {intel: vmcall, amd: vmmcall}\nexpect: native").cases
    assert [one.body.code_bits for one in twins] == [32, 32]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0xa5a5a5a5_00000000 + {leaf}", 0xA5A5A5A5_80000001),
        ("0x80000001-1", 0x80000000),
        ("IA32_LSTAR + 0x10", 0xC0000092),
        ("0x1_00000000 + IA32_LSTAR", 0x1_C0000082),
        ("0-1", 2**64 - 1),
    ],
)
def test_sums_of_numbers(text: str, value: int) -> None:
    (only,) = check(
        f'each: {{leaf: [0x80000001]}}\ngiven: {{rax: "{text}", rcx: "{{leaf}}"}}\nrun: nop\nexpect: native'
    ).cases
    assert only.label == ""
    assert only.given.registers["rax"] == Operand("number", value)


def test_numbers_of_each_are_shown_as_they_are_written() -> None:
    found = check("""\
each: {leaf: [1, 0x80000001, 0x8000_0002, 0b11]}
run: mov rax, 0xdeadbeef00000000 + {leaf}
expect: {"rax[31:0]": "{leaf}"}
""").cases
    assert [one.label for one in found] == ["leaf=1", "leaf=0x80000001", "leaf=0x8000_0002", "leaf=0b11"]
    assert code_of(found[1]).data.hex() == "48b801000080efbeadde"
    assert found[2].expect.fields[0].value == Operand("number", 0x80000002)


def test_variables_are_put_into_run_given_and_expect() -> None:
    found = check("""\
each: {msr: [IA32_LSTAR, 0xc000_0081], reg: [rbx, r8], piece: ["01 02", 3]}
given: {"{reg}": scratch, keep: ["{msr}"], memory: {0: "{piece}"}}
run: |
  mov ecx, {msr}
  mov rax, [{reg}]
  vmovdqa32 zmm0{k1}{z}, zmm1
expect: {native: true, "{reg}": unchanged}
""")
    assert len(found.cases) == 8
    assert found.cases[0].label == "msr=IA32_LSTAR, reg=rbx, piece=01 02"
    assert found.cases[0].body.lines[:2] == ("mov ecx, IA32_LSTAR", "mov rax, [rbx]")
    assert found.cases[0].given.memory == ((0, b"\x01\x02"),)
    assert found.cases[0].given.keep == (0xC0000082,)
    last = found.cases[-1]
    assert last.body.lines == ("mov ecx, 0xc0000081", "mov rax, [r8]", "vmovdqa32 zmm0{k1}{z}, zmm1")
    assert last.given.registers == {"r8": Operand("scratch")}
    assert last.given.memory == ((0, b"\x03" + bytes(7)),)
    assert last.expect.fields[0].register == "r8"


def test_rows_are_one_factor_of_the_product() -> None:
    found = check("""\
each: {rows: [{insn: cpuid, length: 2, on: last}, {insn: rdtscp, length: 3, on: first}], cpl: [0, 3]}
run: "{insn}"
expect: {rip: "start+{length}"}
""").cases
    assert [(one.label, one.on, one.cpl, one.body.lines, one.expect.rip) for one in found] == [
        ("insn=cpuid, length=2, on=last, cpl=0", "last", 0, ("cpuid",), Operand("start", 2)),
        ("insn=cpuid, length=2, on=last, cpl=3", "last", 3, ("cpuid",), Operand("start", 2)),
        ("insn=rdtscp, length=3, on=first, cpl=0", "first", 0, ("rdtscp",), Operand("start", 3)),
        ("insn=rdtscp, length=3, on=first, cpl=3", "first", 3, ("rdtscp",), Operand("start", 3)),
    ]


def test_fields() -> None:
    fields = expectation(
        '{eax: 5, bh: 1, "rcx[63:32]": 0, "rdx[7]": 1, rflags.cf: 1, rflags: {zf: 0}, dr6.bs: 1,'
        " cr2: scratch+0x2000,"
        ' "rbp as cr4": {vmxe: 0, osxsave: 1}, "r8d as cpuid.1.ecx": {hypervisor: claim.visible},'
        " r9: {in: [1, scratch]}, r10w: {not: 7}, rsi: claim.magic, r11: native, r12: unchanged}"
    ).expect.fields
    found = {item.what: (item.register, item.low, item.width, item.kind) for item in fields}
    assert found == {
        "eax": ("rax", 0, 32, "value"),
        "bh": ("rbx", 8, 8, "value"),
        "rcx[63:32]": ("rcx", 32, 32, "value"),
        "rdx[7]": ("rdx", 7, 1, "value"),
        "rflags.cf": ("rflags", 0, 1, "value"),
        "rflags.zf": ("rflags", 6, 1, "value"),
        "dr6.bs": ("dr6", 14, 1, "value"),
        "cr2": ("cr2", 0, 64, "value"),
        "rbp as cr4.vmxe": ("rbp", 13, 1, "value"),
        "rbp as cr4.osxsave": ("rbp", 18, 1, "value"),
        "r8d as cpuid.1.ecx.hypervisor": ("r8", 31, 1, "claim"),
        "r9": ("r9", 0, 64, "in"),
        "r10w": ("r10", 0, 16, "not"),
        "rsi": ("rsi", 0, 64, "claim"),
        "r11": ("r11", 0, 64, "native"),
        "r12": ("r12", 0, 64, "unchanged"),
    }


def test_memory_that_is_expected() -> None:
    fields = expectation(
        '{memory: {0x10: "48 8b", 0x20: native, 0x28: 5, 0x30: {bytes: 2, is: unchanged}}}'
    ).expect.fields
    assert [(item.what, item.low, item.width, item.kind) for item in fields] == [
        ("memory[0x10:2]", 0x10, 2, "value"),
        ("memory[0x20:8]", 0x20, 8, "native"),
        ("memory[0x28:8]", 0x28, 8, "value"),
        ("memory[0x30:2]", 0x30, 2, "unchanged"),
    ]
    assert fields[0].value == Operand("number", 0x8B48)


def test_exits_are_ranges_and_claim_a_hypervisor() -> None:
    found = check('run: cpuid\nexpect: {exits: {cpuid: 1, rdmsr: ">=1", wrmsr: "<=2", nmi: 1..3}}')
    assert found.cases[0].expect.exits == {
        "cpuid": (1, 1),
        "rdmsr": (1, None),
        "wrmsr": (0, 2),
        "nmi": (1, 3),
    }
    assert found.claims
    assert check("run: cpuid\nexpect: {rax: claim.leaf}").claims
    assert not check("run: cpuid\nclaims: false\nexpect: {exits: {cpuid: 1}}").claims
    assert check("run: cpuid\nclaims: true\nexpect: native").claims


@pytest.mark.parametrize(
    ("text", "ends", "rip_at_end"),
    [
        ("{exception: none}", [(None, None)], True),
        ("{rax: 1}", [], True),
        ("{native: true, rax: 1}", [], False),
        ('{exception: "#GP(0x18)"}', [(13, 0x18)], False),
        ('{exception: "#vc"}', [(29, None)], False),
        ("{exception: vector 0x80}", [(0x80, None)], False),
        ("{rip: end}", [], True),
        ('{exception: {in: [none, "#GP(0)", "#UD"]}}', [(None, None), (13, 0), (6, None)], False),
        ("{exception: {in: none}}", [(None, None)], True),
        ("{exception: native}", [], False),
    ],
)
def test_how_a_probe_is_expected_to_end(
    text: str, ends: list[tuple[int | None, int | None]], rip_at_end: bool
) -> None:
    expect = expectation(text).expect
    assert [(one.vector, one.error_code) for one in expect.ends] == ends
    assert expect.native_end is (text == "{exception: native}")
    assert expect.rip_at_end is rip_at_end


def test_rip_may_be_a_label() -> None:
    expect = case('run: |\n  mov eax, 1\n  fault: ud2\nexpect: {exception: "#UD", rip: fault}').expect
    assert expect.rip == LabelAddress("fault")


def test_anchors_and_a_byte_order_mark_work() -> None:
    suite = loaded(
        f"\ufeff{HEAD}  - {{id: exits.a, title: A, given: &g {{rax: 5}}, run: nop, expect: native}}\n"
        "  - {id: exits.b, title: B, given: *g, run: nop, expect: native}\n"
    )
    assert suite.checks[0].cases[0].given == suite.checks[1].cases[0].given


def test_line_ends_of_windows() -> None:
    (found,) = loaded(DESIGN.replace("\n", "\r\n")).checks
    assert found.cases[0].body.sources == (Source(PATH, 11, 10),)
    assert found.end_line == 12


def test_several_files_report_together(tmp_path: pytest.TempPathFactory) -> None:
    one, two, three = (tmp_path / name for name in ("a.yaml", "b.yaml", "c.yaml"))  # type: ignore[operator]
    one.write_text(DESIGN)
    two.write_text(DESIGN)
    three.write_text("suite: x")
    with pytest.raises(SuiteErrors) as caught:
        load_all([one, two, three, tmp_path / "none.yaml"])  # type: ignore[operator]
    texts = [str(problem) for problem in caught.value.problems]
    assert f"{three}:1:1: the suite has no 'area'" in texts
    assert f"{tmp_path}/none.yaml:1:1: cannot be read: No such file or directory" in texts
    assert texts[-1] == f"{two}:5:5: the id 'nested.vmx.vmxon-ud' is already used at {one}:5:5"
    assert duplicates([load(one)]) == []


def test_checks_load_in_linear_time() -> None:
    """Counted in calls: they are the same on every machine."""
    head, entry = DESIGN.split("  - id")

    def calls(count: int) -> int:
        text = head + "".join(
            "  - id" + entry.replace("vmxon-ud", f"vmxon-{number}") for number in range(count)
        )
        profile = cProfile.Profile()
        checks = profile.runcall(load, PATH, text).checks
        assert len(checks) == count
        return sum(function.callcount for function in profile.getstats())

    calls(1)
    few, many = calls(400), calls(800)
    assert many < 2.05 * few
    assert few < 400 * 1640, "it is 820 for a check: twice that is a regression"
