# ruff: noqa: E501 (the messages are looked for as they are, in one piece)
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.suite_texts import PATH
from touchstone.suite import cpu_bits
from touchstone.suite.cpu_bits import CpuidBits, MsrBits
from touchstone.suite.model import Requirement, Source
from touchstone.suite.requires import (
    ExpressionError,
    Facts,
    Outcome,
    evaluate,
    evaluate_all,
    names_used,
    parse,
)

FACTS: Facts = {
    "vendor": "intel",
    "cpus": 2,
    "os": "bare",
    "target": "bochs-intel",
    "driver": "bochs",
    "subject": "veneer",
    "subject.nested": "emulated",
    "subject.trace": True,
    "subject.leaf": 0x40000000,
    "cpuid.xsave": 1,
    "cpuid.avx512f": 0,
}


@pytest.mark.parametrize(
    ("text", "result", "reason"),
    [
        ("cpus >= 2", True, ""),
        ("cpus >= 4", False, "needs cpus >= 4, bochs-intel has 2"),
        ("not cpus >= 2", False, "needs not cpus >= 2, bochs-intel has 2"),
        ("subject.nested == hidden", False, "needs subject.nested == hidden, veneer has emulated"),
        ("subject.nested in (hidden, emulated)", True, ""),
        ("subject.nested not in (hidden, emulated)", False,
         "needs subject.nested not in (hidden, emulated), veneer has emulated"),
        ("subject.leaf == 0x40000000", True, ""),
        ("subject.leaf != 0x40000000", False, "needs subject.leaf != 1073741824, veneer has 1073741824"),
        ("subject.trace", True, ""),
        ("subject.trace == true", True, ""),
        ("subject.trace == false", False, "needs subject.trace == false, veneer has true"),
        ("cpuid.xsave and not cpuid.avx512f", True, ""),
        ("cpuid.avx512f", False, "needs cpuid.avx512f, bochs-intel has 0"),
        ("cpuid.la57", None, "needs cpuid.la57, and cpuid.la57 is not known of bochs-intel"),
        ("cpuid.la57 and cpus >= 4", False, "needs cpus >= 4, bochs-intel has 2"),
        ("cpuid.la57 or cpus >= 2", True, ""),
        ("cpuid.la57 or cpus >= 4", None,
         "needs cpuid.la57, and cpuid.la57 is not known of bochs-intel, or needs cpus >= 4, bochs-intel has 2"),
        ("subject == none", False, "needs subject == none, this run has veneer"),
        ('target == "bochs-intel"', True, ""),
        ("vendor == amd or vendor == intel and cpus < 2", False,
         "needs vendor == amd, bochs-intel has intel, or needs cpus < 2, bochs-intel has 2"),
        ("not (vendor == amd or cpus < 2)", True, ""),
        ("not (vendor == intel and cpus >= 2)", False,
         "needs not vendor == intel, bochs-intel has intel, or needs not cpus >= 2, bochs-intel has 2"),
        ("subject.version >= 2", None, "needs subject.version >= 2, and veneer does not claim version"),
        ("cpus % 2 == 0", True, ""),
        ("cpus % 4 == 0", False, "needs cpus % 4 == 0, bochs-intel has 2"),
        ("not cpus % 2 == 0", False, "needs not cpus % 2 == 0, bochs-intel has 2"),
        ("cpus % 4 in (0, 1)", False, "needs cpus % 4 in (0, 1), bochs-intel has 2"),
        ("cpus%4 not in (0, 1) and cpus % 4 >= 2", True, ""),
        ("subject.leaf % 0x10 != 0", False, "needs subject.leaf % 16 != 0, veneer has 1073741824"),
        ("subject.version % 2 == 0", None, "needs subject.version % 2 == 0, and veneer does not claim version"),
        ("subject.nested % 2 == 0", False, "needs subject.nested % 2 == 0, veneer has emulated"),
        ("subject.nested % 2 != 0", False, "needs subject.nested % 2 != 0, veneer has emulated"),
        ("subject.nested > 2", False, "needs subject.nested > 2, veneer has emulated"),
    ],
)  # fmt: skip
def test_results_and_reasons(text: str, result: bool | None, reason: str) -> None:
    assert evaluate(text, FACTS) == Outcome(result, reason)


