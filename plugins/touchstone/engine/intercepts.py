"""Self-test of a target's virtualization hardware: controls, and what becomes of a guest's state.

A control that the processor ignores, or a register that it does not load or store, is no fault of a
hypervisor that relies on it. Each is tried with a guest of its own, on the bare OS, by a probe; see
``machine.intercepts``.
"""

from __future__ import annotations

import struct
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from touchstone.engine.cpu import MeasuredCpu, measure_cpu
from touchstone.engine.facts import cpu_facts
from touchstone.machine.driver import AgentRefused, Driver, TargetInfo
from touchstone.machine.intercepts import row, svm, vmx
from touchstone.machine.intercepts.names import NAMES, STATE_NAMES, fact
from touchstone.machine.intercepts.row import Machine, Row, Seen, Settings
from touchstone.machine.probe import Operand, Page, Place, ProbeRequest, ProbeResult
from touchstone.machine.svm_guest import PHYSICAL
from touchstone.suite import cpu_bits, requires
from touchstone.suite.assemble import Assembler
from touchstone.suite.cpu_bits import CpuidBits
from touchstone.suite.model import Body, Source

ROWS_PER_PROBE = 6
"""As many as fit into a request, together with the settings that all guests have."""
MAX_LOST = ROWS_PER_PROBE + 3
"""So often the machine may be lost: those of one request, and some of their own."""
_NMI = 2
_SETTING = struct.Struct("<HQ")
_HEAD = struct.Struct("<I2H")
"""Of a row: where its guest begins, how many settings follow, and what is read behind the exit."""
_RESULT = struct.Struct("<4Q")
_STATE = struct.Struct(f"<7Q HQ6x HQ6x 2Q 5Q {row.PAGES}Q")
"""CR0, CR3, CR4, EFER, CS, SS, TR, GDTR and IDTR, the descriptor of the TSS, the bases of FS and GS, the
three MSRs of SYSENTER, and the physical addresses of the pages."""
_READ_STATE = f"""
    mov r11, rdi
    lea rdi, [rsi + 0x1000]
    mov r12, rdi
    mov rax, cr0
    stosq
    mov rax, cr3
    stosq
    mov rax, cr4
    stosq
    mov ecx, IA32_EFER
    call read_msr
    mov eax, cs
    stosq
    mov eax, ss
    stosq
    str eax
    stosq
    sgdt [rdi]
    mov rbx, [rdi + 2]
    add rdi, 16
    sidt [rdi]
    add rdi, 16
    str eax
    and eax, 0xfff8
    push rsi
    lea rsi, [rbx + rax]
    movsq
    movsq
    pop rsi
    mov ecx, IA32_FS_BASE
    call read_msr
    mov ecx, IA32_GS_BASE
    call read_msr
    mov ecx, IA32_SYSENTER_CS
    call read_msr
    inc ecx
    call read_msr
    inc ecx
    call read_msr
    mov r12, rdi
    mov rdi, r11
    mov r8d, {row.PAGES}
    3: call physical
    mov [r12], rax
    add r12, 8
    add rdi, 0x1000
    dec r8d
    jnz 3b
    jmp over
    read_msr: rdmsr
    stosd
    mov eax, edx
    stosd
    ret
    physical: {PHYSICAL}
    ret
    over: nop
"""
"""Writes a _STATE to RSI + 1000h. RDI: the first page."""
_PLACE = Place(pages=tuple(Page(Operand(offset=row.FIRST_PAGE + at * 0x1000)) for at in range(row.PAGES)))


