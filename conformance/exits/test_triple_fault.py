"""What ends a machine ends it under a hypervisor too."""

import pytest

from touchstone.engine.outcomes import Crash
from touchstone.machine.probe import Operand


@pytest.mark.touchstone(
    id="exits.shutdown.triple-fault",
    title="A triple fault ends the machine, and does not leave it hanging",
    area="exits",
    # QEMU gives a triple fault to SVM's host, whether it is intercepted or not.
    requires="os == bare and driver != qemu",
    claims=False,
    proves=["exits-triple-fault"],
    cite=[
        {
            "doc": "intel-sdm",
            "title": "Interrupt 8—Double Fault Exception (#DF)",
            "says": "If another contributory or page fault exception occurs while attempting to call the "
            "double-fault handler, the processor enters shutdown mode.",
        },
        {
            "doc": "amd-apm",
            "title": "Shutdown Intercept",
            "says": "A shutdown can be caused by a triple fault … the contents of the VMCB are undefined.",
        },
    ],
)
@pytest.mark.parametrize("entries", ["empty", "absent"])
def test_triple_fault(probe, entries):
    # Neither #UD can be delivered, nor the #DF for that: #GP behind the limit, or #PF where no page is.
    base = 0x4000_0000_0000 if entries == "absent" else 0
    limit = 0xFFFF if entries == "absent" else 0
    table = limit.to_bytes(2, "little") + base.to_bytes(8, "little")
    with pytest.raises(Crash):
        probe("lidt [rdi]\nud2", rdi=Operand("scratch"), memory=((0, table),))
