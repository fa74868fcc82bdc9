from __future__ import annotations

import pytest

from tests.support.suite_texts import case, check, code_of
from touchstone.machine.probe import Operand, Page
from touchstone.machine.probe_lines import encode_probe
from touchstone.suite.model import Check
from touchstone.suite.problems import SuiteErrors
from touchstone.suite.request import memory_range, probe_request, seed


def request(found: Check, cpus: int = 4, index: int = 0):  # type: ignore[no-untyped-def]
    one = found.cases[index]
    return probe_request(found, one, code_of(one), cpus)


def test_everything_reaches_the_request() -> None:
    made = request(
        check("""\
given: {gprs: random, rdi: scratch+8, rsi: end, rdx: here-1, rflags: {df: 1}, cr4: {osxsave: 0}, dr0: here,
        memory: {8: "01 02"}, at: 0x10, keep: [ia32-lstar],
        msrs: {0x140: 1, ia32-debugctl: {btf: 1, lbr: 0}, IA32_CSTAR: here}}
run: |
  nop
  here: ud2
timeout: 0.5
expect: {exception: "#UD", memory: {0x10: 5, 0x20: native}}
""")
    )
    assert made.code.hex() == "900f0b"
    assert (made.cpl, made.cpus, made.together, made.at, made.timeout) == (0, (0,), False, 0x10, 0.5)
    assert made.registers == {
        "rdi": Operand("scratch", 8),
        "rsi": Operand("start", 3),
        "rdx": Operand("start", 0),
    }
    assert made.debug == {"dr0": Operand("start", 1)}
    assert made.rflags == 1 << 10 | 2
    assert made.bits == {"cr4": (0, 1 << 18)}
    assert made.memory == ((8, b"\x01\x02"),)
    assert made.read == (0x10, 0x18)
    assert made.keep == (0xC0000082,)
    assert made.msrs == {0x140: Operand("number", 1), 0x1D9: (2, 1), 0xC0000083: Operand("start", 1)}
    assert made.seed == seed("exits.x", "")


def test_handlers() -> None:
    made = request(
        check("""\
each: {vector: ["#DB"]}
handle: {"{vector}": here, nmi: start+1, vector 0x50: end-1}
run: |
  nop
  here: ud2
expect: native
""")
    )
    assert made.handlers == {1: 1, 2: 1, 0x50: 2}
    assert encode_probe(made)[-1] == ("handle", "1:1,2:1,50:2")


def test_kinds_of_handlers() -> None:
    made = request(
        check(
            'handle: {"#DB": return, "#GP": no-gate, nmi: not-present, vector 0x50: return}\n'
            "run: nop\nexpect: native"
        )
    )
    assert encode_probe(made)[-1] == ("handle", "1:r,d:x,2:p,50:r")


def test_a_place_in_the_body_at_the_end_of_the_address_space() -> None:
    """``at`` gives the address of one place; where the body starts follows, and wraps at 4 GiB."""
    made = request(
        check("""
bits: 32
given: {at: {after: 0}, cs-base: 0x1000, pages: {after: [read-only, uc], 0x5000: {same-as: scratch}}}
run: |
  cpuid
  after: nop
expect: native
""")
    )
    assert (made.at, made.place.linear, made.place.base) == (0xFFE, 0xFFFF_FFFE, 0x1000)
    assert made.place.pages == (
        Page(Operand("start", 2), 0x18, 0x82),
        Page(Operand("number", 0x5000), alias=Operand("scratch")),
    )
    assert [pair for pair in encode_probe(made) if pair[0] in ("linear", "base", "page")] == [
        ("linear", "fffffffe"),
        ("base", "1000"),
        ("page", "c2:18:82"),
        ("page", "5000:0:0:s0"),
    ]


def test_the_mode_decides_the_kind_of_code_unless_the_check_does() -> None:
    found = check("each: {mode: [long, no-paging, real, virtual-8086]}\nrun: nop\nexpect: native")
    made = [request(found, index=index) for index in range(4)]
    assert [(one.place.mode, one.code_bits) for one in made] == [
        ("long", 64),
        ("no-paging", 32),
        ("real", 16),
        ("virtual-8086", 16),
    ]
    assert [[need.text for need in case.requires][:1] for case in found.cases] == [
        [],
        ["os == bare"],
        ["os == bare"],
        ["os == bare"],
    ]


def test_the_kind_of_code_segment() -> None:
    found = check("each: {bits: [32, 64]}\nrun: inc eax\nexpect: native")
    assert [(one.code_bits, one.code.hex()) for one in (request(found), request(found, index=1))] == [
        (32, "40"),
        (64, "ffc0"),
    ]


@pytest.mark.parametrize(
    ("on", "cpus", "expected", "together"),
    [
        ("first", 4, (0,), False),
        ("last", 4, (3,), False),
        ("last", 1, (0,), False),
        ("every-cpu", 4, (0, 1, 2, 3), False),
        ("together", 2, (0, 1), True),
    ],
)
def test_cpus(on: str, cpus: int, expected: tuple[int, ...], together: bool) -> None:
    made = request(check(f"each: {{on: {on}}}\nrun: nop\nexpect: native"), cpus)
    assert (made.cpus, made.together) == (expected, together)


def test_page_end() -> None:
    assert request(check("given: {at: page-end}\nrun: cpuid\nexpect: native")).at == 0xFFE


def test_a_body_that_does_not_fit_into_the_code_area() -> None:
    with pytest.raises(SuiteErrors) as caught:
        request(check("given: {at: 0x1ffe}\nrun: cpuid\nexpect: native"))
    assert str(caught.value) == (
        "suite.yaml:8:10: 2 bytes at 0x1ffe do not fit into the code area of 0x2000 bytes; lower `at`"
    )


def test_seeds_are_stable_and_differ() -> None:
    assert seed("exits.cpuid", "cpl=3") == 0x27D60EA8D91F0EF6
    found = check("given: {gprs: random}\neach: {cpl: [0, 3]}\nrun: nop\nexpect: native")
    assert request(found, index=0).seed != request(found, index=1).seed
    assert request(check("run: nop\nexpect: native")).seed is None


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("run: nop\nexpect: native", None),
        ("given: {rdi: scratch+0x100}\nrun: nop\nexpect: native", (0, 64)),
        ("given: {memory: {0x40: 1}}\nrun: nop\nexpect: native", (0, 72)),
        ("given: {memory: {0x1000: 1}}\nrun: nop\nexpect: native", (0, 64)),
        ("given: {rdi: scratch}\nrun: nop\nexpect: {native: true, memory: {0x80: 1}}", (0, 0x88)),
        ("given: {rdi: scratch}\nrun: nop\nexpect: {native: true, memory: {0x800: 1}}", (0x800, 8)),
        ("given: {rdi: scratch}\nrun: nop\nexpect: {rax: 1}", None),
        ("run: nop\nexpect: {memory: {4: {bytes: 2, is: 1}, 0x10: '01'}}", (4, 13)),
    ],
)
def test_what_is_read_back(entry: str, expected: tuple[int, int] | None) -> None:
    assert memory_range(case(entry)) == expected
