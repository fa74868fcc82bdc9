"""What Linux says of the machine that we run on. Every user may read it."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from touchstone.machine.probe_lines import MOST_CPUS
from touchstone.machine.settings import RING0, TargetSettings

DRIVER = "here"
"""Name of the target and of its driver; no inventory has either of them."""
TIMEOUT_FACTOR = 20.0
"""Other programs run here as well, and a probe that got no CPU has not hung."""
_VENDORS: Mapping[str, Literal["intel", "amd"]] = {"GenuineIntel": "intel", "AuthenticAMD": "amd"}
_CONFIDENTIAL = ("dev/tdx_guest", "dev/sev-guest")
"""There in guests of TDX and SEV-SNP, whose kernel handles #VE or #VC in the place of the hypervisor."""


class NotThisMachine(Exception):
    """Why this machine cannot be judged, in a sentence."""


def this_machine(root: Path = Path("/"), *, ring0: bool = False) -> TargetSettings:
    """Its settings, as an inventory would have them. NotThisMachine if it cannot be judged.

    ``ring0``: with the agent's kernel module, which is given all CPUs that are online.
    """
    cpuinfo = _read(root / "proc/cpuinfo")
    found = re.search(r"^vendor_id\s*:\s*(\S+)", cpuinfo, re.MULTILINE)
    name = found[1] if found else f"a {platform.machine()} without vendor_id in /proc/cpuinfo"
    if name not in _VENDORS:
        raise NotThisMachine(
            f"the CPU of this machine is {name}: the suites are about {' and '.join(_VENDORS)}"
        )
    confidential = [name for name in _CONFIDENTIAL if (root / name).exists()]
    if confidential or re.search(r"^flags\s*:.*\btdx_guest\b", cpuinfo, re.MULTILINE):
        what = f"/{confidential[0]}" if confidential else "tdx_guest in /proc/cpuinfo"
        raise NotThisMachine(
            f"this is a confidential guest ({what}): its kernel carries out CPUID and other instructions"
            " of programs, so that an answer would not be the hypervisor's"
        )
    online = (os.cpu_count() or 1) if ring0 else len(os.sched_getaffinity(0))
    options = {RING0: True} if ring0 else {}
    return TargetSettings(
        DRIVER,
        DRIVER,
        _VENDORS[name],
        min(online, MOST_CPUS),
        timeout_factor=TIMEOUT_FACTOR,
        options=options,
    )


def product(root: Path = Path("/")) -> str:
    """What its firmware calls it (DMI): ``Amazon EC2 m5.large``; empty where there is no DMI."""
    names = [_read(root / "sys/class/dmi/id" / name).strip() for name in ("sys_vendor", "product_name")]
    return " ".join(dict.fromkeys(name for name in names if name))


def facts(root: Path = Path("/")) -> Mapping[str, str]:
    """What verdicts may depend on, and no probe can measure. What is not known is absent."""
    found = {"machine": product(root), "kernel": platform.release()}
    return {name: value for name, value in found.items() if value}


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
