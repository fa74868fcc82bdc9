"""A machine that is the subject's guest: what is not demanded of it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from tests.support.fake_target import FakeDriver
from tests.support.project import Project, check, verdicts
from touchstone.config.inventory import Target
from touchstone.config.subjects import BARE_MACHINE, Subject
from touchstone.engine.facts import emulator_of, static_facts
from touchstone.engine.known import Known
from touchstone.engine.plan import Plan
from touchstone.machine.settings import TargetSettings
from touchstone.suite import requires
from touchstone.suite.model import Requirement, Source


def facts(driver: str, **options: dict[str, str]) -> requires.Facts:
    target = Target(TargetSettings("t", driver, "amd"), "t", "here:1")
    return static_facts(target, Subject("s", "S", Path("s.toml"), options=options))


def test_the_way_in_is_known_before_anything_is_contacted() -> None:
    hosted = facts("ssh", hosted={"run": "exec x"})
    assert (hosted["os"], hosted["way"]) == ("bare", "hosted")
    assert (facts("ssh", linux={})["os"], facts("ssh")["way"]) == ("linux", "linux")
    assert facts("qemu", hosted={})["way"] == "bare"
    assert "way" not in facts("rack")


@pytest.mark.parametrize(
    ("driver", "vendor", "options", "emulator"),
    [
        ("qemu", "amd", {}, "qemu"),
        ("qemu", "amd", {"accel": "tcg"}, "qemu"),
        ("qemu", "amd", {"accel": "auto"}, None),
        ("qemu", "amd", {"accel": "kvm"}, "none"),
        ("qemu", "intel", {}, "none"),
        ("bochs", "intel", {}, "bochs"),
        ("ssh", "amd", {"image": "debian-12"}, "qemu"),
        ("ssh", "intel", {"image": "debian-12", "emulator": "bochs"}, "bochs"),
        ("ssh", "amd", {"host": "box"}, "none"),
        ("here", "amd", {}, "none"),
    ],
)
def test_the_software_cpu_under_a_box_or_a_guest_is_known(
    driver: str, vendor: Literal["amd", "intel"], options: dict[str, object], emulator: str | None
) -> None:
    """What it does wrong is no fault of KVM's, whose driver is that of the box."""
    target = Target(TargetSettings("t", driver, vendor, options=options), "t", "here:1")
    for subject in (BARE_MACHINE, Subject("s", "S", Path("s.toml"), options={"hosted": {"run": "exec x"}})):
        assert static_facts(target, subject).get("emulator") == emulator


@pytest.mark.parametrize(("accelerator", "emulator"), [("tcg", "qemu"), ("kvm", "none")])
def test_a_machine_that_kvm_may_run_says_once_it_is_reached_whose_processor_it_has(
    accelerator: str, emulator: str
) -> None:
    """``accel = "auto"`` is decided when it is started: no check of either is skipped before that."""
    settings = TargetSettings("t", "qemu", "amd", options={"accel": "auto"})
    assert emulator_of(settings) is None
    assert emulator_of(settings, accelerator) == emulator
    driver = FakeDriver(TargetSettings("t", "fake", "amd", cpus=1), BARE_MACHINE)
    driver.facts = lambda: {"accelerator": accelerator}  # type: ignore[method-assign]
    target = Target(settings, "t", "here:1")
    known = Known(target, BARE_MACHINE, static_facts(target, BARE_MACHINE), Plan().of_target("t"))
    known.info = driver.boot()
    needed = (Requirement("emulator != qemu", Source(Path("s.yaml"), 1, 1)),)
    assert requires.evaluate_all(needed, known.facts).result is None
    known.measure(driver)
    assert requires.evaluate_all(needed, known.facts).result is (emulator == "none")


def test_a_state_at_loading_needs_the_same_machine(project: Project) -> None:
    early = check("early", "nop", "{rax: 0}", **{"at-load": '{run: "nop"}'})
    late = check("late", "nop", "{rax: 0}", **{"at-unload": '{run: "nop"}'})
    project.suite(early + late + check("never", "nop", "{rax: 0}", requires="way == hosted"))
    result = project.run("-v", "-rs")  # of a driver that is not ours, the way is known once it is reached
    assert verdicts(result) == {"early": "PASSED", "late": "PASSED", "never": "SKIPPED"}
    result.stdout.fnmatch_lines(["*needs way == hosted, fake-amd has bare"])


def test_what_a_guest_does_not_have_is_not_required_of_it(project: Project) -> None:
    project.options(guest="less")
    project.suite(
        check("xsave", "nop", "{rax: 1}", requires="cpuid.xsave")
        + check("svm", "nop", "{rax: 0}", requires="cpuid.svm")
        + check("natively", "nop", "{rax: 0}", requires="cpuid.xsave", phase="native")
    )
    result = project.run("-v", "-rs")
    assert verdicts(result) == {"natively": "PASSED", "xsave": "SKIPPED", "svm": "PASSED"}
    result.stdout.fnmatch_lines(["*needs cpuid.xsave, fake-amd has 0"])
    project.options()
    assert verdicts(project.run("-v"))["xsave"] == "MACHINE"  # it is judged
