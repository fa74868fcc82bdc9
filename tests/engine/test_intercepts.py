"""What a processor's virtualization hardware does not do is measured, and no subject is blamed for it."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, cast

import pytest

from tests.support.emulators import FACTOR
from tests.support.fake_target import FakeDriver
from tests.support.project import Project, check, verdicts
from touchstone.drivers import registry
from touchstone.engine import hardware, random_campaign
from touchstone.engine.cpu_state import StateReader
from touchstone.engine.intercepts import SelfTest, batches, self_test
from touchstone.machine.driver import Driver, TargetHung, TargetInfo
from touchstone.machine.intercepts import svm, svm_state, vmx
from touchstone.machine.intercepts.made_good import MADE_GOOD
from touchstone.machine.intercepts.names import NAMES, STATE_NAMES, fact
from touchstone.machine.intercepts.row import Row, Settings
from touchstone.machine.probe import Place, ProbeRequest
from touchstone.machine.settings import TargetSettings
from touchstone.suite import random_probes
from touchstone.suite.assemble import Assembler
from touchstone.suite.model import Source
from touchstone.suite.random_probes import RandomProbe
from touchstone.suite.random_units import Unit

IGNORED_BY_QEMU = {
    7: {"exception-bp", "icebp", "invd", "msr-read-wide", "msr-write-wide", "rdtscp", "xsetbv"},
    10: {
        *("cr2-read", "cr3-read", "cr4-read", "cr8-read"),
        *("exception-bp", "msr-read-wide", "msr-write-wide", "rdtscp"),
    },
}
"""By its major version. Others have not been tried."""
LOST = {
    ("qemu", "amd", 7): {
        *("loads.breakpoints", "loads.dr6-fixed", "loads.interrupt-shadow", "loads.pat"),
        *("stores.error-code", "stores.pat"),
        *("stores.event.breakpoint", "stores.event.nmi", "stores.event.virtual-interrupt"),
        *("faults.cr4-reserved", "faults.paging-without-protection", "injects.double-fault"),
    },
    ("qemu", "amd", 10): {
        *("loads.dr6-fixed", "loads.pat", "stores.pat", "stores.event.breakpoint", "stores.event.nmi"),
        *("stores.event.virtual-interrupt", "faults.cr4-reserved", "faults.paging-without-protection"),
        *("faults.privilege.invd", "faults.privilege.wbinvd", "faults.privilege.xsetbv"),
        *("faults.xsetbv-without-osxsave", "injects.double-fault"),
    },
    ("bochs", "amd", 2): {
        *("loads.cr2", "loads.dr6-fixed", "keeps.pat", "stores.event.nmi", "stores.event.software-interrupt"),
        *("stores.event.virtual-interrupt", "injects.virtual-interrupt", "faults.privilege.xsetbv"),
    },
    ("bochs", "intel", 2): {
        *("loads.debugctl", "stores.debugctl", "stores.no-pending-step", "faults.privilege.xsetbv"),
        *("faults.privilege.invpcid", "faults.privilege.dr0-read", "faults.privilege.dr7-write"),
    },
    ("bochs", "intel", 3): {
        *("loads.debugctl", "stores.debugctl", "faults.privilege.xsetbv", "faults.privilege.invpcid"),
        *("faults.privilege.dr0-read", "faults.privilege.dr7-write"),
    },
}
"""What becomes of a guest's state otherwise than the manual says, by the emulator's major version."""
ENDS = {("bochs", "amd"): {"machine.stores.virtual-8086", "machine.faults.paging-without-protection"}}
"""What the emulator does not survive."""
MSRS = {"msr-read", "msr-read-wide", "msr-write", "msr-write-wide"}
WITHOUT_CONTROL = {
    "amd": {"vmrun", "exception-gp", "vmload", "vmsave", "hypercall-ring3"},
    "intel": {"cpuid", "invd", "xsetbv", "hypercall-ring3", *MSRS},
}
"""These exits come in any guest of ours: without nested paging, or without bitmaps, too."""


AT_CPL_3 = {
    "amd": {"hypercall-ring3", "faults.privilege.monitor", "faults.privilege.mwait"},
    "intel": {
        *("hypercall-ring3", "faults.privilege.monitor", "faults.privilege.mwait"),
        *("xsaves", "faults.xsaves-off", "faults.privilege.xsaves"),
    },
}
"""What each emulator does right whose CPU model has the instructions."""


LOADS_FS_AND_GS = ProbeRequest(
    code=bytes.fromhex("b800108ee08ee8"), code_bits=16, place=Place("virtual-8086"), timeout=30.0
)
"""MOV AX, 1000h; MOV FS, AX; MOV GS, AX: on AMD, a null selector does not clear these bases."""


def without_cpl(one: Row) -> Settings:
    """The same guest at CPL 0: it exits by its control."""
    return {at: value for at, value in one.settings.items() if at != svm_state.CPL}


def undone(rows: Sequence[Row]) -> Iterator[Row]:
    """The same statements about guests that do not change their state, or are not given another one."""
    for one in rows:
        if one.name.startswith("stores.event."):
            yield replace(one, guest="ud2" if one.guest != "ud2" else "int3")
        elif one.of_user:
            yield replace(one, toggles={}, settings=without_cpl(one), of_user=False)
        elif one.toggles and one.value == 0:
            yield replace(one, toggles={})
        elif one.name.startswith(("stores.", "vmsave.", "keeps.")):
            yield replace(one, guest="nop; nop")
        elif isinstance(one.value, int):
            yield replace(one, settings={})


@pytest.mark.parametrize(("emulator", "vendor"), [("qemu", "amd"), ("bochs", "amd"), ("bochs", "intel")])
def test_what_the_hardware_does(
    emulator: str, vendor: Literal["intel", "amd"], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = TargetSettings("intercepts", emulator, vendor, cpus=1, timeout_factor=FACTOR)
    driver = registry.make_driver(settings, None, tmp_path)
    kind = svm if vendor == "amd" else vmx
    assembler = Assembler()
    wanted = {fact(one.name) for one in (*kind.ROWS, *kind.STATE)} - ENDS.get((emulator, vendor), set())
    try:
        info = driver.start(print)
        state = StateReader(info, 30.0)
        state.learn(driver)
        self_test(driver, info, 30.0, found := SelfTest(), wanted, assembler)
        changes = state.changes(driver.run(state.request()))
        with monkeypatch.context() as known:
            known.setenv("PATH", str(tmp_path))  # where no assembler is
            self_test(driver, info, 30.0, again := SelfTest(), wanted, assembler)
        driver.run(LOADS_FS_AND_GS)
        left = state.changes(driver.run(state.request()))
        unset = tuple(replace(one, settings={}) for one in kind.ROWS if not one.may_hang)
        monkeypatch.setattr(kind, "ROWS", unset)
        monkeypatch.setattr(kind, "STATE", tuple(undone(kind.STATE)))
        self_test(driver, info, 30.0, without := SelfTest(), (), assembler)
        version = driver.emulator_version
    finally:
        driver.stop()
    assert version is not None
    assert changes is None
    assert left is None
    assert not found.asked
    assert (again.heeded, set(again.ignored)) == (found.heeded, set(found.ignored))
    assert len(found.heeded) + len(found.ignored) >= 100
    assert AT_CPL_3[vendor] <= found.heeded
    ignored = {name for name in found.ignored if name in NAMES}
    if emulator == "bochs":
        assert not ignored
    elif version[0] in IGNORED_BY_QEMU:
        assert ignored == IGNORED_BY_QEMU[version[0]]
        assert found.ignored["rdtscp"] == "exit 0x81 in the place of 0x87"
    lost = LOST.get((emulator, vendor, version[0]))
    if lost is not None:
        assert {name for name in found.ignored if name in STATE_NAMES} == lost
    if "stores.pat" in found.ignored:
        assert found.ignored["stores.pat"] == "0x7040600070406 in the place of 0x7040600070104"
    assert {name for name in without.heeded if name in NAMES} <= WITHOUT_CONTROL[vendor]
    assert {name for name in without.heeded if name in STATE_NAMES} == {"stores.interrupt-shadow-over"}
    assert len(without.ignored) >= 80


NEEDS = {"requires": "intercepts.xsetbv"}
WRONG = check("wrong", "cpuid", "{ecx: 0}", given="{rax: 1}", **NEEDS)
"""The subject sets another bit there than the machine."""
RIGHT = check("right", "mov eax, 1", "{rax: 1}", **NEEDS)
DEADLY = check("deadly", "invd", "{rax: unchanged}", **NEEDS)
OTHER = check("other", "cpuid", "{ecx: 0}", given="{rax: 1}", requires="intercepts.invd")


def finds(monkeypatch: pytest.MonkeyPatch, **ignored: str) -> None:
    """Let the self-test find what the fake machine, which runs no guests, cannot show."""

    def fake(
        driver: Driver,
        info: TargetInfo,
        timeout: float,
        found: SelfTest,
        wanted: Container[str],
        assembler: Assembler,
    ) -> None:
        found.heeded.add("invd")
        found.ignored.update(ignored)

    monkeypatch.setattr(hardware, "self_test", fake)


def test_nobody_is_blamed_for_an_exit_that_does_not_come(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    finds(monkeypatch, xsetbv="exit 0x81 in the place of 0x8d")
    project.suite(WRONG + RIGHT + DEADLY + OTHER)
    result = project.run("-v", "-rs")
    found = verdicts(result)
    assert found == {"wrong": "SKIPPED", "right": "PASSED", "deadly": "SKIPPED", "other": "FAILED"}
    result.stdout.fnmatch_lines_random(
        [
            "*needs intercepts.xsetbv, fake-amd has false (xsetbv: exit 0x81 in the place of 0x8d);"
            " without it: CPU 0: ecx: expected 0x0, *",
            "*needs intercepts.xsetbv, *; without it: guest triple fault (fake)*",
        ]
    )


def test_nobody_is_blamed_for_state_that_is_lost(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    finds(monkeypatch, **{"stores.pat": "0x6 in the place of 0x4"})
    lost, other = "machine.stores.pat", "machine.stores.dr7 and machine.loads.pat"
    project.suite(
        check("lost", "cpuid", "{ecx: 0}", given="{rax: 1}", requires=lost)
        + check("other", "cpuid", "{ecx: 0}", given="{rax: 1}", requires=other)
    )
    result = project.run("-v", "-rs")
    assert verdicts(result) == {"lost": "SKIPPED", "other": "FAILED"}
    result.stdout.fnmatch_lines_random(
        ["*needs machine.stores.pat, fake-amd has false (stores.pat: 0x6 in the place of 0x4); without it: *"]
    )


@pytest.mark.parametrize(("dr6", "word"), [(0x4001, "SKIPPED"), (0xFFFF_4FF1, "FAILED")])
def test_who_fills_dr6_is_judged_where_its_fixed_bits_are_not_loaded(
    dr6: int, word: str, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "loads.dr6-fixed"
    finds(monkeypatch, **{name: "0x4000 in the place of 0xffff4ff0"})
    way = replace(MADE_GOOD[name], code=b"\xb8" + dr6.to_bytes(4, "little"))  # the fake has no DR6
    monkeypatch.setitem(MADE_GOOD, name, way)
    project.suite(check("after", "cpuid", "{ecx: 0}", given="{rax: 1}", requires=f"machine.{name}"))
    assert verdicts(project.run("-v")) == {"after": word}


PRIVILEGE = check(
    "privilege", "cpuid", "{ecx: 0}", given="{rax: 1}", requires="machine.faults.privilege.xsetbv"
)


@pytest.mark.parametrize(("claims", "word"), [("", "SKIPPED"), ("faults-before-exits = true\n", "FAILED")])
def test_who_claims_to_raise_faults_before_exits_is_judged_where_the_processor_exits_first(
    claims: str, word: str, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    finds(monkeypatch, **{"faults.privilege.xsetbv": "exit 0x37 in the place of 0x0"})
    file = project.path / "hypervisor" / "veneer.toml"
    file.write_text(file.read_text().replace("[claims]\n", f"[claims]\n{claims}"))
    project.suite(PRIVILEGE)
    assert verdicts(project.run("-v")) == {"privilege": word}


def test_a_random_probe_at_cpl_3_requires_the_order_of_fault_and_exit() -> None:
    source = Source(Path("x"), 1, 1)
    user = RandomProbe((Unit(("xor ecx, ecx", "xsetbv")),), 3)
    needs = random_probes.as_case(user, "x", source).requires
    assert [one.text for one in needs] == ["os == bare", "machine.faults.privilege.xsetbv"]
    assert len(random_probes.as_case(replace(user, cpl=0), "x", source).requires) == 1


@pytest.mark.parametrize(("claims", "asked"), [({}, 1), ({"faults-before-exits": True}, 2)])
def test_a_campaign_asks_only_what_the_subject_can_be_held_to(
    claims: dict[str, bool], asked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = RandomProbe((Unit(("xsetbv",)),), 3)
    seen: list[RandomProbe] = []

    def differing(self: object, probes: Sequence[RandomProbe]) -> tuple[list[object], int]:
        seen.extend(probes)
        return [], 0

    session = SimpleNamespace(subject=SimpleNamespace(claims=claims))
    monkeypatch.setattr(random_campaign, "PER_ROUND", 2)
    monkeypatch.setattr(random_campaign, "random_probe", lambda _, number: replace(user, cpl=3 * number))
    monkeypatch.setattr(
        random_campaign._Runner, "__init__", lambda self, *_: setattr(self, "_session", session)
    )
    monkeypatch.setattr(random_campaign._Runner, "differing", differing)
    found = random_campaign.run_campaign(cast(Any, session), cast(Any, None), 1, 0.0, print)
    assert [probe.cpl for probe in seen] == [0, 3][:asked]
    assert found.probes == asked


def test_a_machine_that_dies_of_what_it_does_not_refuse_is_no_labs_trouble(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no oracle then: the subject cannot be asked."""
    finds(monkeypatch, **{"faults.cr4-reserved": "exit 0xffffffff in the place of 0x4d"})
    project.suite(
        check("lost", "hlt", "native", requires="machine.faults.cr4-reserved")
        + check("other", "hlt", "native", requires="machine.stores.pat")
    )
    result = project.run("-v", "-rs")
    assert verdicts(result) == {"lost": "SKIPPED", "other": "INFRASTRUCTURE"}
    result.stdout.fnmatch_lines_random(
        ["*needs machine.faults.cr4-reserved, *in the place of 0x4d); without it: it has no oracle: *"]
    )


