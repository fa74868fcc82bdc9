"""A probe as the protocol writes it, and a CPU's answer to it as a result."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import TypeVar

from touchstone.machine.probe import (
    CALL_REGISTERS,
    GPRS,
    LEGACY_GPRS,
    STACK_END,
    HandlerKind,
    Operand,
    Place,
    ProbeEvent,
    ProbeRequest,
    ProbeResult,
    address_mask,
)

T = TypeVar("T")

MASK64 = 2**64 - 1
MOST_CPUS = 256
"""CPUs that a probe can name."""
DR7_RESET = 0x400
"""DR7 without a breakpoint (SDM 3A 9.1.1), with which a probe starts."""
START_RSP = STACK_END - 0x100
"""Offset in the slot of the RSP that a probe starts with."""

_SEEDED = tuple(name for name in GPRS if name != "rsp")
_ZEROS = re.compile("z([0-9a-f]{2})")
_HEX, _DECIMAL = re.compile("[0-9a-f]{1,16}").fullmatch, re.compile("[0-9]{1,20}").fullmatch


@lru_cache(maxsize=4096)
def splitmix64(seed: int, count: int) -> tuple[int, ...]:
    """The first outputs of Vigna's splitmix64 started with ``seed``."""
    values = []
    for index in range(1, count + 1):
        z = (seed + index * 0x9E3779B97F4A7C15) & MASK64
        z = ((z ^ z >> 30) * 0xBF58476D1CE4E5B9) & MASK64
        z = ((z ^ z >> 27) * 0x94D049BB133111EB) & MASK64
        values.append(z ^ z >> 31)
    return tuple(values)


def cpu_mask(cpus: Iterable[int]) -> int:
    """CPU numbers as the bit mask that the protocol speaks of. ValueError for one that it cannot have."""
    mask = 0
    for cpu in cpus:
        if not 0 <= cpu < MOST_CPUS:
            raise ValueError(f"CPU {cpu} is not between 0 and {MOST_CPUS - 1}")
        mask |= 1 << cpu
    return mask


def encode_operand(operand: Operand, at: int = 0) -> str:
    """An operand as the protocol writes it."""
    if operand.base == "number":
        # `c10` would be start + 0x10: a number never begins with c.
        text = f"{operand.offset & MASK64:x}"
        return "0" + text if text[0] == "c" else text
    letter = {"scratch": "s", "start": "c", "stack": "t"}[operand.base]
    sign = "-" if operand.offset < 0 else ""
    return f"{letter}{sign}{abs(operand.offset):x}"


def _encode_place(place: Place) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    if place.mode != "long":
        pairs.append(("mode", place.mode))
    if place.linear is not None:
        pairs.append(("linear", f"{place.linear:x}"))
    if place.base is not None:
        pairs.append(("base", f"{place.base:x}"))
    for page in place.pages:
        alias = f":{encode_operand(page.alias)}" if page.alias else ""
        pairs.append(("page", f"{encode_operand(page.address)}:{page.set:x}:{page.clear:x}{alias}"))
    return pairs


def encode_probe(probe: ProbeRequest) -> list[tuple[str, str]]:
    """The pairs of a ``run`` request. ValueError for what cannot be said in the protocol."""
    if not probe.code:
        raise ValueError("a probe needs code")
    pairs = [("code", probe.code.hex())]
    if probe.cpl:
        pairs.append(("cpl", str(probe.cpl)))
    if probe.code_bits != 64:
        pairs.append(("bits", str(probe.code_bits)))
    pairs += _encode_place(probe.place)
    if (mask := cpu_mask(probe.cpus)) != 1:
        pairs.append(("on", f"{mask:x}"))
    if probe.together:
        pairs.append(("once", "1"))
    if probe.at:
        pairs.append(("at", f"{probe.at:x}"))
    if probe.seed is not None:
        pairs.append(("seed", f"{probe.seed & MASK64:x}"))
    for name, operand in probe.registers.items():
        if name not in GPRS:
            raise ValueError(f"{name!r} is not a general-purpose register ({', '.join(GPRS)})")
        pairs.append((name, encode_operand(operand)))
    if probe.rflags != 2:
        pairs.append(("rflags", f"{probe.rflags:x}"))
    for name, (to_set, to_clear) in probe.bits.items():
        pairs.append((name, f"{to_set:x}:{to_clear:x}"))
    pairs += [(name, encode_operand(operand)) for name, operand in probe.debug.items()]
    pairs += [("mem", f"{offset:x}:{data.hex()}") for offset, data in probe.memory]
    if probe.read is not None:
        pairs.append(("read", f"{probe.read[0]:x}:{probe.read[1]:x}"))
    if probe.keep:
        pairs.append(("keep", ",".join(f"{msr:x}" for msr in probe.keep)))
    if probe.handlers:
        handlers = (f"{vector:x}:{_encode_handler(to)}" for vector, to in probe.handlers.items())
        pairs.append(("handle", ",".join(handlers)))
    flags = {"leave": probe.leave, "undo": probe.undo, "tables": probe.tables}
    pairs += [(name, "1") for name, wanted in flags.items() if wanted]
    for msr, start in probe.msrs.items():
        text = f"{start[0]:x}:{start[1]:x}" if isinstance(start, tuple) else encode_operand(start)
        pairs.append(("msr", f"{msr:x}:{text}"))
    return pairs


_HANDLER_LETTERS = {"return": "r", "no-gate": "x", "not-present": "p"}