@dataclass
class SelfTest:
    """What came of it so far."""

    heeded: set[str] = field(default_factory=set)
    """What is as the manual says: controls that made their guest exit, and what became of its state."""
    ignored: dict[str, str] = field(default_factory=dict)
    """What is not, with what was seen instead."""
    asked: Sequence[Row] = ()
    """Those whose guests run now."""
    suspects: set[str] = field(default_factory=set)
    """One of them has ended the machine: they are asked one by one."""
    is_over: bool = False
    """Nothing is left to ask, or the machine was lost too often."""
    lost: int = 0
    """How often."""

    def was_lost(self, why: str) -> None:
        """The machine did not survive what it was asked; of several guests, nobody knows which."""
        if len(self.asked) == 1:
            self.ignored[self.asked[0].name] = why
        self.suspects |= {one.name for one in self.asked}
        self.lost += 1
        self.is_over = self.lost == MAX_LOST

    def is_to_ask(self, one: Row, wanted: Container[str]) -> bool:
        """Whether a guest is still to run. What a machine may not survive is only asked if it is wanted."""
        if one.name in self.heeded or one.name in self.ignored:
            return False
        return not one.may_hang or fact(one.name) in wanted

    def in_words(self) -> dict[str, str]:
        """``{"intercepts": "60 right; wrong: xsetbv (exit 0x81 in the place of 0x8d)", ...}``."""
        return {
            key: text
            for key, names in (("intercepts", NAMES), ("state", STATE_NAMES))
            if (text := self._of(names))
        }

    def _of(self, names: Sequence[str]) -> str:
        heeded = sum(name in names for name in self.heeded)
        wrong = ", ".join(f"{name} ({seen})" for name, seen in self.ignored.items() if name in names)
        if not heeded and not wrong:
            return ""
        return f"{heeded} right" + (f"; wrong: {wrong}" if wrong else "")


