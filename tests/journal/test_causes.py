"""Which checks are told together, by what their first difference has in common."""

from __future__ import annotations

import pytest

from tests.support.journals import judged_line, key
from touchstone.journal.bits import as_ranges
from touchstone.journal.causes import common_cause
from touchstone.journal.lines import Difference, EvidenceLine
from touchstone.words import Verdict

OWN = "rax: expected 1, measured 2, nop"


def cause(*differences: Difference) -> str:
    one = key("exits.a")
    evidence = EvidenceLine(
        at=1, check=one.check, target=one.target, subject=one.subject, differences=list(differences)
    )
    return common_cause(judged_line(one, Verdict.DEVIATION, cause=OWN), evidence)


@pytest.mark.parametrize(
    ("what", "expected", "measured", "common"),
    [
        ("rbx", "0x68747541, native", "0xcb02d62568747541", "rbx differs in bits 63:32"),
        ("rbx", "0x0, native", "0xfa7406fc00000000", "rbx differs in bits 63:32"),
        ("rbx[63:32]", "0x0", "0xffffffff", "rbx differs in bits 63:32"),
        ("r10", "0x25d2010607c85d3f, unchanged", "0x1234567812345678", "r10 is changed"),
        ("ecx", "0x20, native", "0x0", "ecx differs in bit 5"),
        ("ecx[11:6]", "0xf, native", "0xe", "ecx differs in bit 6"),
        ("rcx", "0x7ed8320b, native", "0x7ed8322f, native", "rcx differs in bits 2, 5"),
        ("rax", "0x1", "0x0", OWN),
        ("rax", "0x12345678, native", "0x0", OWN),
        ("rip", "0xf0000000 (start)", "0xf0000002 (end)", OWN),
        ("end", "#GP(0x0)", "no exception", OWN),
        ("exits.cpuid", "1", "2", OWN),
    ],
)
def test_common_cause(what: str, expected: str, measured: str, common: str) -> None:
    assert cause(Difference(what=what, expected=expected, measured=measured)) == common


def test_names_of_bits_and_what_the_machine_does_too() -> None:
    machine = Difference(what="end", expected="#GP(0x0)", measured="no exception", accused=False)
    shown = Difference(what="ecx", expected="0x0, native", measured="0x20", bits="cpuid.0x1.ecx: vmx")
    assert cause(machine, shown) == "ecx differs in bit 5 (cpuid.0x1.ecx: vmx)"
    assert cause(machine) == OWN
    assert common_cause(judged_line(key("exits.a"), Verdict.CRASH, reason="it died\nso"), None) == "it died"


@pytest.mark.parametrize(
    ("bits", "text"),
    [
        ([5], "5"),
        ([5, 7], "7, 5"),
        ([*range(32, 64)], "63:32"),
        ([0, 28, 29, 30, 31], "31:28, 0"),
        ([32, 34, 36, 38, 40, 62], "of 63:32"),
        ([1, 3, 5, 7, 9], "of 31:0"),
        ([1, 33, 35, 37, 39], "of 63:0"),
        ([], ""),
    ],
)
def test_bits_in_words(bits: list[int], text: str) -> None:
    assert as_ranges(bits) == text
