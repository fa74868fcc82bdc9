"""NMIs while the hypervisor is loaded: as many are taken as were sent."""

import pytest

NMI = [
    {
        "doc": "intel-sdm",
        "title": "Nonmaskable Interrupt (NMI)",
        "says": "When the processor receives a NMI, it handles it immediately by calling the NMI handler "
        "pointed to by interrupt vector number 2; no other interrupts, including NMIs, are received until "
        "the handler has completed.",
    },
    {
        "doc": "amd-apm",
        "title": "#NMI—Non-Maskable-Interrupt Exception (Vector 2)",
        "says": "NMI interrupts are not maskable by RFLAGS.IF; while an NMI is serviced, further ones are "
        "held pending.",
    },
]


@pytest.mark.touchstone(
    id="broadcast.nmi.each-cpu",
    title="Every CPU takes every NMI that is sent to it, once",
    area="broadcast",
    requires="os == bare",
    claims=False,
    cite=NMI,
    proves=["nmi-once"],
)
def test_each_cpu(target):
    before = target.nmi_counts()
    for cpu in range(target.cpus):
        target.send_nmis([cpu], 25 + cpu)
    rose = [now - old for now, old in zip(target.nmi_counts(), before, strict=True)]
    assert rose == [25 + cpu for cpu in range(target.cpus)]


@pytest.mark.touchstone(
    id="broadcast.nmi.storm",
    title="Every CPU takes every NMI that is sent to it while all CPUs loop over CPUID",
    area="broadcast",
    requires="os == bare and cpus >= 2 and not msr.ia32-apic-base[10]",
    claims=False,
    cite=NMI,
    proves=["nmi-once", "nmi-in-hypervisor", "exits-concurrent"],
)
def test_storm(nmi_storm):
    nmi_storm(6)
