"""The crash report of a machine against its registers: a triple fault, and a fault in host mode."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from touchstone.drivers.build import BareImage, build_bare
from touchstone.drivers.registry import make_driver
from touchstone.machine.driver import Driver, TargetDied
from touchstone.machine.probe import Operand, ProbeRequest
from touchstone.machine.settings import TargetSettings
from touchstone.machine.symbols import Symbols

HYPERVISOR = Path(__file__).parents[2] / "hypervisor"
MODELS = {"intel": "corei7_skylake_x", "amd": "ryzen"}
EXITED = {"intel": "vmx_exited", "amd": "svm_exited"}
CPU = 1
LEAF, ADDRESS = 0xC0FFEE00, 0x7EAD_0000_1230
FAULTS = (
    f"\tif ((u32)vcpu->regs.rax == {LEAF})\n"
    '\t\tasm volatile(".globl fault_of_the_test\\nfault_of_the_test:\\n\\tmov (%0), %%rax"'
    f' : : "r"({ADDRESS}ull) : "rax");\n'
)
"""CPUID of a leaf makes host mode read where nothing is mapped."""
HANDLER = "void handle_cpuid(struct vcpu *vcpu)\n{\n"
CPUID_CODES = {"intel": 0xA, "amd": 0x72}
# SVM intercepts #GP, and Veneer finds that it came of the delivery of #DF: the IDT has no vector 8.
LAST_CODES = {"intel": 0x2, "amd": 0x4D}
LAST_FIELDS = {
    "intel": {"qualification": 0},
    "amd": {"info1": 8 << 3 | 3, "info2": 0, "intinfo": 0x8000_0B08},
}
CODE_FIELD = {"intel": "reason", "amd": "exitcode"}
RSP = Operand("stack", -0x128)
EMPTY_IDT = bytes(10)
"""Neither #UD can be delivered, nor #GP, nor #DF."""
# start: lea rax, [rip + start]; mov rbx, cr3; mov rcx, rsp
WHERE = bytes.fromhex("488d05f9ffffff 0f20db 4889e1")
NOP_CPUID = bytes.fromhex("90 0fa2")
# cpuid; lidt [rdi]; ud2
SHUTDOWN = bytes.fromhex("0fa2 0f011f 0f0b")


@dataclass
class Machine:
    """One that has Veneer loaded, and what its CPU has in registers that no probe changes."""

    vendor: str
    driver: Driver
    symbols: Symbols
    start: int
    cr3: int
    rsp: int

    def die(self, code: bytes, **registers: Operand) -> dict[str, str]:
        """The fields of the report with which it dies of this code."""
        memory = ((0, EMPTY_IDT),)
        with pytest.raises(TargetDied) as died:
            self.driver.run(
                ProbeRequest(
                    code=code, cpus=(CPU,), registers={"rsp": RSP, **registers}, memory=memory, timeout=30.0
                )
            )
        self.said = str(died.value)
        return dict(re.findall(r"(\S+)=(\S*)", self.said))

    def expect(self, fields: dict[str, str], code: int, guest_rip: int) -> None:
        """What every report says of the guest and of its last exit."""
        numbers = {
            "exit": code,
            CODE_FIELD[self.vendor]: code,
            "guest-rip": guest_rip,
            "guest-rsp": self.rsp,
            "guest-cr3": self.cr3,
        }
        assert {name: int(fields[name], 16) for name in numbers} == numbers, self.said
        assert int(fields["cpu"]) == CPU, self.said
        assert fields["exits"].split(",")[-1] == f"{code:x}:{guest_rip:x}", self.said


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> BareImage:
    directory = tmp_path_factory.mktemp("crash")
    copy = directory / "veneer"
    shutil.copytree(HYPERVISOR, copy)
    file = copy / "core" / "cpuid.c"
    text = file.read_text(encoding="utf-8")
    assert text.count(HANDLER) == 1
    file.write_text(text.replace(HANDLER, HANDLER + FAULTS), encoding="utf-8")
    return build_bare(copy, directory=directory / "build")


@pytest.fixture(params=MODELS)
def machine(request: pytest.FixtureRequest, image: BareImage, tmp_path: Path) -> Iterator[Machine]:
    vendor = request.param
    settings = TargetSettings("crash", "bochs", vendor, 2, 64, MODELS[vendor], timeout_factor=10.0)
    driver = make_driver(settings, image, tmp_path)
    try:
        driver.start(lambda _: None)
        driver.load()
        (result,) = driver.run(ProbeRequest(code=WHERE, cpus=(CPU,), registers={"rsp": RSP}))
        start, cr3, rsp = (result.registers[name] for name in ("rax", "rbx", "rcx"))
        yield Machine(vendor, driver, Symbols(image.symbols), start, cr3, rsp)
    finally:
        driver.stop()


def test_a_triple_fault(machine: Machine) -> None:
    fields = machine.die(SHUTDOWN, rdi=Operand("scratch"))
    assert "veneer: guest triple fault" in machine.said
    code, at = LAST_CODES[machine.vendor], machine.start + SHUTDOWN.index(b"\x0f\x0b")
    machine.expect(fields, code, at)
    assert int(fields["rip"], 16) == at, machine.said
    more = LAST_FIELDS[machine.vendor]
    assert {name: int(fields[name], 16) for name in more} == more, machine.said
    assert f"{CPUID_CODES[machine.vendor]:x}:{machine.start:x}" in fields["exits"].split(","), machine.said


def test_a_fault_in_host_mode(machine: Machine) -> None:
    fields = machine.die(NOP_CPUID, rax=Operand(offset=LEAF))
    assert "veneer: fault in host mode" in machine.said
    machine.expect(fields, CPUID_CODES[machine.vendor], machine.start + 1)
    fault, entry = (machine.symbols.find(name) for name in ("fault_of_the_test", EXITED[machine.vendor]))
    assert fault is not None
    assert entry is not None
    found = [int(fields[name], 16) for name in ("vector", "error", "rip", "cr2")]
    assert found == [14, 0, fault.address, ADDRESS], machine.said
    # The stack of host mode leads back to where the exit came in.
    stack = [int(word, 16) for word in fields["stack"].split(",")]
    assert any(entry.address < word < entry.address + 0x100 for word in stack), machine.said
