"""What a subject may claim of itself: the names, what they mean, and the values that they can have.

Suites require claims as ``subject.NAME`` and expect them as ``claim.NAME``; the subject's TOML file makes
them. What is not claimed is not demanded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from touchstone.suite import body as bodies
from touchstone.suite import requires
from touchstone.suite.model import Case, Check, Requirement, Source
from touchstone.suite.problems import Problem, did_you_mean, one_of

X2APIC_BIT = 10
"""Of IA32_APIC_BASE."""
OWN = "own."
"""Names that begin so are anybody's own, for suites of their own."""


@dataclass(frozen=True)
class Claim:
    """One claim."""

    values: tuple[str, ...] | type[int] | type[bool]
    """The words that it can be, or its type."""
    means: str
    """For the documentation."""
    of_machine_too: bool = False
    """Whether the bare machine should keep it as well, so that it can be held to what rests on it."""

    def wrong(self, value: object) -> str | None:
        """What a value should have been; None: it is right."""
        if isinstance(self.values, tuple):
            return None if value in self.values else f"must be {one_of(self.values)}"
        if self.values is bool:
            return None if isinstance(value, bool) else "must be true or false"
        number = isinstance(value, int) and not isinstance(value, bool)
        return None if number else "must be a number from 0 to 2**64-1"


_ERRNO = ("EBUSY", "EPERM", "EINVAL", "EEXIST", "EACCES", "ENODEV", "EOPNOTSUPP")

CLAIMS: Mapping[str, Claim] = {
    "nested": Claim(
        ("hidden",), "CPUID, MSRs, control bits and instructions all say that there is no virtualization"
    ),
    "synthetic-msrs": Claim(
        ("none",),
        "it has no MSRs of its own: those from 0x40000000 to 0x400000ff raise #GP(0)",
        of_machine_too=True,
    ),
    "cpuid-signature.ebx": Claim(int, "EBX of CPUID leaf 0x40000000, on every CPU"),
    "cpuid-signature.ecx": Claim(int, "ECX of the same leaf"),
    "cpuid-signature.edx": Claim(int, "EDX of the same leaf"),
    "cpuid-unused-zero": Claim(
        bool,
        "the leaves from 0x40000000 to 0x400000ff that are behind the last one that leaf 0x40000000 names "
        "are 0",
    ),
    "cpuid-version": Claim(
        bool, "EAX of leaf 0x40000001 is the version that `query` gives, as 0x010203 is of 1.2.3"
    ),
    "hypervisor-bit": Claim(bool, "CPUID leaf 1 has bit 31 of ECX set, on every CPU"),
    "counters": Claim(
        bool,
        "it counts its exits for each CPU and by reason, and `exits` reads them. Without it, checks that "
        "expect `exits` are unsupported",
    ),
    "few-exits": Claim(
        bool,
        "what an OS does all the time makes no exit: RDMSR and WRMSR of MSRs that hold nothing of "
        "virtualization, HLT, PAUSE, plain code. Asking for the counters counts as none",
    ),
    "efer-exits": Claim(bool, "each RDMSR and WRMSR of EFER exits"),
    "trace": Claim(bool, "it keeps the last exits of each CPU, and `trace` reads them"),
    "trace-codes": Claim(
        bool,
        "the reasons in the trace are the processor's: the exit code of SVM, the basic exit reason of VMX",
    ),
    "trace-registers": Claim(
        bool, "INFO in the trace is ECX in its upper 32 bits and EAX in the lower ones, as the guest had them"
    ),
    "unloadable": Claim(
        bool,
        "it can be unloaded, and the machine is as before then. Without it, checks of the phase `unloaded` "
        "are unsupported, and the machine is reset instead",
        of_machine_too=True,
    ),
    "control-closed": Claim(
        bool, "hypercalls raise #UD for anybody but its own code, whatever their number and their prefixes"
    ),
    "faults-before-exits": Claim(
        bool,
        "where a processor exits before it looks at the privilege level or at CR4.OSXSAVE, as some emulated "
        "ones do, it raises the fault itself. Without it, it is not to blame there",
    ),
    "query.control": Claim(
        bool,
        "on the bare OS, `query` says as `control`, in hexadecimal, from which address control hypercalls "
        "are expected",
    ),
    "query.free-pages": Claim(
        bool, "on the bare OS, `query` says as `free-pages` how many pages of memory nobody has taken"
    ),
    "refuses.loaded": Claim(_ERRNO, "the error with which loading is refused when it is loaded already"),
    "refuses.option": Claim(
        _ERRNO, "the error with which loading is refused for an option that it does not have"
    ),
    "refuses.in-use": Claim(
        _ERRNO, "the error with which loading is refused while a CPU's virtualization hardware is in use"
    ),
    "refuses.switched-off": Claim(
        _ERRNO, "the error with which loading is refused if firmware has switched virtualization off on a CPU"
    ),
    "refuses.says-where": Claim(
        bool,
        "where one CPU is why loading is refused, the text says `CPU N, value V`: its number, and in "
        "hexadecimal what the register that forbids it holds",
    ),
}


