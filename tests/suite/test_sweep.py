"""The key ``sweep``: what it means, its errors, and how its items are compared."""

from __future__ import annotations

import struct

import pytest

from tests.support.suite_texts import case, check, code_of, result, wrong
from touchstone.machine.probe import Operand
from touchstone.suite.judge import judge
from touchstone.suite.model import Case
from touchstone.suite.request import memory_range, probe_request
from touchstone.suite.sweep import ANSWER, RESULTS_OFFSET, TABLE_SIZE

SWEEP = "sweep: {%s}\nrun: cpuid\nexpect: native"


def swept(keys: str) -> Case:
    return case(SWEEP % keys)


def values(one: Case) -> list[tuple[int, ...]]:
    assert one.sweep
    return list(one.sweep)


def test_last_input_changes_fastest() -> None:
    one = swept("eax: [7, 0xd], ecx: 0 to 1, results: [eax, ebx]")
    assert values(one) == [(7, 0), (7, 1), (0xD, 0), (0xD, 1)]
    assert one.label == "eax=0x7, ecx=0x0 to eax=0xd, ecx=0x1"
    assert memory_range(one) == (RESULTS_OFFSET, 4 * 9)


def test_items_are_split_over_probes() -> None:
    cases = check(SWEEP % "ecx: [0 to 0x1fff, 0xc0000000], results: [eax, edx]").cases
    assert [value for one in cases for value in values(one)] == [
        *((number,) for number in range(0x2000)),
        (0xC0000000,),
    ]
    for one in cases:
        assert one.sweep
        span = memory_range(one)
        assert span
        assert span[1] <= ANSWER
        assert len(one.given.memory[0][1]) < TABLE_SIZE


def test_table_ends_with_zeros_in_any_case() -> None:
    many = ", ".join(str(2 * number) for number in range(300))
    for one in check(SWEEP % f"eax: [{many}], ecx: 0, results: [eax]").cases:
        assert len(one.given.memory[0][1]) + 12 <= TABLE_SIZE


def test_each_and_sweep_multiply() -> None:
    entry = "each: {cpl: [0, 3], bits: [64, 32]}\n" + SWEEP % "ecx: 1, results: [eax]"
    assert [one.label for one in check(entry).cases] == [
        "cpl=0, bits=64, ecx=0x1",
        "cpl=0, bits=32, ecx=0x1",
        "cpl=3, bits=64, ecx=0x1",
        "cpl=3, bits=32, ecx=0x1",
    ]
    for one in check(entry).cases:
        assert code_of(one).code_bits == one.body.code_bits


def test_handlers_and_start() -> None:
    entry = check(SWEEP % "ecx: 1, results: [eax]")
    (one,) = entry.cases
    code = code_of(one)
    request = probe_request(entry, one, code, 1)
    assert request.registers["rbp"] == Operand("scratch")
    assert request.registers["rsi"] == Operand("start", code.labels["sweep_after"])
    assert request.handlers[13] == code.labels["sweep_vector_13"]
    assert request.memory == ((0, struct.pack("<II", 1, 1)),)


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ("ecx: 1", "a sweep says which registers are compared: results: [eax, edx]"),
        ("results: [eax]", "a sweep has the values of a register at least: {ecx: 0 to 0x1fff}"),
        ("esi: 1, results: [eax]", "'esi' is nothing that a sweep has: eax, ebx, ecx, edx, results, differs"),
        (
            "ecx: 5 to 3, results: [eax]",
            "ecx is a number or a range (0 to 0x1f), up to 0xffffffff, not '5 to 3'",
        ),
        ("ecx: [1 to 5, 3], results: [eax]", "ecx: '3' is listed already, or a part of it"),
        ("ecx: 1, results: [eax, rax]", "rax is listed already, or a part of it"),
        (
            "ecx: 0 to 0xffffffff, results: [eax]",
            "this sweep has 4294967296 items; it can have 1048576",
        ),
        (
            "ecx: 0 to 0xfffff, results: [eax]",
            "this sweep needs 2564 probes; a check has at most 256",
        ),
        ("ecx: 1, results: [eax], differs: [{ecx: 1}]", "what may differ needs a reason: why: ..."),
        (
            "ecx: 1, results: [eax], differs: [{why: it may}]",
            "this is about no item: give ecx",
        ),
        (
            "ecx: 1, results: [eax], differs: [{ecx: 1, refused: false, why: it may}]",
            "refused must be true, not 'false'",
        ),
        (
            "ecx: 1, results: [eax], differs: [{ecx: 1, bits: {edx: 1}, why: it may}]",
            "'edx' is none of the results: eax",
        ),
        (
            "ecx: 1, results: [eax], differs: [{ecx: 1, bits: {eax: 32}, why: it may}]",
            "a bit of eax is a number or a range (0 to 0x1f), up to 0x1f, not '32'",
        ),
    ],
)
def test_errors(keys: str, text: str) -> None:
    assert wrong(SWEEP % keys) == [text]


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ("given: {rax: 1}", "a sweep sets registers and memory by itself, not by given.rax"),
        ("given: {gprs: random}", "a sweep sets registers and memory by itself, not by given.gprs"),
        ("handle: {nmi: return}", "a check with sweep cannot have handle"),
    ],
)
def test_keys_that_do_not_go_together(more: str, text: str) -> None:
    assert wrong(f"{more}\n" + SWEEP % "ecx: 1, results: [eax]") == [text]


