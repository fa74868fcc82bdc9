"""The mutants: what each operator makes of C and assembly, which are chosen, and what the compiler says."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path

import pytest

import tests.breakages.mutate_assembly as assembly
import tests.breakages.mutate_c as c
import tests.breakages.mutation as program
from tests.breakages.faults import Edit, Fault, apply, catalogue, find_outdated, read_catalogue
from tests.breakages.judging import BY_PROGRAM, CAUGHT, SURVIVED, load_folder
from tests.breakages.mutant_judging import ask_all, judge_mutant, runnable
from tests.breakages.mutant_objects import Compiled, Objects
from tests.breakages.mutants import as_fault, choose, mutations_below
from tests.breakages.neighbours import neighbours_below
from tests.breakages.programs import BrokenPrograms
from tests.breakages.runs import Outcome
from tests.support.checkout import ROOT

HYPERVISOR = ROOT / "hypervisor"
HEADER = """
#ifndef A_H
#define A_H
#define BIT_ONE 1
#define BIT_TWO 2
#define FIELD(n) (n)
enum reason { EXIT_ONE, EXIT_TWO };
struct block { unsigned long cr3, cr4; int reserved_1; int other; };
#endif
"""
CODE = """
_Static_assert(1 == 1, "1");
static int unused_number = 7;
static const int table[] = { [EXIT_ONE] = 5, [EXIT_TWO] = BIT_TWO };
static always_inlined int f(struct block *block, int a, int b)
{
	if (a < b && !b)
		g(a);
	switch (a) {
	case 3:
		block->cr3 = ~a | BIT_ONE;
		break;
	case 4:
		a = h(true);
		break;
	}
	return a ? b << 0x1fu : a;
}
"""


@pytest.fixture
def hypervisor(tmp_path: Path) -> Path:
    """A tiny one."""
    folder = tmp_path / "hypervisor"
    for room in ("core", "svm", "vmx", "hosts/bare"):
        (folder / room).mkdir(parents=True)
    (folder / "core" / "a.h").write_text(HEADER)
    (folder / "core" / "a.c").write_text(CODE)
    (folder / "svm" / "b.S").write_text("\tmov rax, [rdi + BIT_ONE]\n\t.byte 1\nf:\tret\n\tjz 1f // jz 2f\n")
    return folder


@functools.cache
def of_seed(seed: int) -> list[Fault]:
    """All mutants of Veneer in a seed's order."""
    return list(choose(HYPERVISOR, seed))


def mutants_of(source: bytes, mutations: Iterator[c.Mutation]) -> set[tuple[str, str, str]]:
    return {(one.operator, source[one.start : one.end].decode(), one.new) for one in mutations}


def test_the_operators_of_c(hypervisor: Path) -> None:
    source = CODE.encode()
    found = mutants_of(source, c.mutations_of(source, neighbours_below(hypervisor)))
    assert {operator for operator, _, _ in found} == c.OPERATORS.keys()
    assert found >= {
        ("drop-statement", "block->cr3 = ~a | BIT_ONE;", "{}"),
        ("drop-statement", "break;", "{}"),
        ("drop-call", "g(a);", "{}"),
        ("drop-call", "h(true)", "0"),
        ("drop-entry", "5", "0"),
        ("negate-condition", "a < b && !b", "!(a < b && !b)"),
        ("fix-condition", "a < b && !b", "0"),
        ("drop-operand", "a < b && !b", "(a < b)"),
        ("drop-operand", "~a | BIT_ONE", "(~a)"),
        ("drop-sign", "~a", "(a)"),
        ("swap-relation", "<", "<="),
        ("swap-arithmetic", "|", "&"),
        ("swap-arithmetic", "<<", ">>"),
        ("off-by-one", "0x1fu", "0x20u"),
        ("off-by-one", "true", "false"),
        ("neighbour", "BIT_ONE", "BIT_TWO"),
        ("neighbour", "cr3", "cr4"),
        ("neighbour", "EXIT_TWO", "EXIT_ONE"),
        ("swap-cases", "a ? b << 0x1fu : a", "a ? a : b << 0x1fu"),
        ("return-other", "return a ? b << 0x1fu : a;", "return 1;"),
    }
    swapped = {new for operator, _, new in found if operator == "swap-cases"}
    assert any(re.search(r"case 4:\s+block->cr3.*case 3:\s+a = h", new, re.DOTALL) for new in swapped)
    # Only what becomes code: no assertion of the compiler's, nothing outside of functions and tables.
    assert not {old for _, old, _ in found} & {"==", "7", "A_H", "reserved_1"}


