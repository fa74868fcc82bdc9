"""Subject ``none``: what claims a hypervisor fails, what only demands that none shows passes."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.runs import run_suites

FINE = {"conformant", "known-deviation", "unsupported"}
# What is asked of Intel's processors only, and some of what both are asked: the rest is judged on QEMU's.
ON_INTEL = (
    "conformance/nested",
    "conformance/broadcast/signature.yaml",
    "conformance/broadcast/exits.yaml",
    "conformance/broadcast/test_refusal.py",
    "conformance/exits/control-registers.yaml",
    "conformance/exits/cr0.yaml",
    "conformance/exits/cr3.yaml",
    "conformance/exits/cr4.yaml",
    "conformance/exits/features.yaml",
    "conformance/exits/features-invalidation.yaml",
    "conformance/exits/xsetbv.yaml",
    "conformance/exits/xsetbv-faults.yaml",
    "conformance/teardown/hardware.yaml",
    "conformance/teardown/test_hardware.py",
)


@pytest.mark.parametrize(
    ("target", "suites"),
    [
        pytest.param("qemu-amd", ["conformance"], id="qemu-amd"),
        pytest.param("bochs-intel", ON_INTEL, id="bochs-intel"),
        pytest.param("bochs-intel", ["conformance"], marks=pytest.mark.nightly, id="bochs-intel-all"),
    ],
)
def test_the_bare_machine_claims_nothing(target: str, suites: Sequence[str], tmp_path: Path) -> None:
    run = run_suites(tmp_path, *suites, f"--target={target}", "--hypervisor=none")
    assert run.status == 1, run.printed
    passed = [v.check for v in run.verdicts if v.claims and v.word in {"conformant", "improved"}]
    assert not passed, f"these claim a hypervisor, and hold without one: {passed}"
    failed = [v for v in run.verdicts if not v.claims and v.word not in FINE]
    assert not failed, f"these demand transparency only, and fail without a hypervisor: {failed}"
    assert sum(v.claims and v.word == "deviation" for v in run.verdicts) > 10, run.printed
