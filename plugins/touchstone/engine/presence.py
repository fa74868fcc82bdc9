"""Whether a subject is still on the CPUs that it was loaded on, by what CPUID shows of it there.

A subject may leave a CPU that nobody has asked it to leave: it takes an exit for a request of its own, or
gives up behind an error. What is measured there from then on says nothing about it. So it is looked for
behind each check that ran while it was loaded: the check behind which it is gone is told so, and it is
loaded again for those that follow.

Whoever shows nothing of itself in CPUID, and hides nothing there, cannot be looked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from touchstone.engine.cpu import PROBE_TIMEOUT
from touchstone.machine.driver import AgentRefused, Driver
from touchstone.machine.probe import ProbeRequest, ProbeResult

LOOK = bytes.fromhex(
    "b801000000"  # mov eax, 1
    "0fa2"  #       cpuid
    "81e120000080"  # and ecx, 0x80000020
    "89ce"  #       mov esi, ecx
    "b801000080"  # mov eax, 0x80000001
    "0fa2"  #       cpuid
    "83e104"  #     and ecx, 4
    "09ce"  #       or esi, ecx
    "31c9"  #       xor ecx, ecx
    "b800000040"  # mov eax, 0x40000000
    "0fa2"  #       cpuid
    "48c1e320"  #   shl rbx, 32
    "488d0433"  #   lea rax, [rbx+rsi]
    "31db"  #       xor ebx, ebx
    "31c9"  #       xor ecx, ecx
    "31d2"  #       xor edx, edx
    "31f6"  #       xor esi, esi
)
"""Leaves in RAX all that _SIGNS are made of, and the other registers as they were: the answer is short."""


@dataclass(frozen=True)
class _Sign:
    """Bits of CPUID that a hypervisor answers otherwise than the processor."""

    mask: int
    """In what LOOK leaves."""
    name: str


_SIGNS = (
    _Sign(1 << 31, "leaf 1, ECX.hypervisor"),
    _Sign(1 << 5, "leaf 1, ECX.VMX"),
    _Sign(1 << 2, "leaf 8000_0001, ECX.SVM"),
    _Sign(0xFFFF_FFFF << 32, "leaf 4000_0000, EBX"),
)


class Presence:
    """What CPUID says on each CPU natively, and with the subject."""

    def __init__(self) -> None:
        self._natively: Mapping[int, int] = {}
        """What LOOK leaves, by CPU."""
        self._loaded: Mapping[int, int] = {}
        """The same, of the CPUs on which something is not as natively."""

    def learn_natively(self, driver: Driver, cpus: int) -> None:
        """No subject is loaded. TargetDied, TargetHung, InfrastructureError."""
        self._natively = _ask(driver, range(cpus))

    def learn_loaded(self, driver: Driver) -> None:
        """The subject was loaded just now. TargetDied, TargetHung, InfrastructureError."""
        found = _ask(driver, self._natively)
        self._loaded = {cpu: value for cpu, value in found.items() if value != self._natively[cpu]}

    def forget(self) -> None:
        """How it looks from now on is not known."""
        self._loaded = {}

    def request(self, cpus: Iterable[int]) -> ProbeRequest | None:
        """What to ask to look for it on some CPUs; None: there it cannot be looked for."""
        asked = tuple(sorted(self._loaded.keys() & set(cpus)))
        return _request(asked) if asked else None

    def gone(self, outcome: Sequence[ProbeResult] | AgentRefused) -> str | None:
        """From which CPUs it is gone, by the outcome of a request, and what tells that; None: from none."""
        if isinstance(outcome, AgentRefused):
            return None
        left = {cpu: signs for cpu, value in _values(outcome).items() if (signs := self._back(cpu, value))}
        if not left:
            return None
        numbers = ", ".join(map(str, left))
        names = "; ".join(sign.name for sign in next(iter(left.values())))
        return (
            f"it is gone from CPU{'s' if len(left) > 1 else ''} {numbers} of {len(self._natively)}: "
            f"CPUID says there what the bare machine says ({names})"
        )

    def _back(self, cpu: int, value: int) -> Sequence[_Sign]:
        """What is as natively again, if nothing is left of what the subject showed."""
        loaded, natively = self._loaded[cpu], self._natively[cpu]
        shown = [sign for sign in _SIGNS if (loaded ^ natively) & sign.mask]
        if any(not (value ^ loaded) & sign.mask for sign in shown):
            return ()
        return [sign for sign in shown if not (value ^ natively) & sign.mask]


def _request(cpus: tuple[int, ...]) -> ProbeRequest:
    return ProbeRequest(code=LOOK, cpus=cpus, timeout=PROBE_TIMEOUT)


def _ask(driver: Driver, cpus: Iterable[int]) -> Mapping[int, int]:
    """By CPU; empty if the agent refuses."""
    try:
        return _values(driver.run(_request(tuple(cpus)))) if cpus else {}
    except AgentRefused:
        return {}


def _values(results: Sequence[ProbeResult]) -> dict[int, int]:
    return {result.cpu: result.registers["rax"] for result in results if result.vector is None}
