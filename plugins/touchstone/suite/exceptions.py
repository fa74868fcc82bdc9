"""Exceptions by mnemonic (SDM 3A table 6-1, APM2 table 8-1)."""

from __future__ import annotations

import re

from touchstone.suite.numeral import number
from touchstone.suite.problems import did_you_mean

VECTORS = {
    "#DE": 0, "#DB": 1, "#BP": 3, "#OF": 4, "#BR": 5, "#UD": 6, "#NM": 7, "#DF": 8, "#TS": 10, "#NP": 11,
    "#SS": 12, "#GP": 13, "#PF": 14, "#MF": 16, "#AC": 17, "#MC": 18, "#XM": 19, "#XF": 19, "#VE": 20,
    "#CP": 21, "#HV": 28, "#VC": 29, "#SX": 30,
}  # fmt: skip
"""Mnemonic to vector. #XM (Intel) and #XF (AMD) are the same one."""

WITH_ERROR_CODE = frozenset({8, 10, 11, 12, 13, 14, 17, 21, 29, 30})
"""Vectors that push an error code."""

_FORM = re.compile(r"(#[A-Za-z]{2})(?:\(([^)]*)\))?")
_VECTOR = re.compile(r"vector\s+(\S+)")


def name(vector: int, error_code: int | None = None) -> str:
    """``#GP(0x10)``, ``#UD``, ``vector 0x21``."""
    found = next(
        (mnemonic for mnemonic, number in VECTORS.items() if number == vector), f"vector {vector:#x}"
    )
    return found if error_code is None else f"{found}({error_code:#x})"


def end(vector: int | None, error_code: int | None = None) -> str:
    """How a probe ends: ``no exception``, ``#GP(0x0)``."""
    return "no exception" if vector is None else name(vector, error_code)


def parse(text: str) -> tuple[int, int | None] | str:
    """(vector, error code or None) of ``#UD``, ``#GP(0)``, ``vector 0x21``; else what is wrong."""
    software = _VECTOR.fullmatch(text)
    if software:
        vector = number(software[1])
        if vector is None or not 0 <= vector <= 0xFF:
            return f"the vector must be a number from 0 to 0xff, not '{software[1]}'"
        return vector, None
    form = _FORM.fullmatch(text)
    if not form:
        near = _near(f"#{text.lstrip('#')[:2]}")
        return f"'{text}' is no exception" + (near or '; write none, "#UD", "#GP(0)" or "vector 0x21"')
    mnemonic, code = form[1].upper(), form[2]
    if mnemonic not in VECTORS:
        return f"there is no exception {mnemonic}{_near(mnemonic) or '; known are ' + ' '.join(VECTORS)}"
    vector = VECTORS[mnemonic]
    if code is None:
        return vector, None
    if vector not in WITH_ERROR_CODE:
        return f"{mnemonic} has no error code; write {mnemonic}"
    value = number(code)
    if value is None or not 0 <= value <= 0xFFFFFFFF:
        return f"the error code of {mnemonic} must be a number, not '{code}'"
    return vector, value


def _near(mnemonic: str) -> str:
    hint = did_you_mean(mnemonic.lower(), [known.lower() for known in VECTORS])
    return hint.replace(hint[-6:-3], hint[-6:-3].upper()) if hint else ""