def test_the_operators_of_assembly(hypervisor: Path) -> None:
    source = (hypervisor / "svm" / "b.S").read_bytes()
    found = mutants_of(source, assembly.mutations_of(source, neighbours_below(hypervisor)))
    assert {operator for operator, _, _ in found} <= set(assembly.OPERATORS)
    assert found == {
        ("drop-instruction", "mov rax, [rdi + BIT_ONE]", ""),
        ("neighbour", "BIT_ONE", "BIT_TWO"),
        ("drop-instruction", "jz 1f", ""),
        ("negate-jump", "jz", "jnz"),
    }


@pytest.mark.parametrize(
    ("number", "others"),
    [("7", ["8", "6"]), ("0", ["1"]), ("0x1fu", ["0x20u", "0x1eu"]), ("010", ["9", "7"]), ("1.5", [])],
)
def test_numbers_are_off_by_one(number: str, others: list[str]) -> None:
    assert list(c.off_by_one(number)) == others


def test_a_seed_chooses_the_same_mutants_and_another_one_others() -> None:
    first = list(islice(choose(HYPERVISOR, 1), 50))
    assert first == of_seed(1)[:50]
    assert len({one.id for one in first} & {one.id for one in of_seed(2)[:50]}) < 5


def test_a_mutant_is_a_fault_that_applies_whatever_line_it_is_of() -> None:
    mutants = of_seed(1)
    assert len(mutants) == len({one.id for one in mutants}) > 2000
    assert find_outdated(mutants, HYPERVISOR, ()) == {}, "a text occurs twice"
    assert {edit.file.rpartition("/")[0] for one in mutants for edit in one.edits} == {
        "core", "svm", "vmx", "hosts/bare",
    }  # fmt: skip
    assert {one.vendor for one in mutants if one.edits[0].file.startswith("vmx/")} == {"intel"}


def test_a_text_that_occurs_twice_takes_lines_before_it_along(hypervisor: Path) -> None:
    source = "int f(void)\n{\n\tone();\n\tg();\n\ttwo();\n\tg();\n}\n"
    (hypervisor / "core" / "a.c").write_text(source)
    mutants = mutations_below(hypervisor)["core/a.c", 6]
    (mutation,) = [one for one in mutants if one.operator == "drop-call"]
    fault = as_fault(hypervisor, "core/a.c", 6, mutation)
    assert fault.edits == (Edit("core/a.c", "\ttwo();\n\tg();\n", "\ttwo();\n\t{}\n"),)
    apply(fault.edits, hypervisor, fault.place)
    assert (hypervisor / "core" / "a.c").read_text() == source.replace("two();\n\tg();", "two();\n\t{}")


@functools.cache
def all_mutations() -> list[tuple[tuple[str, int], list[c.Mutation]]]:
    """Those of small files, which compile soon, first."""
    found = mutations_below(HYPERVISOR).items()
    return sorted(found, key=lambda one: ((HYPERVISOR / one[0][0]).stat().st_size, one[0]))


def first_of(operator: str) -> Iterator[Fault]:
    """One mutant by this operator of each line."""
    for (file, line), mutations in all_mutations():
        for mutation in mutations:
            if mutation.operator == operator:
                yield as_fault(HYPERVISOR, file, line, mutation)
                break


@pytest.fixture(scope="module")
def examine(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Fault], Compiled]:
    return Objects(ROOT, tmp_path_factory.mktemp("objects") / "copy").examine


@pytest.mark.parametrize("operator", sorted({*c.OPERATORS, *assembly.OPERATORS}))
def test_each_operator_makes_mutants_that_compile(
    operator: str, examine: Callable[[Fault], Compiled]
) -> None:
    assert any(examine(one) is Compiled.CHANGED for one in islice(first_of(operator), 12))


@pytest.mark.parametrize(
    ("find", "new", "compiled"),
    [
        ("CPUID_1_ECX_HYPERVISOR;", "CPUID_1_ECX_HYPERVISOR;\n", Compiled.SAME),
        ("CPUID_1_ECX_HYPERVISOR;", "(CPUID_1_ECX_HYPERVISOR + 0);", Compiled.SAME),
        ("CPUID_1_ECX_HYPERVISOR;", "0;", Compiled.CHANGED),
        ("CPUID_1_ECX_HYPERVISOR;", "CPUID_1_ECX_HYPERVISER;", Compiled.REJECTED),
    ],
    ids=["lines", "value", "other", "name"],
)
def test_what_the_compiler_makes_of_a_mutant(
    find: str, new: str, compiled: Compiled, examine: Callable[[Fault], Compiled]
) -> None:
    mutant = replace(of_seed(1)[0], edits=(Edit("core/cpuid.c", find, new),))
    assert examine(mutant) is compiled
    assert examine(replace(mutant, edits=(Edit("core/cpuid.c", find, "0;"),))) is Compiled.CHANGED, "undone"


