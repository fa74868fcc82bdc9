"""Backtraces from a stopped x86-64 CPU: by frame pointers, or by scanning the stack for return addresses."""

from __future__ import annotations

import re
from collections.abc import Mapping

from touchstone.machine.driver import TargetError
from touchstone.machine.symbols import MemoryReader, Symbols

MAX_FRAMES = 24
MOST_STACKS = 2
STACK_MOST = 65536
"""Bytes between two frames of one stack."""
STACK_SCAN = 2048
"""Bytes of stack to look through when there are no frame pointers."""

_REGISTER = re.compile(
    r"\b([A-Za-z]\w{1,2})\s*[=:]\s*(?:0x)?([\da-f]{8}_[\da-f]{8}|[\da-f]{8,16})\b", re.IGNORECASE
)


def parse_registers(text: str) -> dict[str, int]:
    """Register values from QEMU's ``info registers`` or Bochs' ``r``: lower-case name to value."""
    return {name.lower(): int(value.replace("_", ""), 16) for name, value in _REGISTER.findall(text)}


def _word(memory: MemoryReader, address: int) -> int | None:
    try:
        data = memory(address, 8)
    except (OSError, TargetError):
        return None
    return int.from_bytes(data, "little") if len(data) == 8 else None


def _follows_call(symbols: Symbols, address: int) -> bool:
    """Whether the instruction in front of a code address can be a CALL (SDM 2A, CALL: E8 rel32, FF /2)."""
    before = symbols.code(address - 7, 7)
    if len(before) < 7:
        return False
    if before[2] == 0xE8:
        return True
    return any(before[-size] == 0xFF and before[-size + 1] & 0x38 == 0x10 for size in range(2, 8))


def _by_frame_pointers(rbp: int, rsp: int, memory: MemoryReader, symbols: Symbols) -> list[int]:
    """Return addresses, as long as frames ascend and return into the image's code.

    They may go on once on another stack: a panic's, or an exception's.
    """
    addresses: list[int] = []
    lowest, stacks, frames = rsp, 1, {0}
    while len(addresses) < MAX_FRAMES and rbp % 8 == 0 and rbp not in frames:
        if not lowest <= rbp < lowest + STACK_MOST:
            if not addresses or stacks == MOST_STACKS:
                break
            stacks += 1
        frames.add(rbp)
        caller = _word(memory, rbp + 8)
        # The CALL of what does not return may be the last instruction of the code.
        if caller is None or not symbols.is_code(caller - 1) or not _follows_call(symbols, caller):
            break
        addresses.append(caller)
        lowest = rbp + 16
        saved = _word(memory, rbp)
        if saved is None:
            break
        rbp = saved
    return addresses


def _by_scanning(rsp: int, memory: MemoryReader, symbols: Symbols) -> list[int]:
    """Everything on the stack that points behind a CALL of the image. Stale values may be among it."""
    for size in (STACK_SCAN, 4096 - rsp % 4096):
        try:
            stack = memory(rsp, size)
            break
        except (OSError, TargetError):
            continue
    else:
        return []
    words = (int.from_bytes(stack[i : i + 8], "little") for i in range(0, len(stack) - 7, 8))
    found = [word for word in words if symbols.is_code(word) and _follows_call(symbols, word)]
    return found[:MAX_FRAMES]


def backtrace(registers: Mapping[str, int], memory: MemoryReader, symbols: Symbols) -> tuple[str, ...]:
    """Frames, innermost first: ``0x100abc svm_exit+0x1c (svm/exit.c:88)``.

    A frame found by scanning the stack has a ``?`` behind its address: it may be a leftover.
    """
    rip, rsp, rbp = (registers.get(name) for name in ("rip", "rsp", "rbp"))
    if rip is None:
        return ()
    frames = [f"{rip:#x} {symbols.describe(rip) or '(not in the image)'}"]
    if rsp is None:
        return tuple(frames)
    callers = _by_frame_pointers(rbp, rsp, memory, symbols) if rbp else []
    doubt = ""
    if not callers:
        callers, doubt = _by_scanning(rsp, memory, symbols), " ?"
    frames += [f"{address:#x}{doubt} {symbols.describe(address, returns=True)}" for address in callers]
    return tuple(frames)
