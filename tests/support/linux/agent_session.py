"""What the agent is asked on the machines of this directory, and what PROTOCOL.md promises for an answer."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from touchstone.machine.agent import AgentClient
from touchstone.machine.driver import AgentRefused, TargetInfo
from touchstone.machine.probe import STACK_END, Operand, ProbeRequest, ProbeResult

Cpl = Literal[0, 3]
Ending = tuple[int | None, int | None, int]
"""Vector, error code, and how far RIP is from the start."""
Case = tuple[str, dict[str, Any], Ending]
"""Code in hex, what else the request says, and how the probe ends."""

DE, DB, BP, UD, NM, GP, PF = 0, 1, 3, 6, 7, 13, 14
TF, IF = 1 << 8, 1 << 9
CR0_TS, CR0_WP, CR4_TSD, CR4_RESERVED, EFER_SCE = 1 << 3, 1 << 16, 1 << 2, 1 << 15, 1 << 0
TSC_AUX = 0xC0000103
KVM_WORKS = {"open": "ok", "vm": "ok", "run": "ok"}
SEED = 2026


def _number(value: int) -> Operand:
    return Operand("number", value)


def _cases(cpl: Cpl, info: TargetInfo) -> list[Case]:
    user = 4 if cpl else 0
    both: list[Case] = [
        ("90 90", {}, (None, None, 2)),
        ("31 c9 f7 f1", {}, (DE, None, 2)),  # xor ecx, ecx; div ecx
        ("90 90", {"rflags": TF}, (DB, None, 1)),
        ("90 90 90", {"debug": {"dr0": Operand("start", 1), "dr7": _number(0x401)}}, (DB, None, 1)),
        ("90 cc 90", {}, (BP, None, 2)),
        ("90 0f 0b", {}, (UD, None, 1)),  # ud2
        ("d9 d0", {"bits": {"cr0": (CR0_TS, 0)}}, (NM, None, 0)),  # fnop
        ("0f 05", {"bits": {"efer": (0, EFER_SCE)}}, (UD, None, 0)),  # syscall
        # mov rax, [rax]: an address that is none, two that are not mapped; mov [rax], rax: to the code.
        ("48 8b 00", {"registers": {"rax": _number(1 << 63)}}, (GP, 0, 0)),
        ("48 8b 00", {"registers": {"rax": _number(0x1000)}}, (PF, user, 0)),
        ("48 8b 00", {"registers": {"rax": Operand("stack", 0)}}, (PF, user, 0)),
        ("48 89 00", {"registers": {"rax": Operand("start", 0)}}, (PF, 3 | user, 0)),
    ]
    if cpl == 3:
        return [
            *both,
            ("f4", {}, (GP, 0, 0)),  # hlt
            ("0f 31", {"bits": {"cr4": (CR4_TSD, 0)}}, (GP, 0, 0)),  # rdtsc
            ("48 8b 00", {"registers": {"rax": _number(info.slot)}}, (PF, 5, 0)),
        ]
    return [
        *both,
        ("0f 22 c8", {}, (UD, None, 0)),  # mov cr1, rax
        ("0f 31", {"bits": {"cr4": (CR4_TSD, 0)}}, (None, None, 2)),
        # mov [rax], rbx: to the code, which may be written now.
        (
            "48 89 18",
            {"registers": {"rax": Operand("start", 128)}, "bits": {"cr0": (0, CR0_WP)}},
            (None, None, 3),
        ),
        # sti; mov ecx, 2000000; dec ecx; jnz $-2: Linux gets its interrupts afterwards.
        ("fb b9 80 84 1e 00 ff c9 75 fc", {}, (None, None, 10)),
    ]


class Session:
    """One run of the agent's program."""

    def __init__(self, agent: AgentClient) -> None:
        """``agent`` has been greeted."""
        assert agent.info is not None
        self.agent = agent
        self.info = agent.info
        self.cpus = tuple(range(agent.info.cpus))

    def run(self, code: str, **more: Any) -> list[ProbeResult]:
        """A probe on all CPUs, unless it says otherwise."""
        request: dict[str, Any] = {"cpus": self.cpus, "timeout": 30.0} | more
        return self.agent.run(ProbeRequest(code=bytes.fromhex(code), **request))

    def read_state(self) -> list[tuple[int, ...]]:
        """What must be the same at the end as at the beginning: of every CPU, as ring 0 sees it."""
        # mov of cr0, cr4, cr3, cr8 and dr7 to registers; sgdt, sidt and str to memory.
        code = "0f20c0 0f20e3 0f20d9 440f20c2 410f21f8 0f0107 0f014f10 0f004f20"
        results = self.run(code, registers={"rdi": Operand("scratch", 0)}, read=(0, 0x28))
        for result in results:
            # Whoever has used a breakpoint in Linux leaves DR7.GE set.
            assert (result.vector, result.registers["r8"] & ~0x200) == (None, 0x400)
            assert result.memory[0x10:0x12] == b"\xff\x0f"
            assert result.memory[0x20:0x22] == b"\x40\0"
        names = ("rax", "rbx", "rcx", "rdx")
        return [
            (*(result.registers[name] for name in names), int.from_bytes(result.memory)) for result in results
        ]

    def check_endings(self) -> None:
        """Exceptions, control and debug registers: in both rings; on one, on each, on all CPUs together."""
        levels: tuple[Cpl, ...] = (0, 3)
        for cpl in levels:
            for code, more, ending in _cases(cpl, self.info):
                for cpus, together in ((self.cpus[-1:], False), (self.cpus, False), (self.cpus, True)):
                    for result in self.run(code, cpl=cpl, cpus=cpus, together=together, **more):
                        end = (result.vector, result.error_code, result.rip - result.start)
                        assert end == ending, (code, cpl, more, cpus, together, result)
                        if result.vector == PF:
                            assert result.cr2 == result.registers["rax"]
                        if result.vector == DB:
                            assert result.dr6 is not None
                            assert result.dr6 & 0x400F == (1 if "debug" in more else 0x4000)
                        if ending == (None, None, 2):
                            assert result.rflags == 2

    def check_values(self) -> None:
        """Registers, scratch memory, and a meeting."""
        levels: tuple[Cpl, ...] = (0, 3)
        for cpl in levels:
            for together in (False, True):
                # add rax, rcx
                for result in self.run("48 01 c8", cpl=cpl, seed=SEED, together=together):
                    given = dict(result.given)
                    total = (given["rax"] + given["rcx"]) & (1 << 64) - 1
                    assert dict(result.registers) == given | {"rax": total}
                    base = self.info.uslot if cpl else self.info.slot
                    assert result.slot == base + result.cpu * self.info.stride
                    assert given["rsp"] == result.slot + STACK_END - 0x100
            data = bytes(range(0x60, 0x80))
            registers = {
                "rsi": Operand("scratch", 0x10),
                "rdi": Operand("scratch", 0x1010),
                "rcx": _number(32),
            }
            # rep movsb
            for result in self.run(
                "f3 a4", cpl=cpl, registers=registers, memory=((0x10, data),), read=(0x1008, 40)
            ):
                assert result.memory == bytes(8) + data
                moved = {"rcx": 0, "rsi": result.scratch + 0x30, "rdi": result.scratch + 0x1030}
                assert dict(result.registers) == dict(result.given) | moved
            # lock inc dword [rdi]; pause; cmp [rdi], esi; jb to the pause: none ends before all have begun.
            counter = {"rdi": _number(self.run("90", cpl=cpl)[0].scratch), "rsi": _number(len(self.cpus))}
            meeting = self.run("f0 ff 07 f3 90 39 37 72 fa", cpl=cpl, together=True, registers=counter)
            assert [result.vector for result in meeting] == [None] * len(self.cpus)
        # syscall, which does not reach Linux; wrmsr and then rdmsr of an MSR that is put back.
        for cpl in levels:
            for result in self.run("0f 05", cpl=cpl):
                assert (result.vector, result.registers["rcx"]) == (UD, result.start + 2)
        before = [
            result.registers["rax"] for result in self.run("0f 32", registers={"rcx": _number(TSC_AUX)})
        ]
        for code in ("0f 30", "0f 30", "0f 32"):
            values = {"rcx": _number(TSC_AUX), "rax": _number(0x1234)}
            after = self.run(code, registers=values, keep=(TSC_AUX,), together=True)
            assert [result.vector for result in after] == [None] * len(self.cpus)
        assert [result.registers["rax"] for result in after] == before

    def check_refusals(self) -> None:
        """What is no probe, and what is not the agent's on Linux."""
        nothing = "90"
        for code, more in (
            ("state", {"rflags": IF}),
            ("state", {"bits": {"cr4": (CR4_RESERVED, 0)}}),
            ("state", {"debug": {"dr7": _number(1 << 32)}}),
            ("argument", {"cpus": (len(self.cpus),)}),
            ("argument", {"at": 0x2000}),
        ):
            with pytest.raises(AgentRefused) as refused:
                self.run(nothing, **more)
            assert refused.value.code == code, more
        for code, ask in (
            ("verb", lambda: self.agent.request("dance", {})),
            ("ENODEV", self.agent.load),
            ("ENODEV", self.agent.query),
            ("EOPNOTSUPP", lambda: self.agent.send_nmis((0,), 1)),
            ("ESRCH", lambda: self.agent.request("work", {"do": "query"})),
        ):
            with pytest.raises(AgentRefused) as refused:
                ask()
            assert refused.value.code == code
        assert len(self.agent.nmi_counts()) == len(self.cpus)

    def check_work(self) -> None:
        """Probes while processes work, which must not notice."""
        started = self.agent.request("work", {"do": "start", "kinds": "all"}, timeout=30.0)
        kinds, rest = divmod(int(started["workers"]), len(self.cpus))
        assert (kinds > 5, rest) == (True, 0)
        self.check_values()
        for report in (
            self.agent.request("work", {"do": "wait", "rounds": "1"}, limit=60.0),
            self.agent.request("work", {"do": "query"}),
            self.agent.request("work", {"do": "stop"}, limit=60.0),
        ):
            assert len(report) == kinds, report
            for kind, counts in report.items():
                rounds, failures = map(int, counts.split(":"))
                assert (rounds > 0, failures) == (True, 0), (kind, report)

    def check_kvm(self, expected: dict[str, str]) -> None:
        """Linux' own hypervisor is used, or what keeps it out is told."""
        tried = self.agent.request("kvm", {}, timeout=60.0)
        assert tried == expected

    def signatures(self) -> set[bytes]:
        """What the hypervisor beneath the CPUs calls itself (CPUID leaf 0x40000000)."""
        return {
            b"".join(result.registers[name].to_bytes(4, "little") for name in ("rbx", "rcx", "rdx"))
            for result in self.run("0f a2", registers={"rax": _number(0x40000000)})
        }

    def apic_ids(self) -> list[int]:
        """Which CPUs the machine's firmware would say that these are (CPUID leaf 1)."""
        return [result.registers["rbx"] >> 24 for result in self.run("0f a2", registers={"rax": _number(1)})]