@pytest.mark.parametrize(("lost", "word"), [("loads.breakpoints", "SKIPPED"), ("loads.pat", "CRASH")])
def test_an_unloading_that_a_machine_does_not_survive_is_its_own_doing(
    lost: str, word: str, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    finds(monkeypatch, **{lost: "exit 0x81 in the place of 0x41"})
    project.options(unload="die")
    needs = "machine.loads.breakpoints"
    project.suite(check("after", "mov eax, 1", "{rax: 1}", phase="unloaded", requires=needs))
    result = project.run("-v", "-rs")
    assert verdicts(result) == {"after": word}
    result.stdout.fnmatch_lines_random(["*did not survive unloading Veneer from fake-amd*"])


def test_who_sees_all_exits_is_blamed(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    finds(monkeypatch)
    project.suite(WRONG + RIGHT)
    assert verdicts(project.run("-v")) == {"wrong": "FAILED", "right": "PASSED"}


@pytest.mark.parametrize(
    ("alone", "words"),
    [
        ({"os": "bare"}, {"wrong": "SKIPPED", "right": "PASSED", "other": "FAILED"}),
        (None, {"wrong": "FAILED", "right": "PASSED", "other": "FAILED"}),
        ({"os": "bare", "start": "fail"}, {"wrong": "INFRASTRUCTURE", "right": "PASSED", "other": "FAILED"}),
    ],
)
def test_the_processor_of_a_box_is_tested_without_its_os(
    alone: dict[str, str] | None,
    words: dict[str, str],
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Once a check does not hold that rests on it: it takes a boot."""

    def fake(
        driver: Driver,
        info: TargetInfo,
        timeout: float,
        found: SelfTest,
        wanted: Container[str],
        assembler: Assembler,
    ) -> None:
        if info.os == "bare":
            assert "intercepts.xsetbv" in wanted
            found.heeded.add("invd")
            found.ignored["xsetbv"] = "exit 0x81 in the place of 0x8d"

    def without_os(self: FakeDriver) -> FakeDriver | None:
        if alone is None:
            return None
        return FakeDriver(
            replace(self.settings, name="alone", options={**self.settings.options, **alone}), self.subject
        )

    monkeypatch.setattr(hardware, "self_test", fake)
    monkeypatch.setattr(FakeDriver, "without_os", without_os)
    project.options(os="linux")
    project.suite(RIGHT + WRONG + OTHER)
    result = project.run("-v", "-rs")
    assert verdicts(result) == words
    told = [line for line in project.journal() if line.startswith("alone")]
    assert told == ([] if alone is None else ["alone start", "alone stop"])
    project.suite(RIGHT)
    assert verdicts(project.run("-v")) == {"right": "PASSED"}
    project.suite(WRONG)
    assert verdicts(project.run("-v", "--hypervisor=none")) == {"wrong": "FAILED"}
    assert [line for line in project.journal() if line.startswith("alone")] == told


def test_the_machine_without_a_subject_is_not_excused(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    finds(monkeypatch, xsetbv="exit 0x81 in the place of 0x8d")
    project.suite(WRONG)
    assert verdicts(project.run("-v", "--hypervisor=none")) == {"wrong": "FAILED"}


def test_a_machine_that_is_lost_in_the_test_is_reset(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of two in a request is at fault: they are asked one by one."""
    innocent, deadly = Row("dr0-read", "nop", 0x20), Row("wbinvd", "wbinvd", 0x89)
    seen: list[list[str]] = []

    def fake(
        driver: Driver,
        info: TargetInfo,
        timeout: float,
        found: SelfTest,
        wanted: Container[str],
        assembler: Assembler,
    ) -> None:
        left = [one for one in (innocent, deadly) if found.is_to_ask(one, wanted)]
        for batch in batches(left, found.suspects):
            found.asked = batch
            seen.append([one.name for one in batch])
            if deadly in batch:
                raise TargetHung("no answer")
            found.heeded |= {one.name for one in batch}

    monkeypatch.setattr(hardware, "self_test", fake)
    project.options()
    waits = check("waits", "cpuid", "{ecx: 0}", given="{rax: 1}", requires="intercepts.wbinvd")
    project.suite(RIGHT + waits)
    result = project.run("-v", "-rs")
    assert verdicts(result) == {"right": "PASSED", "waits": "SKIPPED"}
    assert seen == [["dr0-read", "wbinvd"], ["dr0-read"], ["wbinvd"]]
    result.stdout.fnmatch_lines_random(
        ["*needs intercepts.wbinvd, * (wbinvd: the machine is lost: guest triple*"]
    )
    told = [line.split()[1] for line in project.journal()]
    assert told[:5] == ["start", "autopsy", "reset", "autopsy", "reset"]


def test_what_a_machine_may_not_survive_is_asked_if_a_check_needs_it() -> None:
    found = SelfTest()
    hlt = Row("hlt", "hlt", 0x78, may_hang=True)
    assert not found.is_to_ask(hlt, {"intercepts.cpuid"})
    assert found.is_to_ask(hlt, {"intercepts.hlt"})
    assert found.is_to_ask(replace(hlt, may_hang=False), ())
    found.heeded.add("hlt")
    assert not found.is_to_ask(hlt, {"intercepts.hlt"})


def test_what_nobody_asks_for_is_not_tested(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def fake(
        driver: Driver,
        info: TargetInfo,
        timeout: float,
        found: SelfTest,
        wanted: Container[str],
        assembler: Assembler,
    ) -> None:
        raise AssertionError("nobody has asked")

    monkeypatch.setattr(hardware, "self_test", fake)
    project.suite(check("plain", "mov eax, 1", "{rax: 1}"))
    assert verdicts(project.run("-v")) == {"plain": "PASSED"}
