from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.judged import differences, expecting, of
from tests.support.suite_texts import SLOT, case, code_of, expectation, result
from touchstone.machine.probe import GPRS, ProbeResult
from touchstone.suite.judge import judge
from touchstone.suite.judgement import Demand
from touchstone.suite.model import Case

# How it ended


def test_no_exception_by_default() -> None:
    assert differences(expecting("{rax: 0}")) == []
    assert differences(expecting("{rax: 0}"), vector=6, rip=0) == [
        ("end", "no exception", "#UD"),
        ("rip", f"{SLOT + 1:#x} (end)", f"{SLOT:#x} (start)"),
    ]


@pytest.mark.parametrize(
    ("wanted", "vector", "code", "ok"),
    [
        ("#GP(0)", 13, 0, True),
        ("#GP(0)", 13, 8, False),
        ("#GP(0)", 12, 0, False),
        ("#GP", 13, 8, True),
        ("#UD", 6, None, True),
        ("#UD", None, None, False),
        ("vector 0x80", 0x80, None, True),
    ],
)
def test_exceptions(wanted: str, vector: int | None, code: int | None, ok: bool) -> None:
    assert (differences(expecting(f'{{exception: "{wanted}"}}'), vector=vector, error_code=code) == []) is ok


def test_rip_of_a_label_and_of_the_end() -> None:
    entry = 'run: |\n  nop\n  fault: ud2\nexpect: {exception: "#UD", rip: fault}'
    assert differences(entry, vector=6, rip=1) == []
    assert differences(entry, vector=6, rip=3) == [
        ("rip", f"{SLOT + 1:#x} (start+0x1)", f"{SLOT + 3:#x} (end)")
    ]
    assert differences(expecting('{exception: "#DB", rip: end}'), vector=1, rip=1) == []
    assert differences(expecting('{exception: "#UD"}'), vector=6, rip=77) == []  # nobody asked


# Registers


def test_values() -> None:
    assert differences(expecting("{eax: 5}"), rax=0xFFFFFFFF00000005) == []
    assert differences(expecting('{"rax[63:32]": 0}'), rax=5 << 32) == [("rax[63:32]", "0x0", "0x5")]
    assert differences(expecting("{ah: 0x12}"), rax=0x1234) == []
    assert differences(expecting("{rax: -1}"), rax=2**64 - 1) == []
    assert differences(expecting("{eax: -1}"), rax=2**32 - 1) == []
    assert differences(expecting("{rdi: scratch+8}"), rdi=SLOT + 0x3008) == []
    assert differences(expecting("{rdi: scratch+8}"), rdi=SLOT + 0x3000) == [
        ("rdi", f"{SLOT + 0x3008:#x} (scratch+0x8)", f"{SLOT + 0x3000:#x} (scratch)")
    ]
    assert differences(expecting("{rdi: end-1}"), rdi=SLOT) == []
    assert differences(expecting("{rsp: stack-0x100}")) == []


def test_sets_of_values() -> None:
    assert differences(expecting("{rax: {in: [1, scratch]}}"), rax=SLOT + 0x3000) == []
    assert differences(expecting("{rax: {in: [1, 2]}}"), rax=3) == [("rax", "0x1 or 0x2", "0x3")]
    assert differences(expecting("{rax: {not: [1, 2]}}"), rax=3) == []
    assert differences(expecting("{rax: {not: 3}}"), rax=3) == [("rax", "not 0x3", "0x3")]


def test_named_bits() -> None:
    entry = expecting('{"ecx as cpuid.1.ecx": {vmx: 0, hypervisor: 1}}', "cpuid")
    assert differences(entry, rcx=1 << 31) == []
    assert differences(entry, rcx=1 << 5) == [
        ("ecx as cpuid.1.ecx.vmx", "0x0", "0x1"),
        ("ecx as cpuid.1.ecx.hypervisor", "0x1", "0x0"),
    ]