@pytest.mark.parametrize(
    ("text", "offset", "message"),
    [
        ("", 0, "a name is expected, but the expression ends"),
        ("cpus >=", 7, "a number or a word is expected, but the expression ends"),
        ("cpus = 2", 5, "'=' is not expected here; equality is =="),
        ("cpus >= two", 8, "cpus is a number, 'two' is none"),
        ("2 <= cpus", 0, "'2' is no name; names come first: cpus >= 2"),
        ("vendor == intl", 10, "vendor is intel or amd, never 'intl' (did you mean 'intel'?)"),
        ("vendor > amd", 7, "> compares numbers; 'amd' is none"),
        ("cpu >= 2", 0, "'cpu' is nothing that is known of a target (did you mean 'cpus'?)"),
        ("memory >= 2", 0, "'memory' is nothing that is known of a target; known are vendor, os, way, cpus,"
         " target, driver, emulator, subject, intercepts.CONTROL, machine.STATE, subject.CLAIM, cpuid.FEATURE, cpuid.LEAF.REGISTER[BIT] and"
         " msr.NAME[BIT]"),
        ("vendor == amd and intercepts.xsetvb", 18,
         "nobody tests whether 'xsetvb' is intercepted (did you mean 'xsetbv'?)"),
        ("machine.stores.pta", 0, "nobody tests 'stores.pta' of a machine (did you mean 'stores.pat'?)"),
        ("cpuid.xsav", 0, "there is no CPUID feature 'xsav' (did you mean 'xsave'?)"),
        ("cpuid.xsave[1]", 0, "'cpuid.xsave[1]': xsave is a feature, which has its bits already; write cpuid.xsave"),
        ("not cpuid.7.ebz[1]", 4, "'cpuid.7.ebz[1]': a CPUID leaf is cpuid.LEAF.REGISTER[BIT] or"
         " cpuid.LEAF.SUBLEAF.REGISTER[BIT]: cpuid.0x80000008.ebx[3]"),
        ("cpuid.07.ebx[1]", 0, "'cpuid.07.ebx[1]': a CPUID leaf is cpuid.LEAF.REGISTER[BIT] or"
         " cpuid.LEAF.SUBLEAF.REGISTER[BIT]: cpuid.0x80000008.ebx[3]"),
        (f"msr.0x3a[{'9' * 5000}]", 0,
         f"'msr.0x3a[{'9' * 5000}]': bits are [HIGH:LOW], from 63 to 0, or one bit [N]"),
        ("cpuid.7.ebx[32]", 0, "'cpuid.7.ebx[32]': bits are [HIGH:LOW], from 31 to 0, or one bit [N]"),
        ("cpuid.7.ebx[a]", 0, "'cpuid.7.ebx[a]': bits are [HIGH:LOW], or one bit [N]"),
        ("cpuid.7.ebx.smpe", 0, "cpuid.7.ebx has no bit 'smpe' (did you mean 'smep'?)"),
        ("cpuid.0x1f.ebx.smep", 0,
         "the bits of cpuid.0x1f.ebx have no names here; write the place: cpuid.0x1f.ebx[3]"),
        ("cpuid.0x100000000.eax", 0, "'cpuid.0x100000000.eax': leaves and subleaves have 32 bits"),
        ("msr.ia32-feature-contrl[0]", 0, "'ia32-feature-contrl' is no MSR (did you mean 'ia32-feature-control'?)"),
        ("msr.0x3a[3:4]", 0, "'msr.0x3a[3:4]': bits are [HIGH:LOW], from 63 to 0, or one bit [N]"),
        ("msr.0x3a.lokc", 0, "msr.0x3a has no bit 'lokc' (did you mean 'lock'?)"),
        ("msr.0x3a.lock[1]", 0, "'msr.0x3a.lock[1]': say either a name or a place"),
        ("msr.0x8b.lock", 0, "the bits of msr.0x8b have no names here; write the place: msr.0x8b[3]"),
        ("cpus >= 2 nd vendor == amd", 10, "and, or, or the end is expected, but there is 'nd' (did you mean 'and'?)"),
        ("(cpus >= 2", 10, "')' is expected, but the expression ends"),
        ("vendor in intel", 10, "'(' with the values: in (a, b) is expected, but there is 'intel'"),
        ("vendor in (intel amd)", 17, "',' or ')' is expected, but there is 'amd'"),
        ("cpus >= 2 && vendor == amd", 10, "'&' is not expected here; write and"),
        ("not", 3, "a name is expected, but the expression ends"),
        ("cpus % 2", 8, "what is compared with the remainder, as in cpus % 2 == 0, is expected, but the expression ends"),
        ("cpus % 2 and os == bare", 9,
         "what is compared with the remainder, as in cpus % 2 == 0, is expected, but there is 'and'"),
        ("cpus % == 0", 7, "a number of at least 1 is expected, but there is '=='"),
        ("cpus % 0 == 0", 7, "a number of at least 1 is expected, but there is '0'"),
        ("cpus % even == 0", 7, "a number of at least 1 is expected, but there is 'even'"),
        ("cpus % 2 == 2", 12, "cpus % 2 is from 0 to 1, never '2'"),
        ("cpus % 2 in (0, even)", 16, "cpus % 2 is from 0 to 1, never 'even'"),
        ('subject.nested % 2 == "0"', 22, "a number or a word is expected, but there is '\"0\"'"),
        ("vendor % 2 == 0", 7, "% is for numbers; vendor is a word"),
    ],
)  # fmt: skip
def test_errors(text: str, offset: int, message: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse(text)
    assert (caught.value.text, caught.value.offset) == (message, offset)


def test_names() -> None:
    assert names_used("cpus >= 2 and (not cpuid.xsave or subject.nested == hidden)") == {
        "cpus",
        "cpuid.xsave",
        "subject.nested",
    }


def test_a_false_part_is_reported_before_an_unknown_one() -> None:
    needs = tuple(
        Requirement(text, Source(PATH, 1, 1)) for text in ("cpuid.la57", "cpus >= 2", "vendor == amd")
    )
    assert evaluate_all(needs, FACTS).reason == "needs vendor == amd, bochs-intel has intel"
    assert evaluate_all(needs[:2], FACTS).result is None
    assert evaluate_all(needs[1:2], FACTS) == Outcome(True, "")
    assert evaluate_all((), {}) == Outcome(True, "")


# An expression as a text, and what it must come to, built side by side.
Pair = tuple[str, bool | None]


def _leaf(number: int, known: bool, value: int) -> Pair:
    name = f"subject.{'k' if known else 'u'}{value}"
    return f"{name} >= {number}", (value >= number) if known else None


def _and(left: bool | None, right: bool | None) -> bool | None:
    if left is False or right is False:
        return False
    return None if left is None or right is None else True


def _not(value: bool | None) -> bool | None:
    return None if value is None else not value


PAIRS = st.recursive(
    st.builds(_leaf, st.integers(0, 9), st.booleans(), st.integers(0, 9)),
    lambda inner: st.one_of(
        st.builds(lambda one: (f"not ({one[0]})", _not(one[1])), inner),
        st.builds(lambda one, two: (f"({one[0]}) and ({two[0]})", _and(one[1], two[1])), inner, inner),
        st.builds(
            lambda one, two: (f"({one[0]}) or ({two[0]})", _not(_and(_not(one[1]), _not(two[1])))),
            inner,
            inner,
        ),
    ),
    max_leaves=12,
)


@given(PAIRS)
def test_three_valued_logic(pair: Pair) -> None:
    text, expected = pair
    facts: dict[str, str | int | bool] = {f"subject.k{value}": value for value in range(10)}
    outcome = evaluate(text, facts)
    assert outcome.result is expected
    assert bool(outcome.reason) is (expected is not True)


@given(st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=6), st.data())
def test_and_binds_tighter_than_or(names: list[str], data: st.DataObject) -> None:
    ops = [data.draw(st.sampled_from(["and", "or"])) for _ in names[1:]]
    facts: dict[str, str | int | bool] = {f"subject.{name}": data.draw(st.booleans()) for name in "abc"}
    text = f"subject.{names[0]}" + "".join(
        f" {op} subject.{name}" for op, name in zip(ops, names[1:], strict=True)
    )
    python = text.replace("subject.", "")
    expected = eval(
        python, {name: facts[f"subject.{name}"] for name in "abc"}
    )  # the grammar is Python's here
    assert evaluate(text, facts).result is expected


