"""What failing checks have in common, whatever values each of them has measured.

A check's cause has the values that it expected and measured. With random start values no two checks have the
same, so one fault of a hypervisor would be as many causes as checks that see it.
"""

from __future__ import annotations

import re

from touchstone.journal.lines import Difference, EvidenceLine, JudgedLine

_REGISTER = re.compile(r"(\w+)(?:\[(\d+)(?::(\d+))?\])?")
_NUMBER = re.compile(r"0x([0-9a-f_]+)(?:, (native|unchanged))?")
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
    register, expected = _REGISTER.fullmatch(one.what), _NUMBER.match(one.expected)
    measured = _NUMBER.match(one.measured)
    if register is None or expected is None or measured is None:
        return ""
    lowest = int(register[3] or register[2] or 0)
    differing = (int(expected[1], 16) ^ int(measured[1], 16)) << lowest
    bits = [bit for bit in range(differing.bit_length()) if differing >> bit & 1]
    if not bits:
        return ""
    if bits[0] >= 32 and len(bits) > FEW:
        return f"{register[1]} differs in bits 63:32"
    if expected[2] is None:
        return ""
    if len(bits) <= FEW:
        named = f" ({one.bits})" if one.bits else ""
        return f"{register[1]} differs in bit{'s' * (len(bits) > 1)} {', '.join(map(str, bits))}{named}"
    return f"{register[1]} is changed" if expected[2] == "unchanged" else ""
