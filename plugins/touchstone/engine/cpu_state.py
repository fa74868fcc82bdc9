"""What a probe can leave behind on a CPU: control registers, descriptor tables, MSRs. One probe reads them.

The bare machine's CPUs are read before and after the oracles are measured: a probe that does not leave its
CPU as it was would change the answers of the probes behind it, and the blame would fall on their checks.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

from touchstone.machine.driver import Driver, InfrastructureError, TargetInfo
from touchstone.machine.probe import Operand, ProbeRequest, ProbeResult
from touchstone.suite import show
from touchstone.suite.msrs import find

READ_STATE = bytes.fromhex(
    "0f20c3"  #        mov rbx, cr0
    "0f20e5"  #        mov rbp, cr4
    "410f21f9"  #      mov r9, dr7
    "4531d2"  #        xor r10d, r10d
    "0fbae512"  #      bt ebp, 18        CR4.OSXSAVE: without it, XGETBV raises #UD (SDM 2D, APM4)
    "730d"  #          jnc 0
    "31c9"  #          xor ecx, ecx
    "0f01d0"  #        xgetbv
    "48c1e220"  #      shl rdx, 32
    "4c8d1410"  #      lea r10, [rax+rdx]
    "0f0107"  #     0: sgdt [rdi]
    "440fb71f"  #      movzx r11d, word ptr [rdi]
    "4c8b6702"  #      mov r12, [rdi+2]
    "0f010f"  #        sidt [rdi]
    "440fb72f"  #      movzx r13d, word ptr [rdi]
    "4c8b7702"  #      mov r14, [rdi+2]
    "8b0e"  #       1: mov ecx, [rsi]
    "0f32"  #          rdmsr
    "8907"  #          mov [rdi], eax
    "895704"  #        mov [rdi+4], edx
    "4883c604"  #      add rsi, 4
    "4883c708"  #      add rdi, 8
    "41ffc8"  #        dec r8d
    "75ea"  #          jnz 1
)
"""Reads R8 MSRs, at least one, whose numbers are at RSI, to RDI."""

Values = Mapping[str, int]
"""Register to its value."""

_OUTPUT = 0x400
_RDMSR = READ_STATE.index(bytes.fromhex("0f32"))
_GP = 13
"""Ends the RDMSR of an MSR that is not there (SDM 2B, APM3)."""
_REGISTERS = {
    "CR0": "rbx",
    "CR4": "rbp",
    "DR7": "r9",
    "XCR0": "r10",
    "GDTR.limit": "r11",
    "GDTR.base": "r12",
    "IDTR.limit": "r13",
    "IDTR.base": "r14",
}
_EVERYWHERE = (
    "IA32_APIC_BASE", "IA32_SYSENTER_CS", "IA32_SYSENTER_ESP", "IA32_SYSENTER_EIP", "IA32_PAT",
    "IA32_MTRR_DEF_TYPE", "IA32_MTRR_PHYSBASE0", "IA32_MTRR_PHYSMASK0", "IA32_MTRR_PHYSBASE1",
    "IA32_MTRR_PHYSMASK1", "IA32_MTRR_FIX64K_00000", "IA32_MTRR_FIX16K_80000", "IA32_MTRR_FIX16K_A0000",
    "IA32_MTRR_FIX4K_C0000", "IA32_MTRR_FIX4K_F8000", "IA32_DEBUGCTL", "IA32_XSS", "IA32_S_CET", "IA32_EFER",
    "IA32_STAR", "IA32_LSTAR", "IA32_CSTAR", "IA32_FMASK", "IA32_TSC_AUX", "IA32_TSC_ADJUST", "IA32_MCG_CTL",
    "IA32_MC0_CTL", "0x404", "0x408",
)  # fmt: skip
_OF_VENDOR = {
    "intel": ("IA32_FEATURE_CONTROL", "IA32_MISC_ENABLE"),
    "amd": ("SYSCFG", "HWCR", "TSC_RATIO", "VM_CR", "VM_HSAVE_PA"),
}
_BARE_ONLY = ("IA32_FS_BASE", "IA32_GS_BASE", "IA32_KERNEL_GS_BASE", "IA32_SPEC_CTRL", "IA32_U_CET")
"""Linux gives each task its own."""
_CR4_PCE = 1 << 8  # Linux: each task has its own (RDPMC for perf)


class StateReader:
    """Reads the state of every CPU, and says what is not as it was. What the machine lacks is left out."""

    def __init__(self, info: TargetInfo, timeout: float) -> None:
        self._cpus = tuple(range(info.cpus))
        self._timeout = timeout
        self._bare = info.os == "bare"
        names = [*_EVERYWHERE, *_OF_VENDOR[info.vendor], *(_BARE_ONLY if self._bare else ())]
        self._msrs = {name: number for name in names if (number := find(name)) is not None}
        self._before: Mapping[int, Values] = {}

    def learn(self, driver: Driver) -> None:
        """The CPUs are as they should be: note their state. InfrastructureError if it cannot be read.

        An MSR whose RDMSR faults is left out from now on, on every CPU.
        """
        while True:
            results = driver.run(self.request())
            lacking = {name for result in results if (name := self._lacks(result)) is not None}
            if not lacking:
                break
            for name in lacking:
                del self._msrs[name]
        for result in results:
            if result.vector is not None:
                raise InfrastructureError(
                    f"the state of CPU {result.cpu} cannot be read: {show.end(result)} at "
                    f"{result.rip - result.start:+#x} of the probe that reads it"
                )
        self._before = {result.cpu: self._values(result) for result in results}

    def request(self) -> ProbeRequest:
        """The probe; one result per CPU."""
        numbers = [struct.pack("<I", number) for number in self._msrs.values()]
        return ProbeRequest(
            code=READ_STATE,
            cpus=self._cpus,
            registers={
                "rsi": Operand("scratch"),
                "rdi": Operand("scratch", _OUTPUT),
                "r8": Operand(offset=len(numbers)),
            },
            memory=((0, b"".join(numbers)),),
            read=(_OUTPUT, 8 * len(numbers)),
            timeout=self._timeout,
        )

    def changes(self, results: Sequence[ProbeResult]) -> str | None:
        """What is not as it was learned, by the results of ``request``; None: nothing."""
        found = []
        for result in results:
            if result.vector is not None:
                what = self._lacks(result) or "the state"
                found.append(f"{what} of CPU {result.cpu} cannot be read any more ({show.end(result)})")
                continue
            after = self._values(result)
            found += [
                f"{name} of CPU {result.cpu} was {value:#x} and is {after[name]:#x}"
                for name, value in self._before[result.cpu].items()
                if after[name] != value
            ]
        return ", ".join(found) or None

    def _lacks(self, result: ProbeResult) -> str | None:
        """The MSR whose RDMSR ended the probe; None: none did."""
        if result.vector != _GP or result.rip - result.start != _RDMSR:
            return None
        name: str = list(self._msrs)[(result.registers["rsi"] - result.scratch) // 4]
        return name

    def _values(self, result: ProbeResult) -> Values:
        found = {name: result.registers[register] for name, register in _REGISTERS.items()}
        if not self._bare:
            del found["DR7"]
            found["CR4"] &= ~_CR4_PCE
        values = (value for (value,) in struct.iter_unpack("<Q", result.memory))
        return found | dict(zip(self._msrs, values, strict=True))