@given(st.text(alphabet="abcpus019 ()<>=!%.,'\"#-andornti\n", max_size=30))
def test_any_text_parses_or_is_refused_with_an_offset_in_it(text: str) -> None:
    offset, message = 0, "fine"
    try:
        parse(text)
    except ExpressionError as error:
        offset, message = error.offset, error.text
    assert 0 <= offset <= len(text)
    assert message


@pytest.mark.parametrize(
    ("name", "bits"),
    [
        ("cpuid.invlpgb", CpuidBits(0x80000008, 0, "ebx", 3, 1)),
        ("cpuid.0x80000008.ebx[3]", CpuidBits(0x80000008, 0, "ebx", 3, 1)),
        ("cpuid.0x80000008.ebx.invlpgb", CpuidBits(0x80000008, 0, "ebx", 3, 1)),
        ("cpuid.7.1.eax[15:8]", CpuidBits(7, 1, "eax", 8, 8)),
        ("cpuid.0x1f.1.ecx", CpuidBits(0x1F, 1, "ecx", 0, 32)),
        ("msr.0x140[0]", MsrBits(0x140, 0, 1)),
        ("msr.ia32-feature-control.lock", MsrBits(0x3A, 0, 1)),
        ("msr.feature-control[63:8]", MsrBits(0x3A, 8, 56)),
        ("msr.0xc001_0114", MsrBits(0xC0010114, 0, 64)),
    ],
)
def test_bits_by_their_place(name: str, bits: CpuidBits | MsrBits) -> None:
    assert cpu_bits.parse(name) == bits
    assert names_used(f"vendor == intel and not {name} or {name} == 3") == {"vendor", name}
    assert evaluate(f"{name} > 2", {name: 3, "target": "t"}) == Outcome(True, "")
    assert evaluate(name, {name: 0, "target": "t"}) == Outcome(False, f"needs {name}, t has 0")
