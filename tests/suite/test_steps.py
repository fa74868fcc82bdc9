# ruff: noqa: E501 (the messages are looked for as they are, in one piece)
"""``at-load``, ``at-unload`` and ``then``: as values, and what is wrong in them."""

from __future__ import annotations

import pytest

from tests.support.suite_texts import HEAD, check, loaded, wrong
from touchstone.machine.probe import Operand
from touchstone.suite.model import Case, Check, Prepared

THEN = "then: [unload, {run: nop, expect: {rax: 1}}]"


def state(of: Check) -> Prepared:
    assert of.prepared is not None
    return of.prepared


def test_a_state_at_load() -> None:
    found = check(
        'at-load: {cr4: {osxsave: 0}, dr0: scratch, msrs: {ia32-lstar: 5}, on: last, rax: 7, run: "mov cr2, rax"}\n'
        "run: nop\nexpect: native"
    )
    before = state(found)
    assert (before.before, before.case.on, before.case.body.lines) == ("load", "last", ("mov cr2, rax",))
    assert before.case.given.bits == {"cr4": (0, 1 << 18)}
    assert before.case.given.debug == {"dr0": Operand("scratch")}
    assert before.case.given.msrs == {0xC0000082: Operand("number", 5)}
    assert found.phase == "loaded"


def test_a_state_at_unload_is_for_a_body_behind_it() -> None:
    found = check("at-unload: {dr0: 8}\nrun: nop\nexpect: native")
    assert (found.phase, state(found).before, state(found).case.on) == ("unloaded", "unload", "every-cpu")
    assert state(found).case.body.lines == ("nop",)


def test_the_same_state_has_the_same_key_wherever_it_stands() -> None:
    text = "  - id: exits.{0}\n    title: X\n    at-load: {1}\n    run: nop\n    expect: native\n"
    same = ["&a {cr4: {de: 1, osxsave: 0}}", "*a", "{cr4: {osxsave: 0, de: 1}}"]
    others = [
        "{cr4: {de: 1}}",
        "{cr4: {de: 1, osxsave: 0}, on: first}",
        "{cr4: {de: 1, osxsave: 0}, run: clts}",
    ]
    suite = loaded(HEAD + "".join(text.format(index, one) for index, one in enumerate(same + others)))
    keys = [state(one).key for one in suite.checks]
    assert len(set(keys[:3])) == 1
    assert len(set(keys)) == 4


def test_steps() -> None:
    found = check(
        "each: {on: every-cpu, n: [1, 2]}\ngiven: {gprs: random}\nrun: mov eax, {n}\n"
        'then: [unload, {run: "label: inc eax", given: {rbx: "{n}", rcx: label}, expect: {eax: "{n}"}}, load, {run: nop, expect: native}]'
    )
    first, second = found.cases
    assert [step if isinstance(step, str) else step.label for step in second.then] == [
        "unload", "on=every-cpu, n=2, step 2", "load", "on=every-cpu, n=2, step 4",
    ]  # fmt: skip
    _, step, _, last = second.then
    assert isinstance(step, Case)
    assert isinstance(last, Case)
    assert step.given.registers["rbx"] == Operand("number", 2)
    assert step.on == "every-cpu"
    assert last.expect.native
    assert first.expect.rip_at_end, "without expect, it must come to its end"
    assert len(list(found.probes)) == 6
    assert not found.claims


def test_the_steps_of_the_only_case_are_told_apart_by_their_place() -> None:
    (only,) = check(f"run: nop\n{THEN}").cases
    assert only.label == ""
    assert [step.label for step in only.then if isinstance(step, Case)] == ["step 2"]


