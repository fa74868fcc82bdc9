"""A target without a machine: it interprets some instructions, and dies, hangs and refuses on demand.

It is a pytest plugin (``-p tests.support.fake_target``) and drives targets whose ``driver`` is ``fake``.
What it did goes to the file that the option ``journal`` names, one word a line.

Instructions that mean something else here: HLT kills the machine, INVD does while the subject is loaded,
PAUSE hangs it, INT1 breaks the link, EMMS kills this very process. Without the enable bit of IA32_APIC_BASE,
CPUs cannot start together any more.
"""

from __future__ import annotations

import os
import struct
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from iced_x86 import Code, Decoder, Instruction, Mnemonic, OpKind, Register, RegisterInfo

from touchstone.config.subjects import Subject
from touchstone.engine.cpu import READ_LEAVES
from touchstone.engine.cpu_state import READ_STATE
from touchstone.engine.presence import LOOK
from touchstone.machine.driver import (
    AgentRefused,
    Answer,
    Autopsy,
    CountsOf,
    Driver,
    HostError,
    InfrastructureError,
    Question,
    TargetDied,
    TargetHung,
    TargetInfo,
)
from touchstone.machine.probe import GPRS, SCRATCH_OFFSET, SCRATCH_SIZE, STACK_END, ProbeRequest, ProbeResult
from touchstone.machine.settings import SettingsError, TargetSettings

SLOT, USLOT, STRIDE = 0x100000, 0x40000000, 0x10000
MASK32, MASK64 = 2**32 - 1, 2**64 - 1
OPTIONS = (
    "journal", "start", "cpuid", "load", "unload", "reset", "bug", "shared", "sends", "os", "others",
    "accesses",
    "version", "refuses-msr", "guest", "link",
    "hang", "cause",
)  # fmt: skip
APIC_BASE, APIC_ENABLED = 0x1B, 1 << 11
KEY = 0x4141_4141
"""A leaf of CPUID."""
SIGNATURE = struct.unpack("<3I", b"VeneerVeneer")


@dataclass
class Fault(Exception):
    vector: int
    error_code: int | None = None


@dataclass
class Cpu:
    registers: dict[str, int]
    scratch: bytearray = field(default_factory=lambda: bytearray(SCRATCH_SIZE))
    zero: bool = False
    number: int = 0


