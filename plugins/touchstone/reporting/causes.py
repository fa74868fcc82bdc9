"""What red checks have in common, and which came first: that one is shown in full, the others name it."""

from __future__ import annotations

import re

from touchstone.engine.outcomes import Deviation
from touchstone.engine.records import CheckRecord
from touchstone.journal.bits import as_ranges, differing_bits
from touchstone.journal.read import Journal
from touchstone.machine.driver import AgentRefused
from touchstone.reporting.disassembly import disassemble
from touchstone.suite import show
from touchstone.words import Verdict

FEW_BITS = 4
UPPER_HALF = 32
EXITING = frozenset((
    "clgi", "clts", "cpuid", "getsec", "in", "ins", "insb", "insd", "insw", "int1", "int3", "invd",
    "invept", "invlpg", "invlpga", "invpcid", "invvpid", "iret", "iretd", "iretq", "lgdt", "lidt",
    "lldt", "lmsw", "ltr", "monitor", "mwait", "out", "outs", "outsb", "outsd", "outsw", "popf",
    "popfq", "pushf", "pushfq", "rdmsr", "rdpmc", "rdrand", "rdseed", "rdtsc", "rdtscp", "rsm", "sgdt",
    "sidt", "skinit", "sldt", "smsw", "stgi", "str", "vmcall", "vmclear", "vmfunc", "vmlaunch",
    "vmload", "vmmcall", "vmptrld", "vmptrst", "vmread", "vmresume", "vmrun", "vmsave", "vmwrite",
    "vmxoff", "vmxon", "wbinvd", "wbnoinvd", "wrmsr", "xrstors", "xsaves", "xsetbv",
))  # fmt: skip
"""Instructions that can exit (SDM 3C 25.1, APM2 15.9), but for MOV, and for those in which a CPU waits:
HLT, PAUSE.
"""


def cause_of(record: CheckRecord | None, verdict: Verdict, error: BaseException | None) -> str:
    """What several checks may have in common that are not conformant; empty: nothing is known.

    ``verdict``: with known deviations taken into account. What is excused needs no cause.
    """
    if verdict is Verdict.BLOCKED:
        return str(error)
    if verdict is Verdict.DEVIATION and isinstance(error, AgentRefused):  # of a Python check
        return f"refused: {error}"
    if record is None:
        return ""
    if verdict in (Verdict.CRASH, Verdict.HANG):
        of_driver = "" if record.autopsy is None else record.autopsy.cause
        return of_driver or ("" if verdict is Verdict.CRASH else _stands_at(record))
    if verdict is not Verdict.DEVIATION:
        return ""
    # Without a measurement, what the target said, such as that the state of a check cannot be had.
    said = str(error).split("\n")[0] if isinstance(error, Deviation) else ""
    return first_difference(record) or said


def first_difference(record: CheckRecord) -> str:
    """The first difference that the subject is accused of, without CPU and case, and the instruction."""
    for run in record.runs:
        for one in run.accused:
            result = next((result for result in run.results if result.cpu == one.cpu), None)
            offset = -1 if result is None else result.rip - result.start
            ended = [text for at, _, text in disassemble(run.code, run.request.code_bits) if at <= offset]
            where = f", {_operation(ended[-1])}" if ended else ""
            expected, measured = show.without_slot(one.expected), show.without_slot(one.measured)
            if expected == measured:  # RIP beyond 4 GiB, which is the same place in 32-bit code
                expected, measured = one.expected, one.measured
            return f"{one.what}: expected {expected}, measured {measured}{where}"
    return ""


def _stands_at(record: CheckRecord) -> str:
    """The instructions of a probe at which CPUs stand, of those that a hypervisor can intercept.

    A CPU that never comes behind one has an exit without end, or none that ever ends. Of a loop of other
    instructions, it is as good as chance at which the CPU was stopped.
    """
    found = set()
    for run in record.runs:
        for at, _, text in disassemble(run.code, run.request.code_bits) if run.stands_at else ():
            operation = _operation(text)
            if at in run.stands_at and (operation in EXITING or operation.startswith("mov ")):
                found.add(operation)
    return f"in the probe, at {', '.join(sorted(found))}" if found else ""


def _operation(instruction: str) -> str:
    """The mnemonic, with a control or debug register: MOV to CR3 has little in common with other MOVs."""
    mnemonic = instruction.split(maxsplit=1)[0]
    special = re.search(r"\b[cd]r\d+\b", instruction)
    return f"{mnemonic} {special[0]}" if special else mnemonic


def common_bits(record: CheckRecord | None, verdict: Verdict) -> str:
    """The bits in which the first difference differs from what is native or unchanged, in whatever register.

    Empty: it is about something else, or about so many bits that two checks have them in common by chance.
    """
    if record is None or verdict is not Verdict.DEVIATION:
        return ""
    first = next((one for run in record.runs for one in run.accused), None)
    if first is None:
        return ""
    bits = differing_bits(first.what, first.expected, first.measured)
    stays = first.expected.rpartition(", ")[2] in ("native", "unchanged")
    upper = bool(bits) and bits[0] >= UPPER_HALF and len(bits) > FEW_BITS
    if not upper and not (stays and 0 < len(bits) <= FEW_BITS):
        return ""
    named = "63:32" if upper else as_ranges(bits)
    return f"bit{'s' * (len(bits) > 1)} {named}"


class Causes:
    """Which check came first for each cause on each target: on the terminal, and in the journal.

    They may be two checks. A run that goes on with an earlier one has that one's evidence in its journal, and
    nothing on its terminal; a process of pytest-xdist has shown and written what it has judged itself.
    """

    def __init__(self, *, show_all: bool) -> None:
        """``show_all``: the terminal shows every check in full."""
        self._show_all = show_all
        self._shown: dict[tuple[str, str], str] = {}
        self._written: dict[tuple[str, str], str] = {}

    def were_written(self, before: Journal) -> None:
        """The run goes on with an earlier one, in the same journal."""
        for key, evidence in before.evidence.items():
            if evidence.text and key in before.judged:
                self.first_written(key.target, before.judged[key].cause, key.check)

    def first_shown(self, target: str, cause: str, name: str) -> str:
        """The check that the terminal shows in full for this cause; empty: this one, whose name is given."""
        return "" if self._show_all else _first(self._shown, target, cause, name)

    def first_written(self, target: str, cause: str, name: str) -> str:
        """The check whose evidence in the journal has the text; empty: this one, whose name is given."""
        return _first(self._written, target, cause, name)


def _first(known: dict[tuple[str, str], str], target: str, cause: str, name: str) -> str:
    if not cause:
        return ""
    first = known.setdefault((target, cause), name)
    return "" if first == name else first
