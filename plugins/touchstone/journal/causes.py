"""What failing checks have in common, whatever values each of them has measured.

A check's cause has the values that it expected and measured. With random start values no two checks have the
same, so one fault of a hypervisor would be as many causes as checks that see it.
"""

from __future__ import annotations

from touchstone.journal.bits import differing_bits
from touchstone.journal.lines import Difference, EvidenceLine, JudgedLine

FEW = 4
"""Bits that are named."""


def common_cause(line: JudgedLine, evidence: EvidenceLine | None) -> str:
    """In one line: which part of which register differs, or else the check's own cause."""
    differences = () if evidence is None else evidence.differences
    first = next((one for one in differences if one.accused), None)
    own = (line.cause or line.reason).split("\n")[0]
    return own if first is None else _of_register(first) or own


def _of_register(one: Difference) -> str:
    """Empty if it is about something else, or if the values themselves say what is wrong."""
    bits = differing_bits(one.what, one.expected, one.measured)
    register, note = one.what.partition("[")[0], one.expected.rpartition(", ")[2]
    if not bits:
        return ""
    if bits[0] >= 32 and len(bits) > FEW:
        return f"{register} differs in bits 63:32"
    if note not in ("native", "unchanged"):
        return ""
    if len(bits) <= FEW:
        named = f" ({one.bits})" if one.bits else ""
        return f"{register} differs in bit{'s' * (len(bits) > 1)} {', '.join(map(str, bits))}{named}"
    return f"{register} is changed" if note == "unchanged" else ""
