"""A machine that a UEFI firmware boots: Veneer as its driver, and a Veneer that loses a CPU.

docs/judge-a-uefi-hypervisor.md has a program that virtualises nothing, and tests/docs runs it.
"""

import re
import shutil
from pathlib import Path

from tests.support.checkout import ROOT
from tests.support.runs import Run, run_suites

SUITES = (
    "broadcast/signature.yaml",
    "nested/svm-cpuid.yaml",
    "exits/interrupts.yaml",
    "teardown/gone.yaml",
    "teardown/test_cycles.py",
)


def judged(tmp_path: Path, subject: str, *suites: str) -> Run:
    paths = [f"conformance/{suite}" for suite in suites]
    return run_suites(tmp_path, *paths, "--target=qemu-amd-uefi", f"--hypervisor={subject}")


def test_veneer_has_all_cpus_when_the_next_program_has_started_them(tmp_path: Path) -> None:
    run = judged(tmp_path, "veneer", *SUITES)
    assert run.status == 0, run.printed
    assert "Veneer 0.1.0 on 4 of 4 CPUs" in run.printed
    assert run.words() <= {"conformant", "unsupported", "machine"}
    assert sum(verdict.word == "conformant" for verdict in run.verdicts) >= 15, run.printed
    counted = [verdict for verdict in run.verdicts if verdict.check == "broadcast.signature.last"]
    assert [verdict.word for verdict in counted] == ["conformant"], "its exits are counted, each once"
    words = {verdict.check: verdict.word for verdict in run.verdicts}
    # It lets itself be taken out, by its configuration table; what loads it again would be another machine.
    assert words["teardown.unload.all-cpus"] == words["teardown.gone.signature"] == "conformant", words
    assert words["teardown.cycle.twenty"] == "unsupported", words


def test_a_cpu_that_is_lost_when_it_is_started_is_named(tmp_path: Path) -> None:
    """All CPUs are virtualised when the firmware has loaded it; the last one leaves by its INIT."""
    copy = tmp_path / "hypervisor"
    shutil.copytree(ROOT / "hypervisor", copy)
    source = copy / "core" / "start_cpus.c"
    text = source.read_text()
    whole = "\tu8 vector = command & VECTOR_MASK;\n"
    assert whole in text
    source.write_text(text.replace(whole, f"{whole}\n\tif (to == 3)\n\t\treturn command;\n"))
    toml = copy / "veneer.toml"
    toml.write_text(toml.read_text().replace('name = "veneer"', 'name = "veneer-broken"'))
    run = judged(tmp_path, str(toml), "broadcast/signature.yaml")
    assert run.status == 1, run.printed
    assert "deviation" in run.words() <= {"deviation", "conformant", "unsupported"}, run.printed
    # Asked for its exits there, Veneer executes a hypercall, which no hypervisor takes.
    told = re.findall(
        r"its exits on CPU (\d+) cannot be read: .*: asked on CPU \d+, it raised exception 6", run.printed
    )
    assert set(told) == {"3"}, run.printed
    assert "Veneer 0.1.0 on 3 of 4 CPUs" in run.printed