class FakeDriver(Driver):
    def __init__(self, settings: TargetSettings, subject: Subject) -> None:
        self.name = settings.name
        self.settings = settings
        self.subject = subject
        self.loaded = False
        self.left_cpus: set[int] = set()
        """Those that the loaded subject has left, as "bug" says."""
        self.alive = False
        self.counters: Counter[str] = Counter()
        self.serial = ""
        self.os = str(settings.options.get("os", "bare"))
        self.others = int(str(settings.options.get("others", "0")))
        self.accesses = int(str(settings.options.get("accesses", "0")))
        """Control registers that an agent reads around a probe, each of which exits."""
        self.resets = 0
        self.distrusted = False
        self.rip = SLOT
        """Of the CPU that ran last."""
        self.hangs = 0
        self.loads = 0
        self.outlives_runs = "shared" in settings.options
        key = settings.options.get("shared")
        self.lock_key = None if key is None else str(key)
        self.emulator_version: tuple[int, ...] | None = None
        self.loads_another_machine = "guest" in settings.options

    # --- the machine ---

    def start(self, progress: Callable[[str], None]) -> TargetInfo:
        self.note("start")
        progress("starting the fake machine")
        if self.settings.options.get("start") in ("fail", "fail-once"):
            raise InfrastructureError("the fake machine has no power")
        if self.settings.options.get("start") == "compile":
            raise HostError("make failed:\ntoy.c:7: error: no such thing")
        return self.boot()

    def reset(self, progress: Callable[[str], None]) -> TargetInfo:
        self.note("reset")
        progress("resetting the fake machine")
        self.resets += 1
        if self.settings.options.get("start") == "fail":
            raise InfrastructureError("the fake machine has no power")
        if self.settings.options.get("reset") == "fail":
            raise InfrastructureError("the fake machine does not come back")
        return self.boot()

    def distrust(self) -> None:
        self.note("distrust")
        self.distrusted = True

    def wait_in_full(self, *, wanted: bool) -> None:
        self.note("wait-in-full" if wanted else "wait-as-usual")

    def boot(self) -> TargetInfo:
        self.alive, self.loaded = True, False
        self.msrs = [{APIC_BASE: APIC_ENABLED} for _ in range(self.settings.cpus)]
        self.before_leaving: list[dict[int, int]] | None = None
        if version := self.settings.options.get("version"):
            self.emulator_version = tuple(map(int, str(version).split(".")))
        self.serial += "fake machine ready\n"
        return TargetInfo(
            self.settings.vendor, self.settings.cpus, self.os, self.subject.name, "1", SLOT, USLOT, STRIDE
        )

    def stop(self) -> None:
        self.note("stop")
        self.alive = False

    def note(self, word: str) -> None:
        journal = self.settings.options.get("journal")
        if journal:
            with Path(str(journal)).open("a", encoding="utf-8") as file:
                file.write(f"{self.name} {word}\n")

    # --- the subject ---

    def load(self, option: str | None = None) -> None:
        self.note("load")
        behaviour = option or self.settings.options.get("load")
        if self.subject.absent:
            raise AgentRefused("ENODEV", "no subject in this image")
        if behaviour == "refuse":
            raise AgentRefused("EPERM", "the firmware locked it off")
        if behaviour == "die":
            self.die("it died while it was loaded")
        if behaviour == "hang":
            self.hang()
        if behaviour == "die-once" and self.resets == 0:
            self.die("it died while it was loaded")
        refused = int(str(self.settings.options.get("refuses-msr", "-1")), 0)
        if any(refused in msrs for msrs in self.msrs):
            raise AgentRefused("EBUSY", "somebody else uses that MSR")
        self.loaded, self.left_cpus = True, set()
        self.loads += 1
        self.at_load = [dict(msrs) for msrs in self.msrs]
        self.counters.clear()

    def unload(self) -> None:
        self.note("unload")
        if self.settings.options.get("unload") == "die":
            self.die("it died while it was unloaded")
        self.loaded = False
        if self.settings.options.get("bug") == "turns-back":
            self.msrs = [dict(msrs) for msrs in self.at_load]

    def query(self) -> Mapping[str, str]:
        return {
            "loaded": str(int(self.loaded)),
            "name": "veneer",
            "version": "0.1",
            "cpus": str(self.settings.cpus),
        }

    def exits(self, cpu: int) -> Mapping[str, int]:
        if self.subject.absent:
            raise AgentRefused("ENODEV", "no subject in this image")
        if self.others:  # programs of an OS, between two readings
            self.others -= 1
            self.counters["cpuid"] += 36
        if self.accesses:
            self.counters.setdefault("cr-access", 0)
        return {"cpuid": 0, **self.counters}

    def trace(self, cpu: int, count: int) -> list[str]:
        return ["cpuid rip=0x100002 info=0x0"]

    def send_nmis(self, cpus: tuple[int, ...], count: int) -> None: ...

    def inject_nmi(self) -> None:
        raise AgentRefused("unsupported", "nobody is there to push the button")

    def nmi_counts(self) -> list[int]:
        return [0] * self.settings.cpus

    def request(
        self, verb: str, pairs: Mapping[str, str], timeout: float = 60.0, limit: float | None = None
    ) -> Mapping[str, str]:
        raise AgentRefused("verb", f"there is no {verb} here")

    def autopsy(self) -> Autopsy:
        self.note("autopsy")
        words = f", seen {self.hangs} times" if self.settings.options.get("hang") == "other words" else ""
        return Autopsy(
            f"guest triple fault (fake){words}",
            {0: f"rip={self.rip:#x}"},
            {0: ("0x100abc svm_exit+0x1c (svm/exit.c:88)",)},
            ("cpuid rip=0x100002",),
            self.serial[-200:],
            cause=str(self.settings.options.get("cause", "")),
        )

    def serial_position(self) -> int:
        return len(self.serial)

    def serial_since(self, position: int) -> str:
        return self.serial[position:]

    def die(self, why: str) -> None:
        self.alive = False
        raise TargetDied(why)

    # --- probes ---

    def run(self, probe: ProbeRequest) -> list[ProbeResult]:
        if not self.alive:
            raise InfrastructureError(f"{self.name} is gone")
        if probe.code == READ_LEAVES and self.settings.options.get("cpuid") == "die":
            self.die("it died while its CPUID was read")
        if probe.bits.get("cr4", (0, 0))[0] & 1 << 24:
            raise AgentRefused("state", "#GP on MOV to CR4")
        if probe.together and any(not msrs[APIC_BASE] & APIC_ENABLED for msrs in self.msrs):
            self.hang()
        if probe.leave and self.os != "bare":
            raise AgentRefused("state", "leave=: this OS needs its CPUs as it has left them")
        if probe.undo and self.before_leaving is not None:
            self.note("undo")
            self.msrs, self.before_leaving = self.before_leaving, None
        if probe.leave and self.before_leaving is None:
            self.before_leaving = [dict(msrs) for msrs in self.msrs]
        if probe.code == LOOK:
            return [self.look(probe, cpu) for cpu in probe.cpus]
        if probe.code == READ_STATE:
            return [self.read_state(probe, cpu) for cpu in probe.cpus]
        return [self.run_on(probe, cpu) for cpu in probe.cpus]

    def look(self, probe: ProbeRequest, number: int) -> ProbeResult:
        """What the probe that looks for the subject brings back; not all instructions are interpreted."""
        gone = number in self.left_cpus
        if gone and self.settings.options.get("bug") == "key-kills":
            self.die("it died behind the key")
        features, extended, signature = (
            self.leaf(leaf, 0, self.loaded and not gone) for leaf in (1, 0x80000001, 0x40000000)
        )
        registers = dict.fromkeys(GPRS, 0)
        registers["rax"] = signature[1] << 32 | features[2] & 0x80000020 | extended[2] & 4
        slot = SLOT + number * STRIDE
        return ProbeResult(number, None, None, registers, registers, slot + len(LOOK), 2, slot, slot)

    def read_state(self, probe: ProbeRequest, number: int) -> ProbeResult:
        """What the probe that reads the state of a CPU brings back; its instructions are not interpreted."""
        ((_, asked),) = probe.memory
        slot = SLOT + number * STRIDE
        registers = dict.fromkeys(GPRS, 0)
        found = b""
        for index, (msr,) in enumerate(struct.iter_unpack("<I", asked)):
            cpu = Cpu({"rcx": msr}, number=number)
            registers["rsi"] = slot + SCRATCH_OFFSET + 4 * index
            try:
                self.rdmsr(cpu, 0)
            except Fault as fault:
                at = slot + READ_STATE.index(bytes.fromhex("0f32"))
                return ProbeResult(number, fault.vector, 0, registers, registers, at, 2, slot, slot)
            found += struct.pack("<II", cpu.registers["rax"], cpu.registers["rdx"])
        end = slot + len(READ_STATE)
        return ProbeResult(number, None, None, registers, registers, end, 2, slot, slot, memory=found)

    def run_many(self, probes: Sequence[ProbeRequest]) -> Iterator[list[ProbeResult] | AgentRefused]:
        if self.loaded and "sends" in self.settings.options:
            self.note(" ".join(["send", *(probe.code.hex() for probe in probes)]))
        return self.outcomes(probes)

    def ask_many(self, questions: Sequence[Question]) -> Iterator[Answer]:
        if self.loaded and "sends" in self.settings.options and CountsOf in map(type, questions):
            codes = ("exits" if isinstance(one, CountsOf) else one.code.hex() for one in questions)
            self.note(" ".join(["send", *codes]))
        return super().ask_many(questions)

    def outcomes(self, probes: Sequence[ProbeRequest]) -> Iterator[list[ProbeResult] | AgentRefused]:
        for probe in probes:
            try:
                yield self.run(probe)
            except AgentRefused as refusal:
                yield refusal

    def run_on(self, probe: ProbeRequest, number: int) -> ProbeResult:
        if self.loaded and self.accesses:
            self.counters["cr-access"] += self.accesses
        slot = (USLOT if probe.cpl else SLOT) + number * STRIDE
        given = dict.fromkeys(GPRS, 0) | {"rsp": slot + STACK_END - 0x100}
        if probe.seed is not None:
            given |= {name: (0x9E3779B97F4A7C15 * (index + 1) ^ probe.seed) & MASK64
                      for index, name in enumerate(GPRS) if name != "rsp"}  # fmt: skip
        given |= {name: operand.resolve(slot, probe.at) for name, operand in probe.registers.items()}
        cpu = Cpu(dict(given), number=number)
        for offset, data in probe.memory:
            cpu.scratch[offset : offset + len(data)] = data
        start = slot + probe.at
        rip, fault = start, None
        try:
            while rip != start + len(probe.code):
                self.rip = rip
                instruction = next(iter(Decoder(64, probe.code[rip - start :], ip=rip)))
                rip = self.step(cpu, instruction, slot, probe.cpl)
        except Fault as raised:
            fault = raised
        low, length = probe.read or (0, 0)
        return ProbeResult(
            cpu=number,
            vector=None if fault is None else fault.vector,
            error_code=None if fault is None else fault.error_code,
            registers=cpu.registers,
            given=given,
            rip=rip,
            rflags=probe.rflags,
            start=start,
            slot=slot,
            memory=bytes(cpu.scratch[low : low + length]),
        )

    def step(self, cpu: Cpu, it: Instruction, slot: int, cpl: int) -> int:
        if it.code == Code.INVALID:
            raise Fault(6)
        simple: dict[int, Callable[[], None]] = {
            Mnemonic.NOP: lambda: None,
            Mnemonic.CPUID: lambda: self.cpuid(cpu),
            Mnemonic.RDMSR: lambda: self.rdmsr(cpu, cpl),
            Mnemonic.WRMSR: lambda: self.wrmsr(cpu, cpl),
            Mnemonic.HLT: lambda: self.die("guest triple fault"),
            Mnemonic.INVD: lambda: self.die("guest triple fault") if self.loaded else None,
            Mnemonic.PAUSE: self.hang,
            Mnemonic.INT1: self.lose,
            Mnemonic.EMMS: lambda: os._exit(9),
        }
        if it.mnemonic in simple:
            simple[it.mnemonic]()
        elif it.mnemonic == Mnemonic.MOV:
            self.write(cpu, it, 0, slot, self.read(cpu, it, 1, slot))
        elif it.mnemonic == Mnemonic.XOR:
            self.write(cpu, it, 0, slot, self.read(cpu, it, 0, slot) ^ self.read(cpu, it, 1, slot))
        elif it.mnemonic == Mnemonic.ADD:
            self.write(cpu, it, 0, slot, self.read(cpu, it, 0, slot) + self.read(cpu, it, 1, slot))
        elif it.mnemonic == Mnemonic.DEC:
            value = self.read(cpu, it, 0, slot) - 1
            cpu.zero = value == 0
            self.write(cpu, it, 0, slot, value)
        elif it.mnemonic == Mnemonic.JNE:
            return it.near_branch64 if not cpu.zero else it.next_ip
        else:
            raise Fault(6)
        return it.next_ip

    def hang(self) -> None:
        self.hangs += 1
        behaviour = self.settings.options.get("hang")
        if (behaviour == "once" and self.hangs > 1) or (behaviour == "elsewhere" and self.hangs == 2):
            return
        if str(behaviour).startswith("at ") and str(self.hangs) not in str(behaviour).split():
            return
        self.alive = False
        raise TargetHung("no answer to run")

    def lose(self) -> None:
        self.alive = False
        if self.settings.options.get("link") == "heals" and self.distrusted:
            self.alive = True
            return
        raise InfrastructureError("the link to the fake machine broke")

    def cpuid(self, cpu: Cpu) -> None:
        self.counters["cpuid"] += self.loaded
        leaf, subleaf = cpu.registers["rax"] & MASK32, cpu.registers["rcx"] & MASK32
        loaded = self.loaded and cpu.number not in self.left_cpus
        values = self.leaf(leaf, subleaf, loaded)
        bug = self.settings.options.get("bug")
        if leaf == KEY and bug in ("key", "key-kills") and loaded:
            self.left_cpus.add(cpu.number)
        if bug == "upper-halves-then-hang" and self.loaded and self.loads >= 2:
            self.hang()
        wrong = bug == "upper-halves" or (str(bug).startswith("upper-halves-") and self.loads == 1)
        wrong = wrong or (bug == "upper-halves-odd" and self.loads % 2 == 1)
        keep = MASK64 ^ MASK32 if self.loaded and wrong else 0
        for name, value in zip(("rax", "rbx", "rcx", "rdx"), values, strict=True):
            cpu.registers[name] = cpu.registers[name] & keep | value

    def leaf(self, leaf: int, subleaf: int, loaded: bool) -> tuple[int, int, int, int]:
        brand = b"Fake CPU @ 1.00GHz".ljust(48, b"\0")
        svm = self.settings.vendor == "amd" and not loaded
        if leaf == 0:
            words = struct.unpack(
                "<3I", b"AuthcAMDenti" if self.settings.vendor == "amd" else b"GenuntelineI"
            )
            return (0xD, *words)
        if leaf == 1:
            xsave = not (loaded and self.loads_another_machine)
            return (0x800F12, 0, xsave << 26 | loaded << 31, 0)
        if leaf == 0x40000000 and loaded:
            return (0x40000000, *SIGNATURE)
        if leaf == 0x80000000:
            return (0x8000001F, 0, 0, 0)
        if leaf == 0x80000001:
            return (0, 0, svm << 2, 0)
        if 0x80000002 <= leaf <= 0x80000004:
            return struct.unpack_from("<4I", brand, (leaf - 0x80000002) * 16)
        if leaf == 0x8000000A and svm:
            return (1, 16, 0, 1 | 1 << 16)
        return (0, 0, 0, 0)

    def rdmsr(self, cpu: Cpu, cpl: int) -> None:
        if self.loaded and self.settings.options.get("bug") == "rdmsr-hangs":
            self.hang()
        if cpl or cpu.registers["rcx"] & MASK32 >= 0x40000000:
            raise Fault(13, 0)
        value = self.msrs[cpu.number].get(cpu.registers["rcx"] & MASK32, 0)
        cpu.registers |= {"rax": value & MASK32, "rdx": value >> 32}

    def wrmsr(self, cpu: Cpu, cpl: int) -> None:
        if cpl or cpu.registers["rcx"] & MASK32 >= 0x40000000:
            raise Fault(13, 0)
        value = (cpu.registers["rdx"] & MASK32) << 32 | cpu.registers["rax"] & MASK32
        self.msrs[cpu.number][cpu.registers["rcx"] & MASK32] = value

    def read(self, cpu: Cpu, it: Instruction, index: int, slot: int) -> int:
        kind = it.op_kind(index)
        if kind == OpKind.REGISTER:
            name, bits = place(it.op_register(index))
            return int(cpu.registers[name] & (2**bits - 1))
        if kind == OpKind.MEMORY:
            offset, size = self.address(cpu, it, slot), it.memory_size
            data = cpu.scratch[offset : offset + (8 if "64" in str(size) else 4)]
            return int.from_bytes(data, "little")
        return it.immediate(index) & MASK64

    def write(self, cpu: Cpu, it: Instruction, index: int, slot: int, value: int) -> None:
        if it.op_kind(index) == OpKind.REGISTER:
            name, bits = place(it.op_register(index))
            cpu.registers[name] = value & (2**bits - 1)  # 32-bit writes clear the upper half
            return
        offset = self.address(cpu, it, slot)
        _, bits = place(it.op_register(1))
        cpu.scratch[offset : offset + bits // 8] = (value & (2**bits - 1)).to_bytes(bits // 8, "little")

    def address(self, cpu: Cpu, it: Instruction, slot: int) -> int:
        base = 0 if it.memory_base == Register.NONE else cpu.registers[place(it.memory_base)[0]]
        offset = (base + it.memory_displacement - slot - SCRATCH_OFFSET) & MASK64
        if offset >= SCRATCH_SIZE:
            raise Fault(14, 2)
        return offset


def place(register: Any) -> tuple[str, int]:
    info = RegisterInfo(register)
    return GPRS[info.number], info.size * 8


@pytest.hookimpl
def pytest_touchstone_validate_target(settings: TargetSettings) -> bool | None:
    if settings.driver != "fake":
        return None
    for key in settings.options:
        if key not in OPTIONS:
            raise SettingsError(key, f"unknown key; the fake driver knows {', '.join(OPTIONS)}")
    return True


@pytest.hookimpl
def pytest_touchstone_make_driver(settings: TargetSettings, subject: Subject) -> FakeDriver | None:
    return FakeDriver(settings, subject) if settings.driver == "fake" else None
