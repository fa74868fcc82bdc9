"""Whether this host can run machines with nested VMX or SVM under KVM: /dev/kvm proves nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Vendor = Literal["intel", "amd"]

FLAG = {"intel": "vmx", "amd": "svm"}
MODULE = {"intel": "kvm_intel", "amd": "kvm_amd"}
FIRST_INSTRUCTION_TIMEOUT = 10.0
"""Seconds in which a guest under KVM must have reached its first instruction. It takes a tenth of one."""


@dataclass(frozen=True)
class Decision:
    """Whether it can be done, and if not, what is missing."""

    reason: str
    """One sentence that names the missing flag or parameter; empty: it can be done."""

    @property
    def possible(self) -> bool:
        """Whether it can be done."""
        return not self.reason


def missing(vendor: Vendor, root: Path = Path("/")) -> str:
    """What the kernel's own words say is missing, in one sentence, or nothing. Starts nothing."""
    proc, sys, dev = root / "proc", root / "sys", root / "dev"
    flag, module = FLAG[vendor], MODULE[vendor]
    try:
        lines = (proc / "cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError as error:
        return f"the host's CPU flags cannot be read: {error}"
    flags = next((line.split(":", 1)[1].split() for line in lines if line.startswith("flags")), [])
    if flag not in flags:
        return f"the host's CPU has no {flag} flag (/proc/cpuinfo)"
    parameter = sys / "module" / module / "parameters" / "nested"
    try:
        value = parameter.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return f"the kernel module {module} is not loaded (modprobe {module} nested=1)"
    except OSError as error:
        return f"{parameter} cannot be read: {error}"
    if value not in ("1", "Y"):
        return f"{module}.nested is {value} (modprobe -r {module}; modprobe {module} nested=1)"
    try:
        with (dev / "kvm").open("r+b", buffering=0):
            pass
    except OSError as error:
        return f"/dev/kvm cannot be opened: {error.strerror}"
    return ""


_decided: dict[Vendor, Decision] = {}


def decide(vendor: Vendor, progress: Callable[[str], None] = lambda _: None) -> Decision:
    """Decide once per process. Boots the bare image under KVM when nothing else is missing."""
    if vendor not in _decided:
        _decided[vendor] = Decision(missing(vendor) or _probe(vendor, progress))
    return _decided[vendor]


def _probe(vendor: Vendor, progress: Callable[[str], None]) -> str:
    """Whether a guest really gets as far as our agent: some KVMs create machines that never run."""
    import tempfile  # noqa: PLC0415

    from touchstone.drivers.build import build_bare  # noqa: PLC0415
    from touchstone.drivers.qemu.driver import QemuDriver  # noqa: PLC0415
    from touchstone.machine.driver import TargetError  # noqa: PLC0415
    from touchstone.machine.settings import TargetSettings  # noqa: PLC0415

    progress(f"trying whether KVM runs a machine with {FLAG[vendor].upper()}")
    settings = TargetSettings(
        name=f"kvm-{vendor}", driver="qemu", vendor=vendor, cpus=1, options={"accel": "kvm"}
    )
    with tempfile.TemporaryDirectory(prefix="touchstone-kvm-") as logs:
        driver = QemuDriver(settings, lambda report: build_bare(None, report), Path(logs))
        driver.boot_timeout = FIRST_INSTRUCTION_TIMEOUT
        try:
            driver.start(progress)
        except TargetError as error:
            first = str(error).splitlines()[0]
            return (
                f"/dev/kvm exists, but a guest did not reach its first instruction within "
                f"{FIRST_INSTRUCTION_TIMEOUT:g} s ({first})"
            )
        finally:
            driver.stop()
    return ""