def self_test(
    driver: Driver,
    info: TargetInfo,
    timeout: float,
    found: SelfTest,
    wanted: Container[str],
    assembler: Assembler,
) -> None:
    """Test what is not ``found`` yet on CPU 0 of a bare machine, which stays as it is.

    ``timeout`` in seconds, per probe. ``wanted``: facts that requirements ask for, as far as the machine may
    not survive the test. Nothing is found where that cannot be asked: no virtualization, or switched off, or
    not the bare OS. TargetHung or TargetDied where the machine does not come back: see ``SelfTest.was_lost``.
    """
    if info.os != "bare":
        return
    kind = svm if info.vendor == "amd" else vmx
    has_it = "cpuid.svm" if info.vendor == "amd" else "cpuid.vmx"
    every = (*kind.ROWS, *kind.STATE)
    needed = {has_it, *(one.needs for one in every if one.needs)}
    bits = {name: bit for name in needed if isinstance(bit := cpu_bits.parse(name), CpuidBits)}
    leaves = {(bit.leaf, bit.subleaf) for bit in bits.values()}
    cpu = measure_cpu(driver, info.vendor, info.cpus, leaves, kind.CAPABILITIES, timeout)
    facts = cpu_facts(cpu, bits)
    machine = _machine(driver, cpu, timeout, assembler) if facts[has_it] else None
    if machine is None or not kind.is_usable(machine):
        return
    rows = [
        one
        for one in every
        if found.is_to_ask(one, wanted)
        and (not one.needs or requires.evaluate(one.needs, facts).result)
        and kind.possible(one, machine)
    ]
    requests = list(batches(rows, found.suspects))
    bodies = [_guests(batch, kind.CODE, kind.HYPERCALL) for batch in requests]
    assembled = assembler.assemble(bodies)
    common = kind.common(machine)
    for batch, body in zip(requests, bodies, strict=True):
        found.asked = batch
        code = assembled.codes[body]
        settings = _pack(common)
        own = [_own(one, common, kind.settings(one, machine)) for one in batch]
        table = b"".join(
            _HEAD.pack(
                code.labels[f"guest{at}"]
                - code.labels["guests"]
                + (info.uslot - info.slot if one.of_user else 0),
                len(each),
                kind.EXIT_CODE if one.read is None else one.read,
            )
            + _pack(each)
            for at, (one, each) in enumerate(zip(batch, own, strict=True))
        )
        request = ProbeRequest(
            code=code.data,
            place=_PLACE,
            registers={
                "rdi": Operand(offset=row.FIRST_PAGE),
                "rsi": Operand("scratch"),
                "r15": Operand("scratch", len(settings)),
                "r10": Operand(offset=len(settings) // _SETTING.size),
                "r11": Operand(offset=len(batch)),
                **{name: Operand(offset=value) for name, value in kind.registers(machine).items()},
            },
            memory=((row.INPUTS, settings + table), *kind.memory(machine)),
            read=(row.RESULTS, row.RESULT * len(batch)),
            keep=kind.KEEP,
            handlers={_NMI: "return", row.INTERRUPT: "return"},
            timeout=timeout,
        )
        result = _ask(driver, request)
        if result is None:
            continue
        results = (Seen(*values) for values in _RESULT.iter_unpack(result.memory))
        for one, seen, each in zip(batch, results, own, strict=True):
            wrong = seen.wrong(one, {**common, **each})
            if wrong is None:
                found.heeded.add(one.name)
            else:
                found.ignored[one.name] = wrong
    found.asked = ()


def _own(one: Row, common: Settings, settings: Settings) -> Settings:
    """What a guest has otherwise than all guests."""
    return {**settings, **{key: common[key] ^ bits for key, bits in one.toggles.items()}}


def batches(rows: Sequence[Row], suspects: Container[str]) -> Iterator[Sequence[Row]]:
    """Those that a machine may not survive come last, one by one."""
    safe = [one for one in rows if not one.may_hang and one.name not in suspects]
    for first in range(0, len(safe), ROWS_PER_PROBE):
        yield safe[first : first + ROWS_PER_PROBE]
    yield from ([one] for one in rows if one not in safe)


def _guests(rows: Sequence[Row], code: str, hypercall: str) -> Body:
    guests = "; ".join(f"guest{at}: {one.guest}; {hypercall}" for at, one in enumerate(rows))
    return _body(code.replace("GUESTS", guests.replace("; ", "\n")).replace("HYPERCALL", hypercall))


def _machine(driver: Driver, cpu: MeasuredCpu, timeout: float, assembler: Assembler) -> Machine | None:
    """The state of CPU 0; None if the agent refuses."""
    body = _body(_READ_STATE)
    request = ProbeRequest(
        code=assembler.assemble([body]).codes[body].data,
        place=_PLACE,
        registers={"rdi": Operand(offset=row.FIRST_PAGE), "rsi": Operand("scratch")},
        read=(row.RESULTS, _STATE.size),
        timeout=timeout,
    )
    result = _ask(driver, request)
    if result is None:
        return None
    cr0, cr3, cr4, efer, cs, ss, tr, gdt_limit, gdt, idt_limit, idt, low, high, *rest = _STATE.unpack(
        result.memory
    )
    return Machine(
        cr0=cr0,
        cr3=cr3,
        cr4=cr4,
        efer=efer,
        cs=cs,
        ss=ss,
        tr=tr,
        gdt=(gdt, gdt_limit),
        idt=(idt, idt_limit),
        tss=low >> 16 & 0xFF_FFFF | low >> 32 & 0xFF00_0000 | (high & 0xFFFF_FFFF) << 32,
        fs_base=rest[0],
        gs_base=rest[1],
        sysenter=(rest[2], rest[3], rest[4]),
        pages=tuple(rest[5:]),
        msrs=cpu.msrs,
    )


def _pack(settings: Settings) -> bytes:
    return b"".join(_SETTING.pack(key, value) for key, value in settings.items())


def _body(text: str) -> Body:
    lines = tuple(line.strip() for line in text.splitlines() if line.strip())
    return Body(lines, (Source(Path(__file__), 1, 1),) * len(lines))


def _ask(driver: Driver, request: ProbeRequest) -> ProbeResult | None:
    """What a probe ends with; None if it is refused, or ends in an exception."""
    try:
        (result,) = driver.run(request)
    except AgentRefused:
        return None
    return result if result.vector is None else None
