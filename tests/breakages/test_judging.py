"""Batches, what becomes of their faults, and the table."""

from __future__ import annotations

import json
import os
from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest

from tests.breakages.batches import Batch, choose_sample, make_batches
from tests.breakages.faults import CatalogueError, Edit, Fault, catalogue
from tests.breakages.judging import (
    BY_PROGRAM,
    CAUGHT,
    EQUIVALENT,
    OPEN,
    OTHERWISE,
    REFUTED,
    SURVIVED,
    UNSHOWABLE,
    Result,
    judge,
    judge_whole,
    load_folder,
    load_results,
    save_results,
)
from tests.breakages.runs import Outcome
from tests.breakages.subjects import NAME, break_veneer
from tests.breakages.table import BEGIN, END, as_markdown, as_text, merge, put_into, write
from tests.support.checkout import ROOT


def fault(name: str, check: str = "", **values: object) -> Fault:
    edits = (Edit("core/a.c", f"{name}();", ""),)
    other = {"kind": "exit", "vendor": "amd", "target": "qemu-amd", **values}
    return Fault(name, f"forget {name}", edits=edits, check=check, **other)  # type: ignore[arg-type]


class Machine:
    """Runs in memory: which faults turn which checks red, alone or in company."""

    def __init__(self, **red: dict[str, str]) -> None:
        self.red = red
        self.runs: list[tuple[list[str], list[str]]] = []

    def __call__(self, target: str, faults: tuple[Fault, ...], what: list[str], most: int) -> Outcome:
        names = [one.id for one in faults]
        self.runs.append((names, what))
        red: dict[str, str] = {}
        for name in names:
            red.update(self.red.get(name, {}))
        if what != ["conformance"]:
            red = {check: verdict for check, verdict in red.items() if check in what}
        return Outcome(red=red, green={"quiet"} | set(what) - red.keys(), seconds=2.0)


NODES = {"a": "a", "b": "b", "c": "c"}


def fates(results: list[Result]) -> dict[str, str]:
    return {result.id: result.fate for result in results}


def test_a_batch_whose_checks_are_all_red_takes_one_run() -> None:
    machine = Machine(one={"a": "deviation"}, two={"b": "deviation"})
    batch = Batch("x", "qemu-amd", (fault("one", "a"), fault("two", "b")))
    results = judge(batch, NODES, machine)
    assert fates(results) == {"one": CAUGHT, "two": CAUGHT}
    assert machine.runs == [(["one", "two"], ["a", "b"])]
    assert results[0].with_others == 1


def test_what_a_batch_does_not_show_is_run_alone_and_with_all_suites() -> None:
    machine = Machine(one={"a": "deviation"}, two={"c": "deviation"})
    results = judge(Batch("x", "qemu-amd", (fault("one", "a"), fault("two", "b"))), NODES, machine)
    assert fates(results) == {"one": CAUGHT, "two": OTHERWISE}
    assert machine.runs[1:] == [(["two"], ["b"]), (["two"], ["conformance"])]
    assert (results[1].seen_by, results[1].why) == (["c"], "b: passed")


def test_a_lost_machine_counts_for_a_fault_that_was_alone_on_it() -> None:
    machine = Machine(one={"a": "crash"}, two={"b": "hang"})
    results = judge(Batch("x", "qemu-amd", (fault("one", "a"), fault("two", "b"))), NODES, machine)
    assert fates(results) == {"one": CAUGHT, "two": CAUGHT}
    assert [names for names, _ in machine.runs] == [["one", "two"], ["one"], ["two"]]


def test_what_one_fault_hides_is_found_without_it() -> None:
    class Hiding(Machine):
        def __call__(self, target: str, faults: tuple[Fault, ...], what: list[str], most: int) -> Outcome:
            outcome = super().__call__(target, faults, what, most)
            if any(one.id == "loud" for one in faults):
                outcome.red = {check: verdict for check, verdict in outcome.red.items() if check == "a"}
            return outcome

    machine = Hiding(loud={"a": "deviation"}, two={"b": "deviation"}, three={"c": "deviation"})
    faults = (fault("loud", "a"), fault("two", "b"), fault("three", "c"))
    results = judge(Batch("x", "qemu-amd", faults), NODES, machine)
    assert fates(results) == {"loud": CAUGHT, "two": CAUGHT, "three": CAUGHT}
    assert [names for names, _ in machine.runs] == [["loud", "two", "three"], ["two", "three"]]


def test_a_batch_that_loses_its_machine_is_halved() -> None:
    class Fragile(Machine):
        def __call__(self, target: str, faults: tuple[Fault, ...], what: list[str], most: int) -> Outcome:
            outcome = super().__call__(target, faults, what, most)
            if any(one.id == "lethal" for one in faults):
                outcome.red = dict.fromkeys(what, "crash")
            return outcome

    machine = Fragile(two={"b": "deviation"}, three={"c": "deviation"})
    faults = (fault("lethal", "a"), fault("two", "b"), fault("three", "c"))
    results = judge(Batch("x", "qemu-amd", faults), NODES, machine)
    assert fates(results) == {"lethal": CAUGHT, "two": CAUGHT, "three": CAUGHT}
    assert [names for names, _ in machine.runs][1:] == [["lethal"], ["two", "three"]]


