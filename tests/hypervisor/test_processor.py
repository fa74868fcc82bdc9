"""Both backends of Veneer on processors that no emulator has, in a process of user space."""

import subprocess
from pathlib import Path

HERE = Path(__file__).parent
HYPERVISOR = HERE.parents[1] / "hypervisor"
LEFT_OUT = {"counters", "crash_report", "fault", "lifecycle", "query"}
"""Files of core/ that neither a backend nor a handler of exits needs."""


def test_processor(tmp_path: Path) -> None:
    program = tmp_path / "processor"
    tests = HERE / "processor"
    sources = sorted(path for room in ("core", "svm", "vmx") for path in (HYPERVISOR / room).glob("*.c"))
    sources = [path for path in sources if path.stem not in LEFT_OUT] + sorted(tests.glob("*.c"))
    command = ["gcc", "-std=gnu11", "-g", "-O1", "-Wall", "-Wextra", "-Werror", "-fno-sanitize-recover=all"]
    command += ["-fsanitize=address,undefined", f"-I{HYPERVISOR}", f"-I{tests}"]
    command += ["-include", "fake_x86.h", "-o", str(program)]
    built = subprocess.run([*command, *map(str, sources)], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    ran = subprocess.run([str(program)], capture_output=True, text=True, check=False, timeout=600)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "all passed\n"
