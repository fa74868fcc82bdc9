"""Suites in few lines, for tests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from textwrap import indent

from touchstone.machine.probe import GPRS, ProbeEvent, ProbeResult
from touchstone.suite.assemble import Assembler
from touchstone.suite.code import Code
from touchstone.suite.load import load
from touchstone.suite.model import Case, Check, Suite
from touchstone.suite.problems import SuiteErrors

PATH = Path("suite.yaml")
HEAD = """\
suite: A suite
area: exits
cite: {doc: intel-sdm, title: CPUID, says: It does}
checks:
"""
ASSEMBLER = Assembler()
SLOT = 0x200000


def loaded(text: str) -> Suite:
    return load(PATH, text)


def check(entry: str) -> Check:
    """The one check of a suite, from its keys below ``id`` and ``title``, written at the margin."""
    return loaded(f"{HEAD}  - id: exits.x\n    title: X\n{indent(entry, '    ')}").checks[0]


def case(entry: str) -> Case:
    (only,) = check(entry).cases
    return only


def expectation(text: str, run: str = "nop") -> Case:
    return case(f"run: {run}\nexpect: {text}\n")


def problems(text: str, **options: object) -> list[str]:
    """What is wrong, without the file's name."""
    try:
        load(PATH, text, **options)  # type: ignore[arg-type]
    except SuiteErrors as errors:
        return [str(problem).removeprefix("suite.yaml:") for problem in errors.problems]
    return []


def wrong(entry: str) -> list[str]:
    """What is wrong in one check (see ``check``), without the position."""
    text = f"{HEAD}  - id: exits.x\n    title: X\n{indent(entry, '    ')}"
    return [problem.split(": ", 1)[1] for problem in problems(text)]


def code_of(case: Case) -> Code:
    assembled = ASSEMBLER.assemble([case.body])
    assert not assembled.problems
    return assembled.codes[case.body]


def result(
    code: Code,
    *,
    cpu: int = 0,
    vector: int | None = None,
    error_code: int | None = None,
    rip: int | None = None,
    given: Mapping[str, int] | None = None,
    rflags: int = 2,
    cr2: int | None = None,
    dr6: int | None = None,
    dr7: int | None = 0x400,
    msrs: Mapping[int, int] | None = None,
    memory: bytes = b"",
    events: tuple[ProbeEvent, ...] = (),
    noted: int = 0,
    more: Mapping[str, tuple[int, int]] | None = None,
    **registers: int,
) -> ProbeResult:
    """What the agent would bring back; ``rip`` is relative to the start, other registers are as given."""
    slot = SLOT + 0x8000 * cpu
    start = {name: 0 for name in GPRS} | {"rsp": slot + 0x6F00} | dict(given or {})
    return ProbeResult(
        cpu=cpu,
        vector=vector,
        error_code=error_code,
        registers={**start, **registers},
        given=start,
        rip=slot + (len(code.data) if rip is None else rip),
        rflags=rflags,
        start=slot,
        slot=slot,
        cr2=cr2,
        dr6=dr6,
        dr7=dr7,
        msrs=msrs or {},
        memory=memory,
        events=events,
        noted=noted,
        more=more or {},
    )