def test_unchanged() -> None:
    given_ = {"rbx": 7}
    assert differences(expecting("{gprs: unchanged}"), given=given_) == []
    assert differences(expecting("{gprs: unchanged}"), given=given_, rbx=8, r15=1) == [
        ("rbx", "0x7, unchanged", "0x8"),
        ("r15", "0x0, unchanged", "0x1"),
    ]
    assert differences(expecting("{gprs: unchanged, ebx: 8}"), given=given_, rbx=8) == []
    assert differences(expecting("{rbx: unchanged}"), given=given_, rbx=8) == [("rbx", "unchanged", "0x8")]


def test_flags() -> None:
    entry = "given: {rflags: {cf: 1, df: 1}}\nrun: nop\nexpect: {rflags: unchanged}"
    assert differences(entry, rflags=0x403) == []
    assert differences(entry, rflags=0x402) == [("rflags", "unchanged", "0x402 (df)")]
    faulting = 'given: {rflags: {cf: 1}}\nrun: ud2\nexpect: {exception: "#UD", rflags: unchanged}'
    assert differences(faulting, vector=6, rip=0, rflags=0x10003) == []  # a fault pushes RF
    assert differences(faulting, vector=6, rip=0, rflags=0x10002) != []
    assert differences(expecting("{rflags.rf: unchanged}"), rflags=0x10002) != []
    assert differences(expecting("{rflags: {zf: 1, cf: 0}}"), rflags=0x42) == []
    virtual = "mode: virtual-8086\n" + expecting("{rflags: unchanged}")
    assert differences(virtual, rflags=0x20002) == []
    assert differences(virtual, rflags=2) == [("rflags", "unchanged", "0x2")]


def test_cr2_and_dr6_after_other_exceptions() -> None:
    assert differences(expecting('{exception: "#DB", dr6.bs: 1}'), vector=1, dr6=0xFFFF4FF0) == []
    assert differences(expecting('{exception: "#DB", dr6.bs: 1}'), vector=1, dr6=0xFFFF0FF0) != []
    assert differences(expecting('{exception: "#UD", cr2: 5}'), vector=6) == [
        ("cr2", "0x5", "not measured (only #PF brings it)")
    ]


