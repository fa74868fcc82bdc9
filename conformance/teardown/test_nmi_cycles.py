"""NMIs around loading and unloading: the local APIC sends them between the steps, the timer during them."""

import time

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
        "title": "Global Interrupt Flag, STGI and CLGI Instructions",
        "says": "NMIs that arrive while GIF is 0 are held pending and taken when GIF is set to 1.",
    },
]

pytestmark = pytest.mark.touchstone(area="teardown", phase="unloaded", requires="os == bare", cite=NMI)

# Let the interval timer send NMIs to all CPUs: it is wired to entry 0 or 2 of the I/O APIC, so both are set.
# eax: low half of the two entries; bh: the timer's mode; ecx: its start count.
TIMER = """
    mov esi, 0xfec00000
    mov r9d, 8
    1: lea r8d, [r9 + 0x0d]
    mov [rsi], r8d
    mov dword ptr [rsi + 0x10], 0xff000000
    dec r8d
    mov [rsi], r8d
    mov [rsi + 0x10], eax
    sub r9d, 4
    jnz 1b
    mov al, bh
    out 0x43, al
    mov eax, ecx
    out 0x40, al
    mov al, ah
    out 0x40, al
"""
# Until the timer has run down: in this mode it ticks no more then. A tick of the firmware's, or of an earlier
# count, would be an NMI too many.
WAIT = """
    mov ecx, 100000000
    3: dec ecx
    jz 4f
    mov al, 0xe2
    out 0x43, al
    in al, 0x40
    test al, 0x80
    jz 3b
    jmp 5f
    4: ud2
    5: nop
"""
# bl: bit 7 is set if the timer has run down; cx: what is left of its count.
READ = """
    mov al, 0xc2
    out 0x43, al
    in al, 0x40
    mov bl, al
    in al, 0x40
    mov cl, al
    in al, 0x40
    mov ch, al
"""
NMI_TO_ALL, LOGICAL, MASKED = 0x400, 0x800, 0x10400
# A physical destination of 255 is every local APIC in xAPIC mode, and only that of ID 255 in x2APIC mode.
# There it is logical: CPUs 0 to 7 of cluster 0 (SDM, "Logical Destination Mode in x2APIC Mode").
REACHES_ALL = "os == bare and (cpus <= 8 or not msr.ia32-apic-base[10])"
APIC_MODE = "mov ecx, 0x1b; rdmsr"
ONE_SHOT, PERIODIC = 0x30, 0x34
LONGEST = 0xFFFF
"""Ticks of the timer, 55 ms of the target's time."""
SHOTS = 20
"""Cycles with an NMI amid each step: after a 20th of the time that it takes, in the next cycle two 20ths."""
MANY, PERIOD = 20, 2400
"""So many NMIs to each CPU, so many ticks (2 ms) apart."""
PATIENCE = 120
"""Seconds of real time in which they must have come."""


class Timer:
    """The interval timer as a source of NMIs."""

    def __init__(self, probe):
        self.probe = probe
        (mode,) = probe(APIC_MODE)
        self.to_all = NMI_TO_ALL | (LOGICAL if mode.registers["rax"] >> 10 & 1 else 0)

    def _set(self, entry, mode, count, behind=""):
        (result,) = self.probe(TIMER + behind, rax=entry, rbx=mode << 8, rcx=count)
        assert result.vector is None, f"the timer cannot be programmed: vector {result.vector}"

    def once(self, ticks):
        """Send one NMI to every CPU, in so many ticks (up to LONGEST)."""
        self._set(self.to_all, ONE_SHOT, ticks)

    def again_and_again(self, ticks):
        """Send one NMI to every CPU again and again, so many ticks apart."""
        self._set(self.to_all, PERIODIC, ticks)

    def begin(self):
        """Count ticks, up to LONGEST, and send nothing."""
        self._set(MASKED, ONE_SHOT, LONGEST)

    def ticks(self):
        """How many there were since ``begin``."""
        (result,) = self.probe(READ)
        assert result.vector is None, f"the timer cannot be read: vector {result.vector}"
        run_down = result.registers["rbx"] & 0x80
        return LONGEST if run_down else LONGEST - (result.registers["rcx"] & 0xFFFF)

    def stop(self):
        """Send no more."""
        self._set(MASKED, ONE_SHOT, 100, WAIT)


