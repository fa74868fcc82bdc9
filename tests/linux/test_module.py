"""veneer.ko in stock Debian kernels: it builds without a warning, and a busy Linux does not notice it.

On AMD, in QEMU; test_module_vmx.py has the other vendor.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.support.linux import linux_machine
from tests.support.linux.qemu_machine import REFUSED_CPU, expect_no_bugs, run_qemu


@pytest.fixture(scope="module", params=linux_machine.STOCK_KERNELS)
def kernel(request: pytest.FixtureRequest) -> linux_machine.Kernel:
    return linux_machine.get_kernel(request.param)


def test_module_builds_without_a_warning(kernel: linux_machine.Kernel) -> None:
    # Not where the other tests' module is, which they use meanwhile when two runs share a checkout.
    with tempfile.TemporaryDirectory(prefix="linux-test-", dir=linux_machine.BUILD) as directory:
        module, said = linux_machine.build_module(kernel, Path(directory))
        assert module.is_file()
        assert not re.search(r"warning|objtool|modpost:|skipping", said, re.IGNORECASE), said
        _, said = linux_machine.build_module(kernel, Path(directory))
        assert said == "", "there was nothing to do"


def test_module_sections_are_pages_of_their_own(kernel: linux_machine.Kernel) -> None:
    module = linux_machine.shared_module(kernel)
    command = ["readelf", "--wide", "--sections", str(module)]
    table = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for name in (r"\.noinstr\.text", r"\.veneer\.rodata", r"\.veneer\.data"):
        found = re.search(rf"{name} +(?:PROGBITS|NOBITS) +\w+ \w+ (\w+) .* (\d+)$", table, re.MULTILINE)
        assert found, table
        assert int(found[1], 16) % 4096 == 0
        assert found[2] == "4096"
    # The kernel patches what these sections point to, and host mode is not to be patched.
    command = ["readelf", "--wide", "--relocs", str(module)]
    relocations = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for block in relocations.split("Relocation section '")[1:]:
        if re.match(r"\.rela\.?(\w+_sites|altinstructions|smp_locks|ibt_endbr_seal|__\w+)'", block):
            assert ".noinstr.text" not in block


@pytest.mark.parametrize(
    ("name", "cycles"),
    [
        ("debian-12", 25),  # the other kernel is that of test_five_level_paging
        *(pytest.param(name, 200, marks=pytest.mark.nightly) for name in linux_machine.STOCK_KERNELS),
    ],
)
def test_busy_linux_does_not_notice(name: str, cycles: int, tmp_path: Path) -> None:
    kernel = linux_machine.get_kernel(name)
    words = f"cycles={cycles} quiet-cycles={cycles} hotplug={min(cycles, 50) // 10}"
    boot_loader = cycles == 200  # by night
    output = run_qemu(kernel, tmp_path, "EPYC,+svm,+npt", 4, words, boot_loader=boot_loader)
    linux_machine.expect_all(output)


def test_kvm_has_its_place_behind_a_refusal(tmp_path: Path) -> None:
    kernel = linux_machine.oldest_kernel()
    output = run_qemu(kernel, tmp_path, REFUSED_CPU, 2, "refused=1")
    linux_machine.expect_ok(linux_machine.REFUSED_TESTS, output)


@pytest.mark.parametrize("release", linux_machine.each_debug_kernel())
def test_a_kernel_that_looks_for_bugs_finds_none(release: str, tmp_path: Path) -> None:
    kernel = linux_machine.get_debug_kernel(release)
    output = run_qemu(kernel, tmp_path, "EPYC,+svm,+npt", 4, "cycles=200")
    linux_machine.expect_all(output)
    expect_no_bugs(output)


def test_five_level_paging(tmp_path: Path) -> None:
    """The direct map is where four levels do not reach, and nested tables have five levels as well."""
    kernel = linux_machine.newest_kernel()
    words = "cycles=5 quiet-cycles=12 hotplug=2"
    output = run_qemu(kernel, tmp_path, "EPYC,+svm,+npt,+la57", 2, words, boot_loader=True)
    assert "# 2 CPUs, 5 levels of page tables" in output, output
    linux_machine.expect_all(output)


@pytest.mark.nightly
def test_emulator_keeps_up_when_linux_patches_itself(tmp_path: Path) -> None:
    """Without Veneer: what would fail here would be blamed on it elsewhere. See ``accelerator``."""
    kernel = linux_machine.newest_kernel()
    output = run_qemu(kernel, tmp_path, "EPYC,+svm,+npt", 4, "poke=40 oops=panic")
    assert re.search(r"^ok poke\r?$", output, re.MULTILINE), output


def test_last_words_get_out(tmp_path: Path) -> None:
    """In host mode no kernel is mapped: the report finds the serial port by itself; the machine restarts."""
    kernel = linux_machine.oldest_kernel()
    linux_machine.expect_last_words(run_qemu(kernel, tmp_path, "EPYC,+svm,+npt", 2, "die=1 reboot=t"))