def _encode_handler(handler: int | HandlerKind) -> str:
    return f"{handler:x}" if isinstance(handler, int) else _HANDLER_LETTERS[handler]


def _read_events(text: str) -> tuple[ProbeEvent, ...]:
    """``VECTOR:RIP,VECTOR:RIP:DR6``. ValueError for anything else."""
    events = []
    for entry in text.split(","):
        vector, rip, *dr6 = (int(number, 16) for number in entry.split(":"))
        events.append(ProbeEvent(vector, rip, *dr6[:1]))
    return tuple(events)


_TABLES = ("idtr.base", "idtr.limit", "gdtr.base", "gdtr.limit", "ldtr", "tr")
_CALL = tuple(f"returned.{name}" for name in CALL_REGISTERS)


def _read_more(fields: Mapping[str, str]) -> dict[str, tuple[int, int]]:
    """The registers that an answer has at their start and at their end. ValueError if it cannot be read."""
    found: dict[str, tuple[int, int]] = {}
    for names, start, end in ((_TABLES, "tables-start", "tables"), (_CALL, "called", "returned")):
        if start not in fields and end not in fields:
            continue
        values = [fields.get(key, "").split(":") for key in (start, end)]
        whole = all(len(part) == len(names) for part in values)
        if not whole or not all(_HEX(one) for part in values for one in part):
            raise ValueError(f"{start}={fields.get(start)} {end}={fields.get(end)}")
        pairs = zip(*([int(one, 16) for one in part] for part in values), strict=True)
        found |= dict(zip(names, pairs, strict=True))
    return found


def given_registers(probe: ProbeRequest, slot: int, start: int) -> dict[str, int]:
    """All GPRS as they are when the probe starts at ``start`` on the CPU whose slot is at ``slot``."""
    registers = dict.fromkeys(GPRS, 0)
    if probe.seed is not None:
        registers |= zip(_SEEDED, splitmix64(probe.seed, len(_SEEDED)), strict=True)
    registers["rsp"] = slot + START_RSP
    for name, operand in probe.registers.items():
        registers[name] = operand.resolve(slot, start - slot)
        if operand.base == "start":
            registers[name] &= address_mask(probe.code_bits)
    if probe.place.mode != "long":
        return {name: registers[name] & 0xFFFF_FFFF if name in LEGACY_GPRS else 0 for name in GPRS}
    return registers


def _read_msrs(text: str) -> dict[int, int]:
    """``MSR:VALUE,MSR:VALUE``. ValueError for anything else."""
    pairs = [pair.split(":") for pair in text.split(",")]
    if not all(len(pair) == 2 and all(map(_HEX, pair)) for pair in pairs):
        raise ValueError(text)
    return {int(msr, 16): int(value, 16) for msr, value in pairs}


def _read_bytes(text: str) -> bytes:
    """``0dz0f``: 0d and 15 zeros. ValueError for anything else."""
    digits, *more = _ZEROS.split(text)
    return bytes.fromhex(digits) + b"".join(
        bytes(int(zeros, 16)) + bytes.fromhex(digits)
        for zeros, digits in zip(more[::2], more[1::2], strict=True)
    )


def _part(fields: Mapping[str, str], key: str, read: Callable[[str], T]) -> T | None:
    """What is read from a field; None if there is none. ValueError that names the key."""
    if key not in fields:
        return None
    try:
        return read(fields[key])
    except ValueError:
        raise ValueError(f"{key}={fields[key]}") from None


def number_in(fields: Mapping[str, str], key: str, base: int) -> int:
    """A number of an answer. ``base``: 16 or 10. ValueError that names the key."""
    text = fields.get(key, "")
    if not (_HEX if base == 16 else _DECIMAL)(text):
        raise ValueError(f"{key}={text[:80]!r} is not a number" if key in fields else f"{key} is missing")
    return int(text, base)


def read_result(probe: ProbeRequest, cpu: int, slot: int, fields: Mapping[str, str]) -> ProbeResult:
    """The answer of a CPU whose slot is at ``slot``. ValueError that names what breaks the protocol."""

    def number(key: str, base: int = 16) -> int | None:
        return number_in(fields, key, base) if key in fields else None

    def required(key: str) -> int:
        return number_in(fields, key, 16)

    end = fields.get("end")
    if end not in ("done", "exc"):
        raise ValueError(f"end={end}")
    slot = required("slot") if "slot" in fields else slot
    start = required("start") if "start" in fields else slot + probe.at
    given = given_registers(probe, slot, start)
    dr7 = probe.debug["dr7"].resolve(slot, start - slot) if "dr7" in probe.debug else DR7_RESET
    changed = {name: required(name) for name in fields if name in given}
    memory = _part(fields, "mem", _read_bytes) or b""
    if len(memory) != (probe.read[1] if probe.read else 0):
        raise ValueError(f"{len(memory)} bytes of memory came back, {probe.read} was asked for")
    events = _part(fields, "events", _read_events) or ()
    return ProbeResult(
        cpu=cpu,
        vector=required("vec") if end == "exc" else None,
        error_code=number("ec"),
        registers=given | changed,
        given=given,
        rip=required("rip"),
        rflags=required("rflags"),
        start=start,
        slot=slot,
        cr2=number("cr2"),
        dr6=number("dr6"),
        dr7=number("dr7") if "dr7" in fields else dr7,
        memory=memory,
        msrs=_part(fields, "msrs", _read_msrs) or {},
        nmis=number("nmi", 10) or 0,
        events=events,
        noted=number("noted", 10) or len(events),
        more=_read_more(fields),
        code_bits=probe.code_bits,
    )
