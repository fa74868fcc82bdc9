"""Whether the machine under a hosted subject lets it see what its guests do, asked of the bare machine."""

from __future__ import annotations

from pathlib import Path

from touchstone.machine.driver import AgentRefused, Driver
from touchstone.machine.probe import Operand, ProbeRequest, ProbeResult
from touchstone.machine.svm_guest import PHYSICAL, VMEXIT_VMMCALL, run_guest
from touchstone.suite.assemble import Assembler
from touchstone.suite.model import Body, Source

XSETBV = 1 << 13
"""In the VMCB's word at 10h (APM2, appendix B)."""
WRITE_XCR0 = """xor ecx, ecx
    xgetbv
    xsetbv"""


def xsetbv_is_intercepted(driver: Driver, timeout: float) -> bool:
    """Whether a guest's XSETBV is an exit if that is asked for. ``timeout`` in seconds, for each probe.

    QEMU 7.2 ignores the intercept: a hypervisor on it never learns of its guest's XCR0, and puts back the old
    one. True where that cannot be asked.
    """
    pages = []
    for offset in (0, 0x1000):
        found = _run(driver, PHYSICAL, {"rdi": Operand("scratch", offset)}, timeout)
        if found is None:
            return True
        pages.append(Operand(offset=found.registers["rax"]))
    registers = {"rdi": Operand("scratch"), "r8": pages[0], "r9": pages[1], "r10": Operand()}
    found = _run(driver, run_guest(WRITE_XCR0, XSETBV), registers, timeout)
    return found is None or found.registers["r10"] != VMEXIT_VMMCALL


def _run(driver: Driver, text: str, registers: dict[str, Operand], timeout: float) -> ProbeResult | None:
    """What a probe ends with on CPU 0; None if it is refused, or ends in an exception."""
    lines = tuple(line for line in text.splitlines() if line.strip())
    body = Body(lines, (Source(Path(__file__), 1, 1),) * len(lines))
    code = Assembler().assemble([body]).codes[body]
    try:
        (result,) = driver.run(ProbeRequest(code=code.data, registers=registers, timeout=timeout))
    except AgentRefused:
        return None
    return result if result.vector is None else None
