"""Makes the agent's request of a case and its bytes."""

from __future__ import annotations

from hashlib import blake2b

from touchstone.machine.probe import CODE_SIZE, Operand, Page, Place, ProbeRequest, address_mask
from touchstone.suite import more_registers
from touchstone.suite.code import Code
from touchstone.suite.measured import MSR
from touchstone.suite.memory import READ
from touchstone.suite.model import Case, Check, Expectation, Value
from touchstone.suite.problems import Problem, SuiteErrors
from touchstone.suite.sweep import results_range

PAGE = 0x1000
COMPARED_BYTES = 64
"""Bytes of the scratch area that ``expect: native`` compares if nothing else is named."""


def resolve_labels(value: Value, code: Code) -> Operand:
    """An operand for a value; labels become offsets from the start. KeyError for an unknown label."""
    if isinstance(value, Operand):
        return value
    base = len(code.data) if value.label == "end" else code.labels[value.label]
    return Operand("start", base + value.offset)


def seed(check_id: str, label: str) -> int:
    """The seed of a case's random registers (64 bits): the same on every machine and in every phase."""
    return int.from_bytes(blake2b(f"{check_id}\0{label}".encode(), digest_size=8).digest(), "big")


def code_offset(case: Case, code: Code) -> int:
    """Offset of the body in the code area. SuiteErrors if it does not fit there with the INT3 behind it."""
    size = len(code.data)
    at = PAGE - size if case.given.at_page_end else case.given.at
    if case.given.linear:
        at = _linear(case, code) % PAGE
    if at + size + 1 > CODE_SIZE:
        text = f"{size} bytes at {at:#x} do not fit into the code area of {CODE_SIZE:#x} bytes; lower `at`"
        raise SuiteErrors([Problem(case.body.sources[0], text)])
    return at


def _linear(case: Case, code: Code) -> int:
    """The linear address of the body's first byte, of a case that gives the address of one of its places."""
    assert case.given.linear
    place, address = case.given.linear
    return (address - resolve_labels(place, code).offset) & address_mask(code.code_bits)


def _place(case: Case, code: Code) -> Place:
    given = case.given
    pages = [
        Page(
            resolve_labels(page.address, code),
            page.set,
            page.clear,
            None if page.alias is None else resolve_labels(page.alias, code),
        )
        for page in given.pages
    ]
    return Place(case.mode, _linear(case, code) if given.linear else None, given.base, tuple(pages))


def memory_range(case: Case) -> tuple[int, int] | None:
    """(offset, length) of the part of the scratch area that the expectation looks at, or None."""
    if case.sweep:
        return results_range(case.sweep)
    spans = [(item.low, item.low + item.width) for item in case.expect.fields if item.register == "memory"]
    if case.expect.native:
        given = case.given
        touched = any(
            isinstance(value, Operand) and value.base == "scratch" for value in given.registers.values()
        )
        if touched or given.memory:
            spans.append((0, COMPARED_BYTES))
            for offset, data in given.memory:
                wider = [*spans, (offset, offset + len(data))]
                if max(end for _, end in wider) - min(start for start, _ in wider) <= READ:
                    spans = wider
        named = [span for span in spans if span != (0, COMPARED_BYTES)]
        if spans and max(end for _, end in spans) - min(start for start, _ in spans) > READ:
            spans = named
    if not spans:
        return None
    first = min(start for start, _ in spans)
    return first, max(end for _, end in spans) - first


def expected_msrs(expect: Expectation) -> tuple[int, ...]:
    """The MSRs that an expectation names: they are read at the end, and kept."""
    names = [item.register for item in expect.fields if item.register.startswith(MSR)]
    return tuple(dict.fromkeys(int(name.removeprefix(MSR), 0) for name in names))


def cpus_of(case: Case, cpus: int) -> tuple[int, ...]:
    """The CPUs that run a case on a target with ``cpus`` CPUs."""
    if case.on == "first":
        return (0,)
    return (cpus - 1,) if case.on == "last" else tuple(range(cpus))


def probe_request(check: Check, case: Case, code: Code, cpus: int) -> ProbeRequest:
    """The request of one case on a target with ``cpus`` CPUs. SuiteErrors if the body does not fit."""
    given = case.given
    return ProbeRequest(
        code=code.data,
        cpl=case.cpl,
        code_bits=code.code_bits,
        place=_place(case, code),
        cpus=cpus_of(case, cpus),
        together=case.on == "together",
        at=code_offset(case, code),
        seed=seed(check.id, case.label) if given.random else None,
        registers={name: resolve_labels(value, code) for name, value in given.registers.items()},
        rflags=given.rflags,
        bits=given.bits,
        debug={name: resolve_labels(value, code) for name, value in given.debug.items()},
        memory=given.memory,
        read=memory_range(case),
        keep=(*given.keep, *(msr for msr in expected_msrs(case.expect) if msr not in given.keep)),
        handlers={
            vector: to if isinstance(to, str) else resolve_labels(to, code).offset
            for vector, to in given.handlers.items()
        },
        msrs={
            msr: start if isinstance(start, tuple) else resolve_labels(start, code)
            for msr, start in given.msrs.items()
        },
        tables=more_registers.of_tables(case.expect.fields),
        timeout=check.timeout,
    )
