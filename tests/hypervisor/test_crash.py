"""Crash reports of CPUs that die at the same time, in a process of user space."""

import subprocess
from pathlib import Path

HERE = Path(__file__).parent
HYPERVISOR = HERE.parents[1] / "hypervisor"


def test_two_cpus_die_at_once(tmp_path: Path) -> None:
    program = tmp_path / "two_reports"
    sources = [HYPERVISOR / "core" / "crash_report.c", HERE / "crash" / "two_reports.c"]
    command = ["gcc", "-std=gnu11", "-g", "-O1", "-Wall", "-Wextra", "-Werror", "-pthread"]
    command += [f"-I{HYPERVISOR}", f"-I{HERE / 'processor'}", "-include", "fake_x86.h", "-o", str(program)]
    built = subprocess.run([*command, *map(str, sources)], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    ran = subprocess.run([str(program)], capture_output=True, text=True, check=False, timeout=600)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "all passed\n"
