import re
from pathlib import Path

import pytest

from touchstone.drivers.qemu import kvm
from touchstone.drivers.qemu.kvm import Vendor, missing, problem
from touchstone.drivers.registry import unavailable
from touchstone.machine.settings import TargetSettings


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A root file system of a host that can do it all."""
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text("processor\t: 0\nflags\t\t: fpu vmx svm sse\n\nprocessor\t: 1\n")
    for module, value in (("kvm_intel", "Y"), ("kvm_amd", "1")):
        parameters = tmp_path / "sys/module" / module / "parameters"
        parameters.mkdir(parents=True)
        (parameters / "nested").write_text(value + "\n")
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/kvm").touch()
    return tmp_path


@pytest.mark.parametrize("vendor", ["intel", "amd"])
def test_a_host_that_has_it_all_misses_nothing(host: Path, vendor: Vendor) -> None:
    assert missing(vendor, host) == ""


@pytest.mark.parametrize(
    ("vendor", "flag", "module"), [("intel", "vmx", "kvm_intel"), ("amd", "svm", "kvm_amd")]
)
def test_what_is_missing_has_a_name(host: Path, vendor: Vendor, flag: str, module: str) -> None:
    (host / "dev/kvm").unlink()
    assert missing(vendor, host) == "/dev/kvm cannot be opened: No such file or directory"
    parameter = host / f"sys/module/{module}/parameters/nested"
    parameter.write_text("N\n")
    assert missing(vendor, host).startswith(f"{module}.nested is N (modprobe -r {module}")
    parameter.unlink()
    assert missing(vendor, host) == f"the kernel module {module} is not loaded (modprobe {module} nested=1)"
    (host / "proc/cpuinfo").write_text("flags\t\t: fpu sse\n")
    assert missing(vendor, host) == f"the host's CPU has no {flag} flag (/proc/cpuinfo)"
    (host / "proc/cpuinfo").unlink()
    assert "cannot be read" in missing(vendor, host)


def test_this_host_is_decided_by_a_guest_or_by_what_is_missing() -> None:
    found = problem("intel")
    words = r"no vmx flag|not loaded|nested is|cannot be opened|first instruction"
    assert not found or re.search(words, found)


def test_kvm_is_tried_once_per_process(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def missing_nothing_but_itself(vendor: Vendor) -> str:
        asked.append(vendor)
        return f"no {vendor}"

    monkeypatch.setattr(kvm, "_known", {})
    monkeypatch.setattr(kvm, "missing", missing_nothing_but_itself)
    assert [problem("intel"), problem("amd"), problem("intel")] == ["no intel", "no amd", "no intel"]
    assert asked == ["intel", "amd"]


def test_a_kvm_that_runs_no_guest_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the kernel claims everything, only a guest that says ``ready`` counts."""
    monkeypatch.setattr(kvm, "missing", lambda vendor: "")
    monkeypatch.setattr(kvm, "_known", {})
    steps: list[str] = []
    found = problem("intel", steps.append)
    assert any(step.startswith("trying whether KVM runs a machine with VMX") for step in steps)
    assert not found or "did not reach its first instruction within 10 s" in found


def test_a_kvm_target_is_unavailable_for_the_reason_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kvm, "problem", lambda vendor, progress: f"no {vendor}")
    settings = TargetSettings("qemu-intel", "qemu", "intel", options={"accel": "kvm"})
    assert unavailable(settings) == "no intel"
    assert unavailable(TargetSettings("qemu-amd", "qemu", "amd")) == ""
    assert unavailable(TargetSettings("bochs-intel", "bochs", "intel")) == ""


@pytest.mark.parametrize(
    ("version", "reason"),
    [
        ("7.2.19", "the software CPU of {} 7.2 has no x2APIC mode; that of 9.0 and later has"),
        ("9.0.0", ""),
        ("10.0.7", ""),
        ("of today", ""),
    ],
)
def test_a_target_in_x2apic_mode_wants_a_qemu_that_has_it(tmp_path: Path, version: str, reason: str) -> None:
    binary = tmp_path / "qemu"
    binary.write_text(f"#!/bin/sh\necho QEMU emulator version {version}\n", encoding="ascii")
    binary.chmod(0o755)
    options = {"apic": "x2apic", "binary": str(binary)}
    settings = TargetSettings(
        "qemu-amd-x2apic", "qemu", "amd", cpu_model="EPYC,+svm,+x2apic", options=options
    )
    assert unavailable(settings) == reason.format(binary)