def test_same_on_every_cpu() -> None:
    one = case("each: {on: every-cpu}\nrun: nop\nexpect: {rax: same-on-every-cpu}")
    code = code_of(one)
    assert judge(one, code, [result(code, cpu=cpu, rax=5) for cpu in range(4)]).ok
    judged = judge(one, code, [result(code, cpu=cpu, rax=cpu // 2) for cpu in range(3)])
    assert [str(item) for item in judged.differences] == [
        "CPU 2: rax: expected as on CPU 0: 0x0, measured 0x1",
    ]
    assert [table.cpu for table in judged.tables] == [0, 1, 2]


def test_claims() -> None:
    entry = expecting("{rax: claim.leaf}")
    assert differences(entry, claims={"leaf": 5}, rax=5) == []
    assert differences(entry, claims={"leaf": 5}, rax=4) == [("rax", "0x5, claim.leaf", "0x4")]
    assert differences(entry, rax=4) == [("rax", "claim.leaf, which the subject does not make", "0x4")]
    assert differences(entry, claims={"leaf": 1.5}) == [
        ("rax", "claim.leaf, but 1.5 is no number and no text", "0x0")
    ]
    text = expecting("{ebx: claim.name, ecx: claim.name+4, edx: claim.name+8, eax: claim.leaf+1}", "cpuid")
    made = {"name": "Touchstone", "leaf": 0x40000000}
    words = {
        name: int.from_bytes(part, "little")
        for name, part in (("rbx", b"Touc"), ("rcx", b"hsto"), ("rdx", b"ne"))
    }
    assert differences(text, claims=made, rax=0x40000001, **words) == []
    assert differences(text, claims=made, rax=0x40000001, **{**words, "rdx": 0}) == [
        ("edx", "0x656e, claim.name+8", "0x0")
    ]
    assert differences(expecting('{"rax[0]": claim.on}'), claims={"on": True}, rax=1) == []


# Memory


def test_memory() -> None:
    entry = """\
given: {memory: {0: "01 02"}}
run: nop
expect: {memory: {0: "01 03", 8: 5, 4: {bytes: 1, is: unchanged}}}
"""
    good = b"\x01\x03" + bytes(6) + b"\x05" + bytes(7)
    assert differences(entry, memory=good) == []
    bad = b"\x01\x02" + bytes(2) + b"\x09" + bytes(3) + b"\x06" + bytes(7)
    assert differences(entry, memory=bad) == [
        ("memory[0x0:2]", "01 03", "01 02"),
        ("memory[0x8:8]", "05 00 00 00 00 00 00 00", "06 00 00 00 00 00 00 00"),
        ("memory[0x4:1]", "unchanged", "09"),
    ]
    assert len(differences(entry, memory=b"")) == 3


def test_native_memory_where_no_field_names_it() -> None:
    entry = "given: {rdi: scratch}\nrun: sidt [rdi]\nexpect: {native: true, memory: {0x10: 1}}"
    native = {"memory": bytes(range(64))}
    measured = bytearray(range(64))
    measured[0x10:0x18] = (1).to_bytes(8, "little")
    assert differences(entry, native, memory=bytes(measured)) == []
    measured[0x1F] ^= 1
    assert [what for what, _, _ in differences(entry, native, memory=bytes(measured))] == ["memory[0x10:16]"]


# Native


def test_native_compares_everything() -> None:
    native = {"vector": 13, "error_code": 0, "rip": 0, "rax": 5, "rflags": 0x10002}
    assert differences(expecting("native"), native, **native) == []
    for name, value, what in [
        ("vector", 6, "end"),
        ("error_code", 8, "end"),
        ("rip", 1, "rip"),
        ("rax", 6, "rax"),
        ("r15", 1, "r15"),
        ("rflags", 2, "rflags"),
    ]:
        assert [item[0] for item in differences(expecting("native"), native, **{**native, name: value})] == [
            what
        ]


def test_resume_flag_that_the_bare_machine_leaves_set_accuses_nobody() -> None:
    kept = {"rflags": 0x10002}
    assert differences(expecting("native"), kept, rflags=2) == []
    assert differences(expecting("native"), kept, **kept) == []
    assert differences(expecting("{rax: native, rflags: native}"), kept, rflags=2) == []
    assert differences(expecting("native"), kept, rflags=3)
    assert differences(expecting("{rflags: native}"), kept, rflags=3)
    assert differences(expecting("native"), {"rflags": 2}, **kept)
    faulted = {"vector": 13, "error_code": 0, "rip": 0}
    assert differences(expecting("native"), {**faulted, **kept}, **faulted, rflags=2)


def test_native_beside_named_bits() -> None:
    entry = expecting('{native: true, "ecx as cpuid.1.ecx": {vmx: 0}}', "cpuid")
    native = {"rcx": 0b111111}
    assert differences(entry, native, rcx=0b011111) == []
    assert differences(entry, native, rcx=0b011110) == [("rcx", "0x3f, native beside bit 5", "0x1e")]
    assert differences(entry, native, rcx=0b111111) == [("ecx as cpuid.1.ecx.vmx", "0x0", "0x1")]


def test_native_with_a_named_exception() -> None:
    entry = expecting('{native: true, exception: "#UD", rip: start}')
    assert differences(entry, {"rax": 5}, vector=6, rip=0, rax=5) == []
    assert differences(entry, {"rax": 5}, rax=5) != []


def test_native_page_faults() -> None:
    native = {"vector": 14, "error_code": 2, "rip": 0, "cr2": 0x1000}
    assert differences(expecting("native"), native, **native) == []
    assert differences(expecting("native"), native, **{**native, "cr2": 0x2000}) == [
        ("cr2", "0x1000, native", "0x2000")
    ]
    assert [item[0] for item in differences(expecting("native"), native)] == ["end", "rip", "cr2"]


def test_no_native_answer_is_a_difference() -> None:
    assert [item[0] for item in differences(expecting("native"))] == ["end", "rip"]
    assert differences(expecting("{rax: native}")) == [
        ("rax", "as native, but there is no native answer", "0x0")
    ]


def test_native_addresses_compare_per_cpu() -> None:
    one = case("each: {on: every-cpu}\nrun: nop\nexpect: native")
    code = code_of(one)

    def results(shift: int) -> list[ProbeResult]:
        return [result(code, cpu=cpu, rdi=SLOT + 0x8000 * cpu + 0x3000 + shift) for cpu in range(2)]

    assert judge(one, code, results(0), results(0)).ok
    assert [item.cpu for item in judge(one, code, results(0), results(1)).differences] == [0, 1]
    assert [item.cpu for item in judge(one, code, results(0), results(0)[:1]).differences] == [1, 1]


# Exits


def test_exits() -> None:
    entry = expecting('{exits: {cpuid: 1, rdmsr: ">=2", nmi: "<=1"}}', "cpuid")
    assert differences(entry, exits={0: {"cpuid": 1, "rdmsr": 5, "nmi": 0}}) == []
    assert differences(entry, exits={0: {"cpuid": 2, "rdmsr": 1}}) == [
        ("exits.cpuid", "1", "2"),
        ("exits.rdmsr", "2 or more", "1"),
    ]
    assert differences(expecting("{exits: {cpuid: 1}}"), exits={0: {}}) == [
        ("exits.cpuid", "1", "0 (the subject has no counter of this name)")
    ]
    assert differences(expecting("{exits: {cpuid: 0}}")) == [
        ("exits.cpuid", "0", "not counted: no subject is loaded")
    ]


def test_a_difference_says_what_kind_of_demand_was_missed() -> None:
    judged = of(
        expecting("{native: true, rbx: 5, rcx: unchanged, exits: {cpuid: 1}}"), {}, {0: {}}, rax=1, rcx=1
    )
    assert [(item.what, item.demand) for item in judged.differences] == [
        ("rax", Demand.NATIVE),
        ("rcx", Demand.UNCHANGED),
        ("rbx", Demand.VALUE),
        ("exits.cpuid", Demand.EXITS),
    ]
    rows = {row.name: row for row in judged.tables[0].rows if row.name not in ("rbx", "rcx")}
    assert rows["rdx"].stays
    assert not rows["end"].stays
    assert of(expecting("{rbx: 0}")).tables[0].rows[2].demand is Demand.NOTHING


# The table


def test_the_table_shows_everything() -> None:
    judged = of(expecting('{exception: "#UD", rip: start, gprs: unchanged, rax: 5}'), vector=6, rip=0, rax=5)
    (table,) = judged.tables
    names = [row.name for row in table.rows]
    assert names == ["end", "rip", "rflags", "rax", "rax", *GPRS[1:]]
    rows = {row.name: row for row in table.rows}
    assert (rows["end"].expected, rows["end"].measured, rows["end"].ok) == ("#UD", "#UD", True)
    assert (rows["rflags"].expected, rows["rflags"].ok) == ("", None)
    assert (rows["rsp"].given, rows["rsp"].ok) == (f"{SLOT + 0x6F00:#x} (stack-0x100)", True)
    assert rows["rax"].source is not None


def test_a_case_without_results_cannot_be_judged() -> None:
    one = case(expecting("native"))
    with pytest.raises(ValueError, match="without a result"):
        judge(one, code_of(one), [])


ONE = case(expecting("{gprs: unchanged}"))
CODE = code_of(ONE)
VALUES = st.integers(0, 2**64 - 1)


def _field(low: int, high: int, value: int) -> Case:
    return case(expecting(f'{{"rbx[{high}:{low}]": {value:#x}}}'))


@given(st.integers(0, 63), st.integers(0, 63), VALUES, VALUES)
def test_a_bit_range_looks_at_its_bits_and_at_no_others(
    one: int, two: int, measured: int, noise: int
) -> None:
    low, high = sorted((one, two))
    mask = (2 ** (high - low + 1) - 1) << low
    wanted = _field(low, high, (measured & mask) >> low)
    assert judge(wanted, CODE, [result(CODE, rbx=measured)]).ok
    assert judge(wanted, CODE, [result(CODE, rbx=(measured & mask) | (noise & ~mask))]).ok
    for bit in (low, high):
        assert not judge(wanted, CODE, [result(CODE, rbx=measured ^ (1 << bit))]).ok


@given(st.dictionaries(st.sampled_from(GPRS), VALUES), st.sampled_from(GPRS), st.integers(0, 63))
def test_native_and_unchanged_see_every_bit(state: dict[str, int], register: str, bit: int) -> None:
    same = result(CODE, given=state)
    changed: Any = {register: same.registers[register] ^ (1 << bit)}
    other = result(CODE, given=state, **changed)
    native = case(expecting("native"))
    assert judge(ONE, CODE, [same]).ok
    assert judge(native, CODE, [same], [same]).ok
    assert [item.what for item in judge(ONE, CODE, [other]).differences] == [register]
    assert [item.what for item in judge(native, CODE, [other], [same]).differences] == [register]


ON_ALL_REGISTERS = (
    *("native", "{native: true, eax: any, rbx: any}", "{native: true, rbx: 5}"),
    *("{gprs: unchanged}", "{gprs: unchanged, rcx: unchanged}", "{rbx: 5}"),
)


@given(
    st.sampled_from(ON_ALL_REGISTERS),
    st.dictionaries(st.sampled_from(GPRS), st.sampled_from((0, 5, 1 << 40))),
    st.dictionaries(st.sampled_from(GPRS), st.sampled_from((0, 5, 1 << 40))),
    st.booleans(),
)
def test_the_table_shows_each_difference_and_no_other(
    wanted: str, natively: Any, measured: Any, asked: bool
) -> None:
    oracle = [result(CODE, **natively)] if asked else None
    judged = judge(case(expecting(wanted)), CODE, [result(CODE, **measured)], oracle)
    (table,) = judged.tables
    wrong = [(row.name, row.expected, row.measured) for row in table.rows if row.ok is False]
    assert wrong == [(one.what, one.expected, one.measured) for one in judged.differences]


def test_any_takes_bits_out_of_native_and_registers_out_of_unchanged() -> None:
    one = expectation("{native: true, rflags.rf: any, eax: any, memory: {0: any}}")
    code = code_of(one)
    native = result(code, rax=0x1_00000000, rflags=2, memory=bytes(8))
    changed = result(code, rax=0x1_00000005, rflags=0x10002, memory=b"x" * 8)
    assert judge(one, code, [changed], [native]).ok
    changed = result(code, rax=5, rflags=0x10003, memory=b"x" * 8)
    assert [item.what for item in judge(one, code, [changed], [native]).differences] == ["rflags", "rax"]
    assert judge(expectation("{native: true, rip: any}"), code, [result(code, rip=0)], [result(code)]).ok
    unchanged = expectation("{gprs: unchanged, al: any}")
    assert judge(unchanged, code, [result(code, rax=5)]).ok
    assert not judge(unchanged, code, [result(code, rcx=5)]).ok


def test_one_of_several_exceptions() -> None:
    entry = expecting('{exception: {in: [none, "#GP(0)", "#UD"]}}')
    assert differences(entry) == []
    assert differences(entry, vector=13, error_code=0, rip=0) == []
    assert differences(entry, vector=6, rip=0) == []
    assert differences(entry, vector=13, error_code=8, rip=0) == [
        ("end", "no exception or #GP(0x0) or #UD", "#GP(0x8)")
    ]


def test_the_exception_of_the_native_phase() -> None:
    entry = expecting("{exception: native, gprs: unchanged}")
    native: dict[str, object] = {"vector": 13, "error_code": 0, "rip": 0, "rflags": 0x10002}
    assert differences(entry, native, vector=13, error_code=0, rip=5) == []
    assert differences(entry, native, vector=13, error_code=8, rip=0) == [
        ("end", "#GP(0x0) (native)", "#GP(0x8)")
    ]
    assert differences(entry) == [("end", "as native, but CPU 0 has no native answer", "no exception")]


def test_dr7_and_msrs_at_the_end() -> None:
    entry = expecting("{exception: native, dr7.gd: 0, msrs: {ia32-debugctl: {btf: 0}, 0x140: native}}")
    native: dict[str, object] = {"vector": 1, "rip": 1, "msrs": {0x140: 1, 0x1D9: 0}}
    assert differences(entry, native, vector=1, rip=1, msrs={0x140: 1, 0x1D9: 1}) == []
    assert differences(entry, native, vector=1, rip=1, dr7=0x2400, msrs={0x1D9: 2}) == [
        ("dr7.gd", "0x0", "0x1"),
        ("msrs.ia32-debugctl.btf", "0x0", "0x1"),
        ("msrs.0x140", "0x1, native", "not measured"),
    ]


def test_descriptor_tables() -> None:
    entry = expecting(
        "{exception: native, idtr: {base: unchanged, limit: 0xfff}, gdtr: native, ldtr: 0, tr: native}"
    )
    tables = {"idtr.base": (0x5000, 0x5000), "idtr.limit": (0xFFF, 0xFFF), "gdtr.base": (1, 1)}
    tables |= {"gdtr.limit": (0x67, 0x67), "ldtr": (0, 0), "tr": (0x40, 0x40)}
    native: dict[str, object] = {"vector": 6, "rip": 1, "more": tables}
    assert differences(entry, native, vector=6, rip=1, more=tables) == []
    wrong = tables | {
        "idtr.base": (0x5000, 0x6000),
        "idtr.limit": (0xFFF, 0xFFFF),
        "gdtr.limit": (0x67, 0xFFFF),
    }
    assert differences(entry, native, vector=6, rip=1, more=wrong) == [
        ("idtr.base", "unchanged", "0x6000"),
        ("idtr.limit", "0xfff", "0xffff"),
        ("gdtr.limit", "0x67, native", "0xffff"),
    ]
    assert ("tr", "0x40, native", "not measured") in differences(entry, native, vector=6, rip=1)


def test_what_a_call_has_returned_with() -> None:
    entry = "at-load: {dr0: 1}\n" + expecting("{returned: {rflags: {ac: 1, if: 0}, rbx: 5, gprs: unchanged}}")
    names = ("rbp", "r12", "r13", "r14", "r15")
    call = {"returned.rflags": (0x40002, 0x40002), "returned.rbx": (5, 5)}
    call |= {f"returned.{name}": (7, 7) for name in names} | {"returned.ss": (0x10, 0x10)}
    assert differences(entry, more=call) == []
    wrong = call | {"returned.rflags": (0x40002, 0x202), "returned.rbx": (5, 6), "returned.r14": (7, 0)}
    assert differences(entry, more=wrong) == [
        ("returned.rflags.ac", "0x1", "0x0"),
        ("returned.rflags.if", "0x0", "0x1"),
        ("returned.rbx", "0x5", "0x6"),
        ("returned.r14", "unchanged", "0x0"),
    ]
    everything = "at-load: {dr0: 1}\n" + expecting("{returned: unchanged}")
    assert differences(everything, more=call) == []
    wrong |= {"returned.ss": (0x10, 0)}
    assert [name for name, *_ in differences(everything, more=wrong)] == [
        "returned.rflags",
        "returned.rbx",
        "returned.r14",
        "returned.ss",
    ]
    assert len(differences(everything)) == 8  # an agent that does not report them


def test_native_compares_dr7_if_it_was_given() -> None:
    native: dict[str, object] = {"vector": 1, "rip": 1, "dr6": 0, "dr7": 0x400}
    given = "given: {dr7: 0x2400}\n" + expecting("native")
    assert differences(given, native, vector=1, rip=1, dr6=0, dr7=0x2400) == [
        ("dr7", "0x400, native", "0x2400 (gd)")
    ]
    # Linux' scheduler sets GE as it likes.
    assert differences(expecting("native"), native, vector=1, rip=1, dr6=0, dr7=0x600) == []
