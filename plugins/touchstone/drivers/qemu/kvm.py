"""Whether KVM of this host runs machines with nested VMX or SVM: that /dev/kvm is there proves nothing."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Literal

from touchstone.drivers.build import build_bare
from touchstone.drivers.qemu.driver import QemuDriver
from touchstone.machine.driver import Say, TargetError
from touchstone.machine.settings import TargetSettings

Vendor = Literal["intel", "amd"]

FLAG = {"intel": "vmx", "amd": "svm"}
MODULE = {"intel": "kvm_intel", "amd": "kvm_amd"}
FIRST_INSTRUCTION_TIMEOUT = 10.0
"""Seconds in which a guest under KVM must have reached its first instruction. It takes a tenth of one."""


def missing(vendor: Vendor, root: Path = Path("/")) -> str:
    """What /proc and /sys say is missing, in one sentence, or nothing. Starts nothing."""
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


_known: dict[Vendor, str] = {}


def problem(vendor: Vendor, progress: Say = lambda _: None) -> str:
    """Why KVM cannot run such a machine, in one sentence that names what is missing; nothing if it can.

    Found out once per process: boots the bare image under KVM when nothing else is missing.
    """
    if vendor not in _known:
        _known[vendor] = missing(vendor) or _try(vendor, progress)
    return _known[vendor]


def _try(vendor: Vendor, progress: Say) -> str:
    """Boot a guest until our agent answers: some KVMs create machines that never run."""
    progress(f"trying whether KVM runs a machine with {FLAG[vendor].upper()}")
    settings = TargetSettings(
        name=f"kvm-{vendor}", driver="qemu", vendor=vendor, cpus=1, options={"accel": "kvm"}
    )
    with tempfile.TemporaryDirectory(prefix="touchstone-kvm-") as logs:
        # It is KVM that is tried: nobody needs to be asked about it.
        driver = QemuDriver(settings, lambda say: build_bare(None, say), Path(logs), lambda _: "")
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