def test_what_cannot_be_run_does_not_count() -> None:
    kinds = iter([Compiled.REJECTED, Compiled.SAME, Compiled.CHANGED, Compiled.SAME, Compiled.CHANGED])
    mutants = of_seed(1)[:5]
    choice = runnable(iter(of_seed(1)), 2, lambda _: next(kinds))
    assert choice.mutants == [mutants[2], mutants[4]]
    assert choice.compiled == {Compiled.REJECTED: 1, Compiled.SAME: 2, Compiled.CHANGED: 2}
    assert len(runnable(iter(mutants[:1]), 2, lambda _: Compiled.CHANGED).mutants) == 1


class Targets:
    """Runs in memory."""

    def __init__(self, **red: dict[str, str] | None) -> None:
        self.red = {name.replace("_", "-"): checks for name, checks in red.items()}
        self.runs: list[tuple[str, list[str], int]] = []

    def __call__(self, target: str, faults: tuple[Fault, ...], what: list[str], most: int) -> Outcome:
        self.runs.append((target, what, most))
        red = self.red.get(target, {})
        if red is None:
            raise AssertionError("no boot\n")
        return Outcome(red=red, seconds=2.0)


@pytest.fixture
def mutant() -> Fault:
    return replace(of_seed(1)[0], vendor="both")


def nobody(_: Fault) -> str:
    """All programs pass."""
    return ""


def test_a_mutant_is_run_until_a_target_sees_it(mutant: Fault) -> None:
    targets = Targets(bochs_intel={"a": "crash"})
    result = judge_mutant(mutant, targets, nobody)
    assert (result.fate, result.seen_by, result.why) == (CAUGHT, ["a"], "bochs-intel: crash")
    assert targets.runs == [("qemu-amd", ["conformance"], 1), ("bochs-intel", ["conformance"], 1)]


def test_a_mutant_that_no_target_sees_has_survived(mutant: Fault) -> None:
    result = judge_mutant(mutant, Targets(bochs_amd={"a": "blocked"}), nobody)
    assert result.fate == SURVIVED
    assert result.why == "qemu-amd: all checks pass; bochs-intel: all checks pass; bochs-amd: blocked"


def test_a_run_that_judges_nothing_is_no_check_s_merit(mutant: Fault) -> None:
    result = judge_mutant(replace(mutant, vendor="intel"), Targets(bochs_intel=None), nobody)
    assert (result.fate, result.why) == (SURVIVED, "bochs-intel: no run: no boot")


def test_a_c_program_sees_what_no_target_shows(mutant: Fault, tmp_path: Path) -> None:
    edit = Edit("core/completion.c", "\t\tnext = (u32)next;", "\t\t{}")
    result = judge_mutant(
        replace(mutant, edits=(edit,)), Targets(), partial(ask_all, BrokenPrograms(tmp_path / "programs"))
    )
    assert (result.fate, result.why.split(":")[0]) == (BY_PROGRAM, "core")
    in_no_program = replace(mutant, edits=(Edit("core/query.c", "none=", "nobody="),))
    assert ask_all(BrokenPrograms(tmp_path / "others"), in_no_program) == ""


def test_what_has_a_result_is_not_run_again(
    mutant: Fault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    targets = Targets(qemu_amd={"a": "deviation"})
    monkeypatch.setattr(program, "run", targets)
    table, scratch = tmp_path / "table", tmp_path / "scratch"
    first = program.run_all([mutant], table, None, scratch / "1")
    assert first[mutant.id].fate == CAUGHT
    assert program.run_all([mutant], table, None, scratch / "2") == first
    assert len(targets.runs) == 1
    assert load_folder(table, {mutant.id: mutant}) == list(first.values())
    assert program.run_all([replace(mutant, id="other")], table, 0.0, scratch / "3") == {}, "the time is over"


def test_a_mutant_goes_into_the_catalogue_as_it_is_printed(tmp_path: Path) -> None:
    mutants = of_seed(1)[:30]
    check = next(fault.check for fault in catalogue().values() if fault.check)
    text = "\n".join(map(program.as_toml, mutants))
    text = text.replace('kind = ""', 'kind = "exit"').replace('check = ""', f'check = "{check}"')
    (tmp_path / "mine.toml").write_text(text)
    entries = read_catalogue(tmp_path)
    assert {name: entry.edits for name, entry in entries.items()} == {one.id: one.edits for one in mutants}