@pytest.fixture
def timer(target, probe):
    """The timer; silent before and after the check."""
    timer = Timer(probe)
    timer.stop()
    yield timer
    if target.phase is not None:
        timer.stop()


@pytest.mark.touchstone(
    id="teardown.nmi.between",
    title="NMIs before, between and after loading and unloading are each taken once, on every CPU",
    proves=["load-keeps-nmi", "unload-keeps-nmi", "unload-gif"],
)
def test_between(target, cycles):
    wanted = target.nmi_counts()
    for step in cycles(5):
        target.send_nmis(range(target.cpus), 3)
        wanted = [count + 3 for count in wanted]
        assert target.nmi_counts() == wanted, str(step)


@pytest.mark.touchstone(
    id="teardown.nmi.storm",
    title="After unloading, every CPU takes every NMI that is sent to it while all CPUs loop over CPUID",
    requires="os == bare and cpus >= 2 and not msr.ia32-apic-base[10]",
    claims=False,
    proves=["nmi-once", "unload-keeps-nmi", "unload-gif"],
)
def test_storm(nmi_storm):
    # Few: no hypervisor's code runs any more that one of them could come into.
    nmi_storm(3)


@pytest.mark.touchstone(
    id="teardown.nmi.one-meanwhile",
    title="One NMI to all CPUs at any moment around loading and unloading is taken once by each of them",
    requires=REACHES_ALL,
    proves=["load-keeps-nmi", "unload-keeps-nmi"],
)
def test_one_meanwhile(target, timer, cycles):
    took = {}
    timer.begin()
    for step in cycles(3):
        took[step.loaded] = min(timer.ticks(), took.get(step.loaded, LONGEST))
        timer.begin()

    def arm(cycle, loading):
        timer.once(max(1, took[loading] * cycle // SHOTS))

    before = target.nmi_counts()
    arm(1, loading=True)
    for step in cycles(SHOTS):
        wanted = [count + 1 for count in before]
        # The timer runs in the target's time: ask again until the NMIs have come.
        limit = time.monotonic() + PATIENCE
        counts = target.nmi_counts()
        while (
            any(count < want for count, want in zip(counts, wanted, strict=True)) and time.monotonic() < limit
        ):
            counts = target.nmi_counts()
        assert counts == wanted, f"{step}: NMIs before {before}, now {counts}"
        before = counts
        if step.loaded:
            arm(step.cycle, loading=False)
        elif step.cycle < SHOTS:
            arm(step.cycle + 1, loading=True)


@pytest.mark.touchstone(
    id="teardown.nmi.many-meanwhile",
    title="NMIs to all CPUs again and again do not disturb loading and unloading",
    requires=REACHES_ALL,
    proves=["load-keeps-nmi", "unload-keeps-nmi", "load-again"],
)
def test_many_meanwhile(target, timer, virtualized, cycles):
    wanted = [count + MANY for count in target.nmi_counts()]
    timer.again_and_again(PERIOD)
    limit = time.monotonic() + PATIENCE
    few = True
    while few and time.monotonic() < limit:
        for _ in cycles(5):
            pass
        few = any(count < want for count, want in zip(target.nmi_counts(), wanted, strict=True))
    timer.stop()
    assert not few, f"not {MANY} NMIs have come to every CPU in {PATIENCE} s: too little was tried"
    assert virtualized() == []  # these probes run on every CPU, which takes a pending NMI before
    counts = target.nmi_counts()
    for _ in cycles(1):
        pass
    assert target.nmi_counts() == counts, "NMIs are taken that nobody sends any more"
