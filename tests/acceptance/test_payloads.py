"""Other people's test images: natively and under Veneer, line by line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.payloads import build_cpus, build_sample
from tests.support.runs import run_suites
from touchstone.journal.read import read_journal

LIST = """
[[payload]]
file = "sample"

[[payload]]
file = "sample"
name = "dies"
arguments = "D"

[[payload]]
file = "sample"
name = "guest-dies"
arguments = "G"
end = "^SKIP: a module"
"""
LINES = {
    "payload.sample": "conformant",
    "payload.sample.entered as by a Multiboot loader": "conformant",
    "payload.sample.command line": "conformant",
    "payload.sample.a module": "unsupported",
    "payload.sample.interrupts of the timer": "conformant",
    "payload.sample.the BIOS in real mode": "conformant",
    "payload.sample.what no machine does": "machine",
    "payload.sample.no hypervisor says its name": "deviation",
    "payload.sample.printed without a hypervisor": "deviation",
    "payload.sample.printed by a guest": "deviation",
    "payload.dies": "machine",
    "payload.dies.entered as by a Multiboot loader": "conformant",
    "payload.dies.command line": "conformant",
    "payload.guest-dies": "crash",
    "payload.guest-dies.entered as by a Multiboot loader": "conformant",
    "payload.guest-dies.command line": "conformant",
    "payload.guest-dies.a module": "blocked",
}


@pytest.mark.parametrize("target", ["qemu-amd", "bochs-intel"])
def test_each_line_is_judged_by_the_bare_machine_s(target: str, tmp_path: Path) -> None:
    build_sample(tmp_path)
    file, journal, results = tmp_path / "list.toml", tmp_path / "journal.jsonl", tmp_path / "allure"
    file.write_text(LIST)
    run = run_suites(
        tmp_path,
        f"--payload={file}",
        f"--target={target}",
        f"--journal={journal}",
        f"--alluredir={results}",
    )
    assert {one.check: one.word for one in run.verdicts} == LINES, run.printed
    assert run.status == 1
    assert "guest triple fault" in run.printed
    assert run.printed.count("natively  PASS: no hypervisor says its name") == 1
    assert "Veneer    FAIL: no hypervisor says its name" in run.printed
    assert f"again: ./bootstrap pytest --payload={file} --target={target}" in run.printed
    written = read_journal(journal)
    assert {key.check: line.verdict.value for key, line in written.judged.items()} == LINES
    reasons = {key.check: line.reason for key, line in written.judged.items()}
    assert reasons["payload.guest-dies"].startswith("under Veneer, ")
    assert reasons["payload.sample.printed by a guest"] == (
        "under Veneer, 'PASS: printed by a guest'; on the bare machine, it is not printed"
    )
    assert written.missing == []
    names = [json.loads(file.read_text())["fullName"] for file in results.glob("*-result.json")]
    assert sorted(names) == sorted(LINES)


CPUS = """
[[payload]]
file = "cpus"
cpus = 3
arguments = "3"

[[payload]]
file = "cpus"
name = "x2apic"
cpus = 3
arguments = "x 3"
"""
STARTED = [
    "they start where the start-up IPI says",
    "their general registers are 0, but for EDX",
    "their CR0, CR4 and EFER are those after INIT",
    "they are in the hands of the hypervisor of the boot CPU, or of none",
    "their EDX is the signature of CPUID leaf 1",
    "their CR2, DR6, DR7, RFLAGS and IDTR are those after INIT",
    "their CR0.CD and CR0.NW have not been cleared",
    "their PAT is what it was before INIT",
    "they can write XCR0",
    "none of their locked additions is lost",
    "each of them takes an interrupt",
    "a start-up IPI without INIT starts none",
]
FROM_16_BIT_CODE = "code of 16 bits writes to the local APIC"
ON_CPUS = [
    "all other CPUs start, each once",
    *STARTED,
    "they start again, one by one",
    *(f"{line} (2)" for line in STARTED),
]


@pytest.mark.parametrize("target", ["qemu-amd", "qemu-amd-x2apic", "bochs-amd", "bochs-intel"])
def test_the_other_cpus_are_the_hypervisor_s_when_a_payload_starts_them(target: str, tmp_path: Path) -> None:
    build_cpus(tmp_path)
    file = tmp_path / "list.toml"
    file.write_text(CPUS)
    run = run_suites(tmp_path, f"--payload={file}", f"--target={target}", "-rs")
    words = {one.check: one.word for one in run.verdicts}
    assert run.status == 0, run.printed
    assert words.pop(f"payload.cpus.{FROM_16_BIT_CODE}", "conformant") == "conformant", run.printed
    if "Bochs 2.7 keeps an INIT pending" in run.printed or "has no x2APIC mode; that of" in run.printed:
        assert words == {"payload.cpus": "unsupported", "payload.x2apic": "unsupported"}, run.printed
        return
    if words.pop("payload.x2apic.x2APIC mode", None) == "unsupported":
        assert words.pop("payload.x2apic") == "conformant"
    names = [f"payload.{name}" for name in ("cpus", "x2apic") if f"payload.{name}" in words]
    expected = [*names, *(f"{name}.{line}" for name in names for line in ON_CPUS)]
    assert words.keys() == set(expected), run.printed
    # Bochs 3.0 keeps some of the registers of a Ryzen over INIT.
    assert set(words.values()) <= {"conformant", "machine"}, run.printed


def test_without_a_hypervisor_nobody_is_accused_and_a_list_says_how_it_is_run(tmp_path: Path) -> None:
    build_sample(tmp_path)
    (tmp_path / "environment").write_text("NR_CPUS=1\n")
    file = tmp_path / "list.toml"
    file.write_text(
        '[[payload]]\nfile = "sample"\nname = "one"\narguments = "a b"\nmodules = ["environment"]\n'
        "end = '^PASS: the BIOS'\n"
    )
    run = run_suites(tmp_path, f"--payload={file}", "--target=qemu-amd", "--hypervisor=none", "-v", "-n1")
    words = {one.check: one.word for one in run.verdicts}
    assert words.pop("payload.one.a module") == "conformant", run.printed
    assert "payload.one.the BIOS in real mode" in words
    assert set(words.values()) <= {"conformant", "machine"}
    assert run.status == 0