def test_expects_native_only() -> None:
    entry = "sweep: {ecx: 1, results: [eax]}\nrun: cpuid\nexpect: {rax: 1}"
    assert wrong(entry) == ["a sweep compares with the bare machine: expect: native"]


# Judging. An item's results are a vector (0xff: none) and the registers.


def item(eax: int, vector: int = 0xFF) -> bytes:
    return struct.pack("<BI", vector, eax)


def differences(keys: str, native: bytes, measured: bytes) -> list[tuple[str, str, str]]:
    one = swept(keys)
    code = code_of(one)
    judged = judge(one, code, [result(code, memory=measured)], [result(code, memory=native)])
    return [(row.what, row.expected, row.measured) for row in judged.differences]


TWO = "ecx: [1, 5], results: [eax]"


def test_the_item_that_differs_is_named() -> None:
    native, measured = item(7) + item(9), item(7) + item(8)
    assert differences(TWO, native, native) == []
    assert differences(TWO, native, measured) == [("ecx=0x5: eax", "0x9, native", "0x8")]


def test_an_exception_differs() -> None:
    found = differences(TWO, item(7) + item(9), item(0, 13) + item(9))
    assert found == [("ecx=0x1: end", "no exception, native", "#GP")]


def test_bits_that_may_differ() -> None:
    keys = TWO + ", differs: [{ecx: 5, bits: {eax: [0, 4 to 5]}, why: it may}]"
    assert differences(keys, item(7) + item(0), item(7) + item(0x31)) == []
    assert differences(keys, item(7) + item(0), item(7) + item(0x33)) == [
        ("ecx=0x5: eax", "0x0, native", "0x33")
    ]
    assert differences(keys, item(7) + item(0), item(6) + item(0)) != []
    assert differences(keys, item(7) + item(0), item(7) + item(0, 6)) != []


def test_items_that_may_differ() -> None:
    keys = TWO + ", differs: [{ecx: 2 to 9, why: it may}]"
    assert differences(keys, item(7) + item(0), item(7) + item(5, 13)) == []


def test_an_item_that_may_be_refused_may_do_nothing_else() -> None:
    keys = TWO + ", differs: [{ecx: 5, refused: true, why: the manual says so}]"
    took = item(7) + item(9)
    assert differences(keys, took, item(7) + item(0, 13)) == []
    assert differences(keys, item(7) + item(0, 13), took) == [("ecx=0x5: end", "#GP, native", "no exception")]
    assert differences(keys, took, item(7) + item(0, 6)) == [("ecx=0x5: end", "no exception, native", "#UD")]
    assert differences(keys, took, item(7) + item(8)) == [("ecx=0x5: eax", "0x9, native", "0x8")]
    assert differences(keys, took, item(0, 13) + item(9)) == [("ecx=0x1: end", "no exception, native", "#GP")]


def test_results_that_did_not_come_back_differ() -> None:
    assert differences(TWO, item(7) + item(9), item(7)) == [("ecx=0x5", "as native", "not measured")]


def test_without_a_native_answer_nothing_holds() -> None:
    one = swept(TWO)
    code = code_of(one)
    assert not judge(one, code, [result(code, memory=item(7) + item(9))]).ok
