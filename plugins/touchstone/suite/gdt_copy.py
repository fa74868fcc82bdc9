"""The word of a body that copies the GDT: ``copy_gdt rbx``, ``copy_gdt ebx, 0x00cf93000000ffff, 0``.

It becomes instructions that put a copy into memory, with descriptors behind its last entry. Loading it is
left to the body: LGDT, and what it changes, is what a check is about.
"""

from __future__ import annotations

from collections.abc import Sequence

from touchstone.machine.probe import LEGACY_GPRS, CodeBits
from touchstone.suite.numeral import number

WORD = "copy_gdt"
COPY = 0x100
"""Offset of the copy from where the register points; of the tables' addresses and limits, 0 and ``WAS``."""
WAS = 0x10
MOST = 8
"""Descriptors that one copy may add."""

_CHANGED = ("rcx", "rsi", "rdi")
_AREAS = {
    **{name: 64 for name in LEGACY_GPRS if name not in (*_CHANGED, "rsp")},
    **{f"r{number}": 64 for number in range(8, 16)},
    **{f"e{name[1:]}": 32 for name in LEGACY_GPRS if name not in (*_CHANGED, "rsp")},
}
"""The registers that can point to the memory, and their bits."""


def is_copying(tokens: Sequence[str]) -> bool:
    """Whether a statement of a body is the word."""
    return bool(tokens) and tokens[0].lower() == WORD


def refused(tokens: Sequence[str], bits: CodeBits) -> str | None:
    """What is wrong with the word in a body of such code; None if nothing is."""
    area, *descriptors = _arguments(tokens)
    if area.lower() not in _AREAS:
        return (
            f"{WORD} takes the register that points to the memory for the copy, then descriptors:"
            f" `{WORD} rbx, 0x00cf93000000ffff`. It cannot be '{area}'; RCX, RSI and RDI are changed"
        )
    if bits == 16:
        return f"{WORD} is for 64-bit and 32-bit code"
    if _AREAS[area.lower()] > bits:
        narrow = f"e{area.lower()[1:]}"
        return f"in 32-bit code, {WORD} takes a 32-bit register: {narrow if narrow in _AREAS else 'ebx'}"
    if len(descriptors) > MOST:
        return f"{len(descriptors)} descriptors; {WORD} adds at most {MOST}"
    for one in descriptors:
        value = number(one)
        if value is None or not 0 <= value < 2**64:
            return f"{WORD} adds descriptors of 64 bits, not '{one}'; write 0 for one that the body makes"
    return None


def instructions(tokens: Sequence[str], bits: CodeBits) -> str:
    """The word as instructions, of which nothing is wrong."""
    area, *descriptors = _arguments(tokens)
    source, target = ("rsi", "rdi") if bits == 64 else ("esi", "edi")
    lines = [
        f"sgdt [{area}]",
        f"sgdt [{area} + {WAS}]",
        f"movzx ecx, word ptr [{area}]",
        "inc ecx",
        f"mov {source}, [{area} + 2]",
        f"lea {target}, [{area} + {COPY}]",
        f"mov [{area} + 2], {target}",
        "cld",
        "rep movsb",
    ]
    for at, one in enumerate(descriptors):
        value = number(one) or 0
        lines.append(f"mov dword ptr [{target} + {8 * at}], {value & 0xFFFF_FFFF:#x}")
        lines.append(f"mov dword ptr [{target} + {8 * at + 4}], {value >> 32:#x}")
    lines += [f"movzx ecx, word ptr [{area}]", "inc ecx"]
    if descriptors:
        lines.append(f"add word ptr [{area}], {8 * len(descriptors)}")
    return "; ".join(lines)


def _arguments(tokens: Sequence[str]) -> list[str]:
    """What stands behind the word, between commas."""
    return [part.strip() for part in "".join(tokens[1:]).split(",")]
