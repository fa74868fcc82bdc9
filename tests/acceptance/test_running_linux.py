"""The same suites on a running Linux, over SSH: nothing deviates that the inventory does not know."""

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.support.checkout import ROOT
from tests.support.linux.bochs_machine import QUICK
from tests.support.runs import run_suites

# docs/nightly/run has all suites on both. Here is of every area what depends on what is underneath: what
# Linux has in registers and MSRs, before and after, and that it gets its exceptions, steps and breakpoints.
PICK = {
    "broadcast": ("signature.yaml", "state-msrs.yaml", "state-registers.yaml", "test_loading.py"),
    "broadcast/storms.yaml": ("broadcast.storm.mixed",),
    "exits/cpuid.yaml": ("exits.cpuid.exit-counted", "exits.cpuid.loop-on-all"),
    "exits/cpuid-leaves.yaml": ("exits.cpuid.native-basic", "exits.cpuid.osxsave"),
    "exits/debug.yaml": ("exits.debug.registers-kept", "exits.debug.breakpoint-on-exit"),
    "exits/debug-single-step.yaml": ("exits.debug.steps",),
    "exits/injection.yaml": (
        "exits.injection.ud",
        "exits.injection.gp-selector",
        "exits.injection.int3",
    ),
    "exits/injection-page-faults.yaml": ("exits.injection.pf-user-write",),
    "nested": ("vmx-cr4.yaml", "test_agreement.py"),
    "nested/svm-instructions.yaml": ("nested.svm.vmrun-ud",),
    "nested/svm-msrs.yaml": ("nested.svm.vm-cr-locked-off", "nested.svm.efer-svme-write-gp"),
    "nested/vmx-instructions.yaml": ("nested.vmx.vmxon-ud",),
    "nested/vmx-reports.yaml": (
        "nested.vmx.feature-control-locked-off",
        "nested.vmx.capability-msrs-every-cpu",
    ),
    "teardown": ("gone.yaml", "hardware.yaml", "state-msrs.yaml", "state-registers.yaml", "test_hardware.py"),
    "teardown/test_cycles.py": ("test_all_cpus",),
}
# Work that must not be disturbed: in Bochs it takes minutes. tests/linux has each kind of it on both vendors,
# while Veneer comes and goes, so that here one check stands for all.
IN_QEMU = {
    "broadcast/test_loading_live_os.py": ("test_all_work", "test_kvm_refused"),
    "teardown/test_live_os.py": ("test_kvm",),
}
IN_BOCHS = "tests/acceptance/last_check.py"


def nodes(pick: Mapping[str, Sequence[str]]) -> list[str]:
    """What pytest is told to run: files of folders, checks of files."""
    return [
        f"conformance/{place}{'::' if Path(place).suffix else '/'}{name}"
        for place, names in pick.items()
        for name in names
    ]


def with_quick_kernel(target: str, directory: Path) -> list[str]:
    """Options for a target that is another one with a kernel that boots, and works, in less time."""
    shipped = tomllib.loads((ROOT / "targets" / "inventory.toml").read_text(encoding="utf-8"))["targets"]
    keys = {key: value for key, value in shipped[target].items() if isinstance(value, str | int)}
    keys |= {"kernel-arguments": QUICK, "deviates-like": target}
    inventory = directory / "quick.toml"
    inventory.write_text(
        f'include = ["touchstone:inventory.toml"]\n[targets.{target}-quick]\n'
        + "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items()),
        encoding="utf-8",
    )
    return [f"--touchstone-inventory={inventory}", f"--target={target}-quick"]


@pytest.mark.parametrize(
    ("target", "quick", "cpus", "more", "least"),
    [
        # Checks that need the machine to themselves are unsupported on both.
        pytest.param("linux-amd", False, 4, nodes(IN_QEMU), 53, id="linux-amd"),
        # Bochs takes twice as long with the kernel's mitigations, which the nightly job has.
        pytest.param("linux-intel", True, 2, [IN_BOCHS], 55, id="linux-intel"),
    ],
)
def test_suites_on_a_running_linux(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    target: str,
    quick: bool,
    cpus: int,
    more: list[str],
    least: int,
) -> None:
    killed = tmp_path / "killed"
    monkeypatch.setenv("TOUCHSTONE_TEST_KILLED", str(killed))
    machine = with_quick_kernel(target, tmp_path) if quick else [f"--target={target}"]
    run = run_suites(tmp_path, *machine, *nodes(PICK), *more)
    assert run.status == 0, run.printed
    assert "Veneer" in run.printed
    assert f"on {cpus} of {cpus} CPUs" in run.printed
    assert run.words() <= {"conformant", "machine", "known-deviation", "unsupported"}
    assert sum(verdict.word == "conformant" for verdict in run.verdicts) >= least
    if IN_BOCHS in more:
        assert ("teardown.last.autopsy-and-kill", "conformant") in {(v.check, v.word) for v in run.verdicts}
        assert not Path("/proc", killed.read_text(encoding="ascii")).exists()
