"""Where in a probe the CPUs stand of a machine that hangs, whatever runs on it and however it is reached."""

from __future__ import annotations

import re

from touchstone.machine.driver import Autopsy, TargetInfo
from touchstone.machine.probe import CODE_OFFSET, ProbeRequest

_RIP = re.compile(r"\brip\s*[=:]\s*(?:0x)?([0-9a-f]{8}_[0-9a-f]{8}|[0-9a-f]{1,16})\b", re.IGNORECASE)
"""As QEMU, Bochs and the program of a guest print it, for one CPU or for several."""


def offsets_in_probe(autopsy: Autopsy | None, info: TargetInfo | None, probe: ProbeRequest) -> frozenset[int]:
    """The distance of each such CPU's RIP from the first byte of its code; empty if none is known.

    Only of code whose RIP is a linear address: a segment with a base has other ones.
    """
    place = probe.place
    if autopsy is None or info is None or place.base is not None or probe.code_bits == 16:
        return frozenset()
    if place.linear is not None:
        starts = [place.linear]
    elif place.mode == "long":
        slots = info.uslot if probe.cpl else info.slot
        starts = [slots + cpu * info.stride + CODE_OFFSET + probe.at for cpu in probe.cpus]
    else:
        return frozenset()  # the slots of other modes are below 1 MiB, and nobody says where
    found = [
        int(one.replace("_", ""), 16) for text in autopsy.registers.values() for one in _RIP.findall(text)
    ]
    return frozenset(rip - start for rip in found for start in starts if 0 <= rip - start < len(probe.code))