def test_trouble_of_the_lab_accuses_nobody() -> None:
    machine = Machine(one={"a": "infrastructure", "b": "blocked"})
    (result,) = judge(Batch("x", "qemu-amd", (fault("one", "a"),)), NODES, machine)
    assert (result.fate, result.why) == (SURVIVED, "a: infrastructure")


def test_edits_that_do_not_go_together_are_split() -> None:
    def run(target: str, faults: tuple[Fault, ...], what: list[str], most: int) -> Outcome:
        if len(faults) > 1:
            raise CatalogueError("does not apply")
        return Outcome(red={"a": "deviation", "b": "deviation"})

    results = judge(Batch("x", "qemu-amd", (fault("one", "a"), fault("two", "b"))), NODES, run)
    assert fates(results) == {"one": CAUGHT, "two": CAUGHT}


def test_a_veneer_that_cannot_be_built_is_no_success() -> None:
    def run(target: str, faults: tuple[Fault, ...], what: list[str], most: int) -> Outcome:
        raise AssertionError("a.c:1: error")

    with pytest.raises(AssertionError, match=r"a\.c:1: error"):
        judge(Batch("x", "qemu-amd", (fault("one", "a"),)), NODES, run)


def test_an_equivalent_fault_that_a_check_sees_is_refuted() -> None:
    machine = Machine(two={"c": "deviation"})
    quiet = (
        *(fault(name, equivalent="because") for name in ("one", "two", "three")),
        fault("four", open="not yet"),
    )
    results = judge(Batch("x", "qemu-amd", quiet, quiet=True), NODES, machine)
    assert fates(results) == {"one": EQUIVALENT, "two": REFUTED, "three": EQUIVALENT, "four": OPEN}


def test_all_suites_against_one_fault() -> None:
    machine = Machine(one={"c": "deviation", "a": "deviation", "b": "blocked"})
    result = judge_whole("qemu-amd", fault("one", "a"), machine)
    assert (result.fate, result.seen_by) == (CAUGHT, ["a", "c"])


def test_batches_are_sound() -> None:
    faults = catalogue()
    batches = make_batches(faults.values(), rounds=2)
    turns = Counter(one.id for batch in batches for one in batch.faults)
    assert turns.keys() == faults.keys()
    met: Counter[frozenset[str]] = Counter()
    for batch in batches:
        assert {one.target for one in batch.faults} == {batch.target}
        if batch.quiet:
            continue
        assert len({one.check for one in batch.faults}) == len(batch.faults), batch.name
        assert len(batch.faults) == 1 or not any(one.alone for one in batch.faults), batch.name
        met.update(frozenset((one.id, other.id)) for one, other in combinations(batch.faults, 2))
    assert max(met.values()) == 1, "two faults share a machine twice"


def test_what_has_been_run_is_not_run_again_and_meets_nobody_twice() -> None:
    faults = [fault(name, f"check-{name}") for name in ("one", "two", "three")]
    batches = make_batches(faults, rounds=2, done=[("one", ["two"])])
    groups = [[one.id for one in batch.faults] for batch in batches]
    assert groups == [["two", "three"], ["three", "one"], ["two"]], "two has met both"
    faults = [*faults, fault("new", "check-one"), fault("quiet", equivalent="because")]
    done: list[tuple[str, list[str]]] = [(name, []) for name in ("one", "two", "three") for _ in range(2)]
    batches = make_batches(faults, rounds=2, done=done)
    assert [[one.id for one in batch.faults] for batch in batches] == [["new"], ["quiet"], ["new"]]


def test_machines_with_many_faults_come_first() -> None:
    lethal = [fault(f"lethal-{number}", f"l{number}", alone=True) for number in range(3)]
    others = [fault(f"other-{number}", f"o{number}", target="bochs-amd") for number in range(3)]
    quiet = [fault(f"quiet-{number}", equivalent="because") for number in range(9)]
    batches = make_batches([*lethal, *quiet, *others], rounds=1)
    assert [len(batch.faults) for batch in batches] == [3, 1, 1, 1, 9]


def test_the_sample_is_fixed_and_spread() -> None:
    faults = catalogue()
    sample = choose_sample(faults.values(), 30)
    assert 20 <= len(sample) <= 30
    assert sample == choose_sample(reversed(faults.values()), 30)
    assert len({one.kind for one in sample}) >= 8
    assert {one.vendor for one in sample} == {"amd", "intel", "both"}
    assert len(make_batches(sample, rounds=1, most=30)) <= 6, "a machine costs seconds"


