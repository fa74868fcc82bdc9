"""Random probes: equal seeds make equal probes, which are written as checks that mean the same."""

from __future__ import annotations

from dataclasses import replace
from textwrap import indent

import pytest

from tests.support.suite_texts import HEAD, PATH, check, code_of, loaded, wrong
from touchstone.suite.model import Body, Case, Expectation, Source
from touchstone.suite.random_probes import RandomProbe, as_case, as_yaml, claims_behind, random_probe, smaller
from touchstone.suite.random_units import TF, Dice, Unit

SOURCE = Source(PATH, 1, 1)
FOR_HYPERVISORS = {
    *("vmcall", "vmlaunch", "vmresume", "vmxoff", "vmxon", "vmclear", "vmptrld", "vmptrst", "vmread"),
    *("vmwrite", "invept", "invvpid", "vmfunc"),  # SDM 3C 32.3
    *("vmrun", "vmload", "vmsave", "vmmcall", "clgi", "stgi", "invlpga", "skinit"),  # APM2 15
}
SEVERAL = [(seed, number) for seed in (1, 2) for number in range(60)]


def without_positions(one: Case) -> tuple[object, ...]:
    body = Body(one.body.lines, (), one.body.code_bits)
    fields = tuple(replace(item, source=None) for item in one.expect.fields)
    events = replace(one.expect.events, source=None) if one.expect.events else None
    end: Expectation = replace(one.expect, fields=fields, events=events, source=None)
    return one.cpl, one.on, body, one.given, end, one.mode


def test_dice_are_the_same_everywhere() -> None:
    dice = Dice(1)
    assert [dice.below(100) for _ in range(8)] == [37, 10, 91, 92, 12, 45, 48, 69]


def test_equal_seeds_make_equal_probes() -> None:
    assert [random_probe(*one) for one in SEVERAL] == [random_probe(*one) for one in SEVERAL]
    assert len({random_probe(*one) for one in SEVERAL}) == len(SEVERAL)


@pytest.mark.parametrize(
    "what",
    [
        "mov ss, ebp", "push ss", "sti", ".byte 0xf0", "rep movsb", "pshufd", "ymm5", "ldmxcsr", "fldpi",
        "retfq", "iretq", "iretd", "jmp fword", "0xb0f", "lldt",
    ],
)  # fmt: skip
def test_what_exits_may_disturb_is_among_them(what: str) -> None:
    assert any(what in line for number in range(1500) for line in random_probe(1, number).lines)


def test_string_instructions_of_16_bit_code_stay_in_the_scratch_area() -> None:
    several = [random_probe(seed, number) for seed in (1, 2) for number in range(1500)]
    strings = [line for one in several if one.bits == 16 for line in one.lines if "rep" in line]
    assert strings
    assert all(".byte 0x67; rep" in line for line in strings)


@pytest.mark.parametrize(
    ("line", "claims"),
    [
        ("cpuid", []),
        ("vmovdqu ymm1, [rdi]", []),
        ("vmmcall", ["subject.control-closed"]),
        ("vmcall", ["subject.control-closed"]),
        ("vmrun", ["subject.nested == hidden"]),
        ("vmxoff", ["subject.nested == hidden"]),
    ],
)
def test_what_rests_on_a_claim_requires_it(line: str, claims: list[str]) -> None:
    probe = RandomProbe((Unit(("nop",)), Unit((line,))))
    assert [one.text for one in as_case(probe, "", SOURCE).requires] == ["os == bare", *claims]


def test_no_instruction_for_hypervisors_is_without_a_claim() -> None:
    """Elsewhere than under a subject that hides them, they do what they are for."""
    several = [random_probe(1, number) for number in range(1500)]
    words = [(one, set(" ".join(one.lines).split()) & FOR_HYPERVISORS) for one in several]
    assert set().union(*(found for _, found in words)) >= {"vmcall", "vmmcall", "clgi", "vmxoff"}
    assert all(claims_behind(one) for one, found in words if found)


def test_places_and_kinds_of_code() -> None:
    several = [random_probe(1, number) for number in range(500)]
    assert {one.bits for one in several} == {64, 32, 16}
    assert any(one.at_page_end for one in several)
    assert all(0x1000 - 48 <= one.at < 0x1000 for one in several if one.at)
    assert any(one.at for one in several)
    assert all(bool(as_case(one, "", SOURCE).given.pages) == one.writes_code for one in several)


def test_nothing_is_single_stepped_with_a_data_breakpoint() -> None:
    """QEMU 7.2 hangs there, or reports hits that were none."""
    several = [random_probe(82010, number) for number in range(1000)]  # 472 had POPF with TF
    watching = [one for one in several if dict(one.debug).keys() & {"dr1"}]
    assert watching
    for one in watching:
        assert not one.rflags & TF
        assert not any("popf" in line or "iret" in line for line in one.lines)


@pytest.mark.parametrize(("seed", "number"), SEVERAL)
def test_a_probe_as_text_is_the_same_case(seed: int, number: int) -> None:
    probe = random_probe(seed, number)
    text = as_yaml(probe, "exits.random-probe", "Made from a random probe")
    (again,) = loaded(HEAD + indent(text, "  ")).checks[0].cases
    assert without_positions(again) == without_positions(as_case(probe, "", SOURCE))
    assert code_of(again).data == code_of(as_case(probe, "", SOURCE)).data


@pytest.mark.parametrize(("seed", "number"), SEVERAL[:20])
def test_what_is_left_out_makes_it_smaller(seed: int, number: int) -> None:
    probe = random_probe(seed, number)
    found = list(smaller(probe))
    assert found
    for one in found:
        assert one.size < probe.size
        assert code_of(as_case(one, "", SOURCE)).data


def test_the_key() -> None:
    found = check("random: {seed: 7, probes: 3}")
    assert [one.label for one in found.cases] == ["probe=0", "probe=1", "probe=2"]
    assert found.cases[2].body.lines == random_probe(7, 2).lines
    assert all(one.expect.native for one in found.cases)


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ("random: {seed: 1}", "random has a seed and a number of probes: {seed: 1, probes: 200}"),
        ("random: {seed: 1, probes: 0}", "probes must be from 0x1 to 0x100, not 0"),
        ("random: {seed: x, probes: 1}", "seed must be a number (12, 0xc0000080, 0b101), not 'x'"),
        (
            "random: {seed: 1, probes: 1}\nexpect: native",
            "a check with random makes its probes by itself, without expect",
        ),
    ],
)
def test_errors(entry: str, text: str) -> None:
    assert wrong(entry) == [text]