def test_bodies_for_one_vendor() -> None:
    found = check("run: nop\nthen: [unload, {run: {intel: inc eax, amd: dec eax}, expect: {eax: 1}}]")
    assert [(case.label, case.requires[0].text) for case in found.cases] == [
        ("vendor=intel", "vendor == intel"), ("vendor=amd", "vendor == amd"),
    ]  # fmt: skip
    bodies = [step.body.lines for case in found.cases for step in case.then if isinstance(step, Case)]
    assert bodies == [("inc eax",), ("dec eax",)]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("at-load: {cr4: {osxsav: 0}}\nrun: nop\nexpect: native", "cr4 has no bit 'osxsav' (did you mean 'osxsave'?)"),
        ("at-load: {cr44: {de: 0}}\nrun: nop\nexpect: native", "unknown key 'cr44' in at-load (did you mean 'cr4'?)"),
        ("at-load: {xcr0: 3}\nrun: nop\nexpect: native", "'xcr0' cannot be given; write it in `run`"),
        ("at-unload: {}\nrun: nop\nexpect: native", "at-unload is empty; say what is not as usual: {cr4: {osxsave: 0}}"),
        ("at-unload: 5\nrun: nop\nexpect: native", "at-unload must be a mapping of what is as in given: {cr4: {osxsave: 0}}"),
        ("at-load: {on: together, dr0: 1}\nrun: nop\nexpect: native", "on must be every-cpu, first or last, not 'together'"),
        ("at-load: {dr7: {gd: 1}}\nrun: nop\nexpect: native", "DR7.GD does not stay, because the framework itself accesses the debug registers"),
        ("at-load: {rflags: {tf: 1}}\nrun: nop\nexpect: native", "rflags.tf: the hypervisor's code is called with iopl, nt, ac and id as they are given here, and with the other flags clear"),
        ("run: nop\nexpect: {returned: unchanged}", "returned is for the body behind at-load or at-unload, or behind load or unload in `then`"),
        ("run: nop\nthen: [unload, {run: nop}, {run: nop, expect: {returned: unchanged}}]", "returned is for the body behind at-load or at-unload, or behind load or unload in `then`"),
        ("at-load: {dr0: 1}\nrun: nop\nexpect: {returned: {rax: 1}}", "returned has no 'rax': a function need not keep it (did you mean 'rbx'?)"),
        ("at-load: {dr0: 1}\nrun: nop\nexpect: {returned: {rflags: {cf: 1}}}", "returned.rflags has no bit 'cf'; it has if, df, iopl, nt, ac, id"),
        ("at-load: {handle: {\"#DB\": a}, run: nop}\nrun: nop\nexpect: native", "at-load has no handlers; its body must end without an exception"),
        ("at-load: {rax: x, run: nop}\nrun: nop\nexpect: native", "the body has no label 'x'; words are start, end, scratch, stack"),
        ("each: {n: [1, 2]}\nat-load: {dr0: '{n}'}\nrun: mov eax, {n}\nexpect: native", "at-load is the same for all cases of a check: it cannot use variables of each"),
        ("at-load: {dr0: 1}\nat-unload: {dr0: 1}\nrun: nop\nexpect: native", "a check has at-load or at-unload, not both; `then` can say either"),
        (f"at-load: {{dr0: 1}}\nrun: nop\n{THEN}", "a check has at-load or then, not both; `then` can say either"),
        ("phase: unloaded\nat-load: {dr0: 1}\nrun: nop\nexpect: native", "with at-load, the body runs loaded; leave `phase` out"),
        (f"phase: native\nrun: nop\n{THEN}", "a check with `then` begins loaded or unloaded; before loading it is as unloaded"),
        (f"phase: unloaded\nrun: nop\n{THEN}", "the hypervisor is unloaded already when this step is reached"),
        ("run: nop\nthen: [unload, unload, {run: nop, expect: native}]", "the hypervisor is unloaded already when this step is reached"),
        ("run: nop\nthen: [unlod, {run: nop, expect: native}]", "a step of then without run must be load or unload, not 'unlod' (did you mean 'unload'?)"),
        ("run: nop\nthen: [unload, {expect: native}]", "the step has no 'run'; a step is load, unload, or a mapping with run"),
        ("run: nop\nthen: [unload, {run: nop, expct: native}]", "unknown key 'expct' in a step of then (did you mean 'expect'?)"),
        ("run: nop\nthen: [unload, [nop], {run: nop, expect: native}]", "a step of then is load, unload, or a mapping with run, not a list"),
        ("run: nop\nthen: [unload, {run: nop}]", "then must end with a step that has run and expect: what must hold in the end"),
        ("run: nop\nthen: [{run: nop, expect: native}, unload]", "then must end with a step that has run and expect: what must hold in the end"),
        ("run: nop\nthen: [{run: nop, expect: {exits: {cpuid: 1}}}]", "exits cannot be counted in a check with `then`"),
        ("run: nop\nexpect: {exits: {cpuid: 1}}\nthen: [{run: nop, expect: native}]", "exits cannot be counted in a check with `then`"),
        ("run: nop\nthen: [" + 9 * "{run: nop, expect: native}, " + "]", "9 steps in then; a check has at most 8"),
        ("run: {amd: nop}\nthen: [unload, {run: {intel: nop}, expect: native}]", "another body of this check is for intel; this one is not"),
        ("run: nop\nthen: [{run: nop, expect: {rax: here}}]", "the body has no label 'here'; words are start, end, scratch, stack"),
    ],
)  # fmt: skip
def test_errors(entry: str, message: str) -> None:
    assert message in wrong(entry)
