"""Veneer's host under a UEFI firmware, with a firmware of threads in user space whose calls fail."""

import subprocess
from pathlib import Path

import pytest

from tests.support.checkout import ROOT

HERE = Path(__file__).parent / "uefi"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("uefi-host") / "host"
    command = ["gcc", "-std=gnu11", "-g", "-O1", "-Wall", "-Wextra", "-Werror", "-pthread"]
    command += ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", f"-I{ROOT / 'hypervisor'}"]
    command += [f"-I{ROOT / 'targets' / 'uefi'}", f"-I{HERE}", "-include", "in_user_space.h", "-o", str(path)]
    sources = [HERE / "firmware.c", ROOT / "hypervisor" / "hosts" / "uefi" / "host.c"]
    built = subprocess.run([*command, *map(str, sources)], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return path


# A CPU that waits for others who never come does so until the time is over.
@pytest.mark.parametrize("case", ["four-cpus", "three-of-four", "one-cpu", "others-do-not-start"])
def test_functions_run_on_all_cpus_or_on_none(program: Path, case: str) -> None:
    ran = subprocess.run([str(program), case], capture_output=True, text=True, check=False, timeout=60)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "passed\n"
