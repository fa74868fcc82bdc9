"""The vendor-neutral core of Veneer, and its memory types, in a user-space process under the sanitizers."""

import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
HYPERVISOR = HERE.parents[1] / "hypervisor"
CORE = (
    "completion.c",
    "decode.c",
    "fault.c",
    "fault_entry.S",
    "host_state.c",
    "lifecycle.c",
    "memory.c",
    "safe_instructions.S",
    "vcpus.c",
)
REPLACED = ("catch_faults", "stop_catching_faults")
"""Privileged functions for which the harness has its own, as `__wrap_NAME`."""


@pytest.mark.parametrize("sanitizer", ["address,undefined", "thread"])
def test_core(tmp_path: Path, sanitizer: str) -> None:
    program = tmp_path / "core"
    sources = [str(HYPERVISOR / "core" / name) for name in CORE]
    sources += [str(HYPERVISOR / "vmx" / "mtrr.c"), *map(str, sorted(HERE.glob("*.c")))]
    command = ["gcc", "-std=gnu11", "-g", "-O1", "-Wall", "-Wextra", "-Werror", "-pthread"]
    command += [f"-fsanitize={sanitizer}", "-fno-sanitize-recover=all", f"-I{HYPERVISOR}", "-o", str(program)]
    command += [f"-Wl,--wrap={name}" for name in REPLACED]
    built = subprocess.run([*command, *sources], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    ran = subprocess.run([str(program)], capture_output=True, text=True, check=False, timeout=600)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "all passed\n"
