"""The functions of a module that a stopped machine's CPUs are in."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.ssh.lab import Lab
from touchstone.drivers.ssh.module_code import (
    ModuleCode,
    located,
    module_name,
    read_sections,
    sections_script,
)
from touchstone.machine.driver import Autopsy, TargetDied, TargetHung

TEXT, NO_TRACE = 0xFFFF_FFFF_C040_0000, 0xFFFF_FFFF_C060_0000
MODULE = """
.text
.skip 0x10
.type handle_invd, @function
handle_invd: jmp handle_invd
.skip 0xe
.type wait, @function
wait: jmp wait
.skip 0xe
.section .noinstr.text, "ax"
.type exited, @function
exited: .skip 0x20
.data
.type counters, @object
counters: .skip 0x20
"""
OF_KERNEL = ("0xffffffff81000006 default_idle+0x6", "0xffffffff81000100 do_idle+0x10")


@pytest.fixture
def module(tmp_path: Path) -> ModuleCode:
    file = tmp_path / "my-hypervisor.ko"
    subprocess.run(["as", "--64", "-o", str(file), "-"], input=MODULE, text=True, check=True)
    return ModuleCode(file, {".text": TEXT, ".noinstr.text": NO_TRACE})


def stopped_at(rip: int) -> tuple[str, ...]:
    return f"{rip:#x} (not in the image)", OF_KERNEL[1]


def test_an_address_is_in_the_function_before_it_of_its_section(module: ModuleCode) -> None:
    assert module.find(TEXT + 0x10) == ("handle_invd", 0)
    assert module.find(TEXT + 0x1F) == ("handle_invd", 0xF)
    assert module.find(TEXT + 0x2F) == ("wait", 0xF)
    assert module.find(NO_TRACE + 4) == ("exited", 4)
    # Before the first function, and behind the section.
    assert [module.find(at) for at in (TEXT, TEXT + 0x30, NO_TRACE + 0x20, 0)] == [None] * 4


def test_a_loop_is_one_place_whatever_instruction_it_was_stopped_at(module: ModuleCode) -> None:
    causes = {located({0: OF_KERNEL, 1: stopped_at(TEXT + at)}, [module])[1] for at in (0x10, 0x11, 0x1F)}
    assert causes == {"in handle_invd (my-hypervisor.ko)"}


def test_places_of_several_cpus_are_told_in_one_order(module: ModuleCode) -> None:
    stopped = {0: stopped_at(TEXT + 0x20), 1: stopped_at(NO_TRACE), 2: OF_KERNEL, 3: ()}
    frames, cause = located(stopped, [module])
    assert cause == "in exited (my-hypervisor.ko); in wait (my-hypervisor.ko)"
    assert frames[0] == (f"{TEXT + 0x20:#x} wait+0x0 (my-hypervisor.ko)", OF_KERNEL[1])
    assert (frames[2], frames[3]) == (OF_KERNEL, ())
    again, same = located({5: stopped_at(NO_TRACE), 6: stopped_at(TEXT + 0x22)}, [module])
    assert same == cause
    assert again[6][0].startswith(f"{TEXT + 0x22:#x} wait+0x2 ")


def test_a_kernel_that_waits_says_nothing(module: ModuleCode) -> None:
    assert located({0: OF_KERNEL, 1: stopped_at(0xF0000000)}, [module])[1] == ""


def test_what_the_box_says_of_its_sections(tmp_path: Path) -> None:
    """With a kernel's directory in the place of /sys/module."""
    sections = tmp_path / "my_hypervisor" / "sections"
    sections.mkdir(parents=True)
    (sections / ".text").write_text("0xffffffffc0400000\n")
    (sections / ".noinstr.text").write_text("0xffffffffc0600000\n")
    (sections / ".data").write_text("0xffffffffc0700000\n")
    script = sections_script([module_name(Path("my-hypervisor.ko")), "other"])
    done = subprocess.run(
        ["sh", "-c", f"echo inserted; {script.replace('/sys/module', str(tmp_path))}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stderr == ""
    assert read_sections(done.stdout) == {"my_hypervisor": {".text": TEXT, ".noinstr.text": NO_TRACE}}


@pytest.mark.parametrize("hangs", [True, False])
def test_an_autopsy_of_a_box_names_the_function_of_the_subject(
    lab: Lab, module: ModuleCode, monkeypatch: pytest.MonkeyPatch, hangs: bool
) -> None:
    driver = lab.driver(subject=lab.subject())
    driver.start(lab.progress)
    driver.load()
    (built,) = driver._files_of_subject
    assert built.name == "mine.ko"
    assert driver._visit is not None
    driver._visit.installation.sections["mine"] = {".text": TEXT}
    monkeypatch.setattr(driver, "_files_of_subject", [module.file.rename(module.file.with_name("mine.ko"))])
    found = Autopsy("stopped", {0: "RIP=..."}, {0: stopped_at(TEXT + 0x12)})
    monkeypatch.setattr(driver._box, "autopsy", lambda: found)
    driver._lost = TargetHung("no answer to run") if hangs else TargetDied("panic")
    autopsy = driver.autopsy()
    assert autopsy.backtraces[0][0] == f"{TEXT + 0x12:#x} handle_invd+0x2 (mine.ko)"
    assert autopsy.cause == ("in handle_invd (mine.ko)" if hangs else "")
    driver._lost = None