COUNTERS: Mapping[str, str] = {
    "cpuid": "CPUID",
    "rdmsr": "RDMSR",
    "wrmsr": "WRMSR",
    "xsetbv": "XSETBV",
    "invd": "INVD",
    "getsec": "GETSEC",
    "hypercall": "VMCALL, VMMCALL",
    "nested": "the instructions of VMX or SVM themselves",
    "gp-fault": "a #GP that is intercepted",
    "cr-access": "a MOV to or from a control register, CLTS, LMSW",
    "nmi": "an NMI",
    "nmi-window": "NMIs can be delivered again",
    "nested-paging": "EPT violation or misconfiguration, nested page fault",
    "task-switch": "a task switch",
    "init": "an INIT",
    "sipi": "a start-up IPI",
    "apic-write": "a write to the local APIC",
    "shutdown": "a triple fault",
    "invalid-state": "the guest could not be entered",
    "other": "any other exit",
}
"""Exit counters: what suites may expect as ``exits``, and which exits count. A subject has those it likes."""


def unknown_counter(name: str) -> str | None:
    """What is wrong with the name of an exit counter; None: it is one of ours, or anybody's own."""
    if name in COUNTERS or (name.startswith(OWN) and len(name) > len(OWN)):
        return None
    near = did_you_mean(name, COUNTERS)
    return f"there is no exit counter '{name}'{near or '; known are ' + ', '.join(COUNTERS)}"


def counters_as_table() -> Iterator[str]:
    """The exit counters as the lines of a Markdown table."""
    yield "| counter | counts |"
    yield "|---|---|"
    yield from (f"| `{name}` | {what} |" for name, what in COUNTERS.items())


def as_table() -> Iterator[str]:
    """The claims as the lines of a Markdown table."""
    yield "| claim | value | means |"
    yield "|---|---|---|"
    kinds = {int: "a number", bool: "`true`"}
    for name, claim in CLAIMS.items():
        values = claim.values
        words = ", ".join(f"`{word}`" for word in values) if isinstance(values, tuple) else kinds[values]
        yield f"| `{name}` | {words} | {claim.means} |"


def about_subject(fact: str) -> bool:
    """Whether a fact of ``requires`` is a claim (not which subject it is), and nothing of the machine."""
    what, dot, name = fact.partition(".")
    return what == "subject" and dot != "" and not (name in CLAIMS and CLAIMS[name].of_machine_too)


def problem_with(name: str) -> str | None:
    """What is wrong with the name of a claim, with a suggestion; None: it is declared, or anybody's own."""
    if name in CLAIMS or (name.startswith(OWN) and len(name) > len(OWN)):
        return None
    near = did_you_mean(name, CLAIMS)
    return (
        f"there is no claim '{name}'{near or '; known are ' + ', '.join(CLAIMS)}. One of your own is own.NAME"
    )


def implied(
    cases: Iterable[Case], unloads: bool, source: Source, *, before_loading: bool = False
) -> Iterator[Requirement]:
    """What cases require because of what they expect: claims, exit counters, being unloadable.

    ``before_loading``: they do something to the machine before the subject is loaded, so that it has to be
    the same machine afterwards.
    """
    if before_loading:
        yield Requirement("way != hosted", source)
        yield Requirement("way != uefi", source)
    names = dict.fromkeys(
        field.claim for case in cases for field in case.expect.fields if field.kind == "claim" and field.claim
    )
    for name in names:
        yield Requirement(f"subject.{name} != false", source)
    if any(_reaches_local_apic(case) for case in cases):
        yield Requirement(f"not msr.ia32-apic-base[{X2APIC_BIT}]", source)
    if any(case.expect.exits for case in cases):
        yield Requirement("subject.counters", source)
    if unloads:
        yield Requirement("subject.unloadable", source)


def _reaches_local_apic(case: Case) -> bool:
    """Whether a body needs the local APIC's page, which is there in xAPIC mode only."""
    return bool(bodies.raises(case.body)) or any("LOCAL_APIC" in line for line in case.body.lines)


def undeclared(check: Check) -> Iterator[Problem]:
    """The claims that a check rests on and that nobody can make."""
    needs = (*check.requires, *(one for case in check.cases for one in case.requires))
    for source, name in dict.fromkeys(
        (one.source, name) for one in needs for name in sorted(requires.names_used(one))
    ):
        if name.startswith("subject."):
            problem = problem_with(name.removeprefix("subject."))
            if problem is not None:
                yield Problem(source, f"requires: {problem}")
