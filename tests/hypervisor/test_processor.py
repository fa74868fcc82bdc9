"""Both backends of Veneer on processors that no emulator has, in a user-space process under the sanitizers."""

import subprocess
from pathlib import Path

HERE = Path(__file__).parent
HYPERVISOR = HERE.parents[1] / "hypervisor"
CORE = (
    "completion context control_register cpuid decode exit host_state hypercall local_apic machine_check "
    "memory msr nmi obstacles system"
).split()
SVM = "exit guest setup".split()
VMX = "capabilities entry_checks ept exit guest leave mtrr reset setup state".split()


def test_processor(tmp_path: Path) -> None:
    program = tmp_path / "processor"
    tests = HERE / "processor"
    sources = [HYPERVISOR / "core" / f"{name}.c" for name in CORE]
    sources += [HYPERVISOR / "svm" / f"{name}.c" for name in SVM]
    sources += [HYPERVISOR / "vmx" / f"{name}.c" for name in VMX]
    sources += sorted(tests.glob("*.c"))
    command = ["gcc", "-std=gnu11", "-g", "-O1", "-Wall", "-Wextra", "-Werror", "-fno-sanitize-recover=all"]
    command += ["-fsanitize=address,undefined", f"-I{HYPERVISOR}", f"-I{tests}"]
    command += ["-include", "fake_x86.h", "-o", str(program)]
    built = subprocess.run([*command, *map(str, sources)], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    ran = subprocess.run([str(program)], capture_output=True, text=True, check=False, timeout=600)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "all passed\n"
