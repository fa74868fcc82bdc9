"""Whether a subject is still on the CPUs that it was loaded on, by what CPUID shows of it there.

A subject may leave a CPU that nobody has asked it to leave: it takes an exit for a request of its own, or
gives up behind an error. What is measured there from then on says nothing about it. So it is looked for
behind each check that ran while it was loaded: the check behind which it is gone is told so, and it is
loaded again for those that follow.

Whoever shows nothing of itself in CPUID, and hides nothing there, cannot be looked for.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from touchstone.engine.cpu import PROBE_TIMEOUT, READ_LEAVES, Leaf
from touchstone.machine.driver import AgentRefused, Driver
from touchstone.machine.probe import Operand, ProbeRequest, ProbeResult

_OUTPUT = 0x400
_ALL = 2**32 - 1


@dataclass(frozen=True)
class _Sign:
    """Bits of CPUID that a hypervisor answers otherwise than the processor."""

    leaf: Leaf
    register: int
    """Its place in EAX, EBX, ECX, EDX."""
    mask: int
    name: str


_SIGNS = (
    _Sign((1, 0), 2, 1 << 31, "leaf 1, ECX.hypervisor"),
    _Sign((1, 0), 2, 1 << 5, "leaf 1, ECX.VMX"),
    _Sign((0x8000_0001, 0), 2, 1 << 2, "leaf 8000_0001, ECX.SVM"),
    *(
        _Sign((0x4000_0000, 0), at, _ALL, f"leaf 4000_0000, {name}")
        for at, name in enumerate(("EAX", "EBX", "ECX", "EDX"))
    ),
)
_LEAVES = tuple(dict.fromkeys(sign.leaf for sign in _SIGNS))
_Values = Mapping[_Sign, int]


class Presence:
    """What CPUID says on each CPU natively, and with the subject."""

    def __init__(self) -> None:
        self._natively: Mapping[int, _Values] = {}
        """By CPU."""
        self._loaded: Mapping[int, _Values] = {}
        """By CPU: of the signs that are not as natively; empty: it cannot be looked for."""

    def learn_natively(self, driver: Driver, cpus: int) -> None:
        """No subject is loaded. TargetDied, TargetHung, InfrastructureError."""
        self._natively = _ask(driver, cpus)

    def learn_loaded(self, driver: Driver) -> None:
        """The subject was loaded just now. TargetDied, TargetHung, InfrastructureError."""
        now = _ask(driver, len(self._natively)) if self._natively else {}
        self._loaded = {
            cpu: shown
            for cpu, values in now.items()
            if (
                shown := {sign: value for sign, value in values.items() if value != self._natively[cpu][sign]}
            )
        }

    def forget(self) -> None:
        """How it looks from now on is not known."""
        self._loaded = {}

    @property
    def request(self) -> ProbeRequest | None:
        """What to ask of the target to look for it; None: it cannot be looked for."""
        return _request(tuple(self._loaded)) if self._loaded else None

    def gone(self, outcome: Sequence[ProbeResult] | AgentRefused) -> str | None:
        """From which CPUs it is gone, by the outcome of ``request``, and what tells that; None: from none."""
        if isinstance(outcome, AgentRefused):
            return None
        left: dict[int, Sequence[_Sign]] = {}
        for cpu, values in _values(outcome):
            shown, natively = self._loaded[cpu], self._natively[cpu]
            back = [sign for sign in shown if values[sign] == natively[sign]]
            if back and all(values[sign] != value for sign, value in shown.items()):
                left[cpu] = back
        if not left:
            return None
        numbers = ", ".join(map(str, left))
        signs = "; ".join(sign.name for sign in next(iter(left.values())))
        return (
            f"it is gone from CPU{'s' if len(left) > 1 else ''} {numbers} of {len(self._natively)}: "
            f"CPUID says there what the bare machine says ({signs})"
        )


def _request(cpus: tuple[int, ...]) -> ProbeRequest:
    return ProbeRequest(
        code=READ_LEAVES,
        cpus=cpus,
        registers={
            "rsi": Operand("scratch"),
            "rdi": Operand("scratch", _OUTPUT),
            "r8": Operand(offset=len(_LEAVES)),
        },
        memory=((0, b"".join(struct.pack("<II", *leaf) for leaf in _LEAVES)),),
        read=(_OUTPUT, 16 * len(_LEAVES)),
        timeout=PROBE_TIMEOUT,
    )


def _ask(driver: Driver, cpus: int) -> Mapping[int, _Values]:
    """By CPU; empty if the agent refuses."""
    try:
        return dict(_values(driver.run(_request(tuple(range(cpus))))))
    except AgentRefused:
        return {}


def _values(results: Sequence[ProbeResult]) -> Iterator[tuple[int, _Values]]:
    for result in results:
        if result.vector is not None:
            continue
        leaves = dict(zip(_LEAVES, struct.iter_unpack("<4I", result.memory), strict=True))
        yield result.cpu, {sign: leaves[sign.leaf][sign.register] & sign.mask for sign in _SIGNS}