def test_a_copy_is_made_once_and_named_by_its_content(tmp_path: Path) -> None:
    faults = catalogue()
    replaced = (one for one in faults.values() if one.edits[0].find not in one.edits[0].replace)
    one, *others = [one for one in replaced if one.check and not one.alone]
    other = next(other for other in others if other.edits != one.edits)
    subject = break_veneer(ROOT, tmp_path, [one])
    assert break_veneer(ROOT, tmp_path, [one]) == subject
    assert break_veneer(ROOT, tmp_path, [other]) != subject
    (edit,) = one.edits[:1]
    assert edit.find not in (subject.parent / edit.file).read_text()
    assert f"SUBJECT_NAME := {NAME}\n" in (subject.parent / "subject.mk").read_text()


def test_the_table(tmp_path: Path) -> None:
    faults = {one.id: one for one in (fault("one", "a"), fault("two", "b", vendor="both", kind="msr"))}
    results = merge(
        [
            Result("one", CAUGHT, 3.0, 5, ["a"]),
            Result("one", OTHERWISE, 4.0, 0, ["c"], "a: passed"),
            Result("two", CAUGHT, 3.0, 5, ["b"]),
        ]
    )
    text = as_text(faults, results)
    assert "caught otherwise: one (forget one): a: passed; seen by c" in text
    assert text.splitlines()[1].split() == ["amd", "exit", "1"]
    page = as_markdown(faults, results, {"b": "B holds"})
    assert "| `two` | forget two | `b`: B holds | 3 (with 5 others) |" in page
    write(tmp_path / "t", faults, results, {})
    entries = json.loads((tmp_path / "t" / "table.json").read_text())
    assert [entry["fate"] for entry in entries] == [OTHERWISE, CAUGHT]
    assert (tmp_path / "t" / "table.md").read_text().startswith("# Seeded faults")


def test_what_a_program_has_seen_is_no_longer_only_unshowable() -> None:
    quiet, seen = Result("one", UNSHOWABLE, why="no target"), Result("one", BY_PROGRAM, why="core: line 3")
    assert merge([quiet, seen]) == merge([seen, quiet]) == {"one": seen}
    # It was open until a program was found for it.
    assert merge([Result("one", OPEN), seen]) == {"one": seen}
    assert merge([seen, refuted := Result("one", REFUTED)]) == {"one": refuted}


def test_results_are_kept_by_what_was_run(tmp_path: Path) -> None:
    batch = Batch("x", "qemu-amd", (fault("one", "a"), fault("two", "b")))
    assert batch.key == Batch("x", "qemu-amd", (fault("one", "a"), fault("two", "b"))).key
    other = [
        Batch("y", "qemu-amd", batch.faults),
        Batch("x", "qemu-amd", batch.faults[:1]),
        Batch("x", "qemu-amd", (fault("one", "c"), fault("two", "b"))),
    ]
    assert len({batch.key, *(one.key for one in other)}) == 4
    path = tmp_path / "t" / f"{batch.key}.jsonl"
    assert load_results(path) == []
    results = [Result("one", CAUGHT, 3.0, 1, ["a"]), Result("two", SURVIVED, 3.0, 0, [], "b: passed")]
    save_results(path, results)
    assert load_results(path) == results


def test_results_count_while_their_fault_is_as_it_was(tmp_path: Path) -> None:
    one, two = fault("one", "a"), fault("two", "b")
    faults = {"one": one, "two": two}
    first = [
        Result("one", CAUGHT, 3.0, 1, ["a"], of=one.digest, beside=["two"]),
        Result("two", SURVIVED, 3.0, 0, [], "b: passed", of=two.digest, beside=["one"]),
        Result("gone", CAUGHT, 3.0, 1, ["a"], of="0"),
    ]
    save_results(tmp_path / "first.jsonl", first)
    assert load_folder(tmp_path, faults) == first[:2]
    assert load_folder(tmp_path, {**faults, "one": fault("one", "c")}) == first[1:2], "another check"
    assert load_folder(None, faults) == []


def test_a_survivor_counts_until_it_is_caught_by_itself(tmp_path: Path) -> None:
    one = fault("one", "a")
    survived = Result("one", SURVIVED, 3.0, 0, [], "a: passed", of=one.digest)
    for number, (others, left) in enumerate(((1, [SURVIVED, CAUGHT]), (0, [CAUGHT]))):
        folder = tmp_path / str(number)
        again = Result("one", CAUGHT, 3.0, others, ["a"], of=one.digest)
        for age, (name, result) in enumerate((("z", survived), ("a", again))):
            save_results(folder / f"{name}.jsonl", [result])
            os.utime(folder / f"{name}.jsonl", (age, age))
        assert [result.fate for result in load_folder(folder, {"one": one})] == left


def test_the_table_goes_into_a_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n\n{BEGIN}\n\n| old |\n\n{END}\n\nbehind\n")
    put_into(page, ["| new |", "|---|"])
    put_into(page, ["| new |", "|---|"])
    assert page.read_text() == f"before\n\n{BEGIN}\n\n| new |\n|---|\n\n{END}\n\nbehind\n"
    page.write_text("no marks")
    with pytest.raises(ValueError, match=r"page\.md: the table goes between"):
        put_into(page, [])
