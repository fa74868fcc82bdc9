"""Instructions that an exit costs: the TSC of QEMU under -icount, and of Bochs with one CPU, counts them.

A probe reads the TSC, executes the instruction, and reads it again; the figure is the difference between
the loaded and the native phase, so it is what happens from the exit to the entry, both of them included.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from machines import ROOT, settings_of

from touchstone.drivers.build import build_bare
from touchstone.drivers.registry import make_driver
from touchstone.journal.lines import CostLine
from touchstone.journal.read import read_journal
from touchstone.journal.writer import JournalWriter
from touchstone.machine.driver import Driver
from touchstone.machine.probe import ProbeRequest
from touchstone.machine.settings import TargetSettings
from touchstone.suite.assemble import Assembler
from touchstone.suite.model import Body, Source

TARGETS = ["qemu-amd", "bochs-amd", "bochs-intel"]
SUBJECT = "veneer"
READ = "rdtsc; shl rdx, 32; or rax, rdx; mov {to}, rax"
EXITS = {
    "CPUID, leaf 0": ("xor eax, eax; xor ecx, ecx", "cpuid"),
    "CPUID, leaf 1": ("mov eax, 1; xor ecx, ecx", "cpuid"),
    "CPUID, leaf 0x40000000": ("mov eax, 0x40000000; xor ecx, ecx", "cpuid"),
    "CPUID, leaf 7": ("mov eax, 7; xor ecx, ecx", "cpuid"),
    "CPUID, leaf 0xd": ("mov eax, 0xd; xor ecx, ecx", "cpuid"),
    "CPUID, leaf 0x80000001": ("mov eax, 0x80000001; xor ecx, ecx", "cpuid"),
    "CPUID, leaf 0x8000000a": ("mov eax, 0x8000000a; xor ecx, ecx", "cpuid"),
    "RDMSR of EFER": ("mov ecx, 0xc0000080", "rdmsr"),
    "RDMSR of VM_CR or IA32_FEATURE_CONTROL": ("mov ecx, SWITCH", "rdmsr"),
    "WRMSR of EFER": ("mov ecx, 0xc0000080; rdmsr", "wrmsr"),
    "WRMSR of VM_CR or IA32_FEATURE_CONTROL": ("mov ecx, SWITCH; xor eax, eax; xor edx, edx", "wrmsr"),
    "XSETBV": ("xor ecx, ecx; xgetbv", "xsetbv"),
    "MOV to CR0 that clears NE": ("mov rax, cr0; and eax, ~0x20", "mov cr0, rax"),
}
HYPERCALL = "hypercall (control, from the stub and back)"
SWITCH = {"amd": "0xc0010114", "intel": "0x3a"}
"""Where firmware can switch SVM or VMX off: VM_CR, IA32_FEATURE_CONTROL."""


def measured(name: str, vendor: str) -> tuple[str, str]:
    """Preparation and instruction, with an MSR that exits on this vendor's machine."""
    prepare, instruction = EXITS[name]
    return prepare.replace("SWITCH", SWITCH[vendor]), instruction


def probe(prepare: str, instruction: str) -> ProbeRequest:
    """A probe that leaves the TSC's values in R8 and R9."""
    lines = [prepare, "mov r10, rax; mov r11, rdx", READ.format(to="r8"), "mov rax, r10; mov rdx, r11"]
    lines += [instruction, READ.format(to="r9")]
    text = tuple(part.strip() for line in lines for part in line.split(";"))
    body = Body(text, tuple(Source(Path("exits.py"), 1, 1) for _ in text))
    assembled = Assembler().assemble([body])
    if assembled.problems:
        raise SystemExit("\n".join(str(problem) for problem in assembled.problems[body]))
    return ProbeRequest(code=assembled.codes[body].data)


def cost(driver: Driver, request: ProbeRequest) -> int:
    """Ticks between the two readings; -1: the instruction faulted."""
    result = driver.run(request)[0]
    if result.vector is not None:
        return -1
    return result.registers["r9"] - result.registers["r8"]


def one_cpu(name: str) -> TargetSettings:
    """The target with one CPU, and with a TSC that counts instructions."""
    settings = settings_of(name)
    options = dict(settings.options)
    if settings.driver == "qemu":
        options["arguments"] = ["-icount", "shift=0"]
    return dataclasses.replace(settings, cpus=1, options=options)


def main() -> None:
    """Print one table row per kind of exit."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("targets", nargs="*", help=f"default: {' '.join(TARGETS)}")
    parser.add_argument(
        "--journal",
        type=Path,
        help="add the figures to the journal of a run of Veneer, for those of the targets that it has",
    )
    arguments = parser.parse_args()
    targets = arguments.targets or TARGETS
    if arguments.journal is not None:
        journal = read_journal(arguments.journal)
        ran = {key.target for key in journal.judged}
        targets = arguments.targets or [name for name in TARGETS if name in ran]
        if (subject := journal.runs[-1].subject.name) != SUBJECT or not targets:
            about = f"{subject} on {', '.join(sorted(ran)) or 'no target'}"
            print(f"{arguments.journal} is about {about}: nothing to measure")
            return
    image = build_bare(ROOT / "hypervisor", print)
    table: dict[str, list[str]] = {name: [] for name in (*EXITS, HYPERCALL)}
    for target in targets:
        settings = one_cpu(target)
        with tempfile.TemporaryDirectory() as logs:
            driver = make_driver(settings, image, Path(logs))
            try:
                driver.start(lambda _: None)
                requests = {name: probe(*measured(name, settings.vendor)) for name in EXITS}
                native = {name: cost(driver, request) for name, request in requests.items()}
                driver.load()
                for name, request in requests.items():
                    before = driver.exits(0)
                    ticks = cost(driver, request)
                    exited = {
                        key: value - before[key]
                        for key, value in driver.exits(0).items()
                        if value != before[key]
                    }
                    shown = f"{ticks - native[name]}" if ticks >= 0 <= native[name] else "faults"
                    table[name].append(shown if exited else f"{shown} (no exit)")
                # Only Veneer's stub may make one: Veneer measures it, with the stub's eleven instructions.
                table[HYPERCALL].append(driver.query().get("hypercall-ticks", "?"))
            finally:
                driver.stop()
    print("| exit | " + " | ".join(targets) + " |")
    print("|---" * (len(targets) + 1) + "|")
    for name, row in table.items():
        print(f"| {name} | " + " | ".join(row) + " |")
    if arguments.journal is not None:
        add_to(arguments.journal, targets, table)


def add_to(journal: Path, targets: Sequence[str], table: Mapping[str, Sequence[str]]) -> None:
    """Add the figures to a journal, for touchstone diff; what faulted has none."""
    writer = JournalWriter(journal)
    for name, row in table.items():
        for target, shown in zip(targets, row, strict=True):
            if (value := shown.split(" ")[0]).isdecimal():
                line = CostLine(
                    at=time.time(),
                    target=target,
                    subject=SUBJECT,
                    what=f"exit: {name}",
                    value=int(value),
                    unit="instructions",
                )
                writer.write(line)
    writer.close()


if __name__ == "__main__":
    main()
