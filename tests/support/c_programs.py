"""The C programs of tests/hypervisor, which have files of Veneer in them, and how they are compiled.

Every one ends with status 0 and the line ``all passed``, or says at which line of its C files it failed. The
sanitizers are a part of that: what reads behind an array of Veneer fails, whatever it finds there.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.support.checkout import ROOT

HERE = ROOT / "tests" / "hypervisor"
HYPERVISOR = ROOT / "hypervisor"
COMMAND = (
    *("gcc", "-std=gnu11", "-g", "-O1", "-Wall", "-Wextra", "-Werror", "-pthread"),
    *("-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
)
PASSED = "all passed\n"


@dataclass(frozen=True)
class Program:
    """One of them."""

    files: tuple[str, ...]
    """Files of Veneer, below ``hypervisor/``."""
    tests: tuple[Path, ...]
    """C files of the tests."""
    flags: tuple[str, ...] = ()
    linked: tuple[str, ...] = ()
    """What the linker is told."""
    included: tuple[tuple[str, Path], ...] = ()
    """Files of Veneer that one of the tests includes, to reach what is static in them; and which test."""

    @property
    def covered(self) -> tuple[str, ...]:
        """All files of Veneer that are in it."""
        return (*self.files, *(file for file, _ in self.included))

    def sources(self, hypervisor: Path) -> list[Path]:
        """All of its files, with those of Veneer from this folder."""
        return [*(hypervisor / name for name in self.files), *self.tests]

    def command(self, hypervisor: Path, *, more: Iterable[str] = ()) -> list[str]:
        """The compiler and its flags, without files."""
        return [*COMMAND, f"-I{hypervisor}", *self.flags, *more]

    def build(self, to: Path, *, more: Iterable[str] = ()) -> None:
        """Compile it at once. AssertionError with what the compiler says."""
        command = [*self.command(HYPERVISOR, more=more), *self.linked, "-o", str(to)]
        built = subprocess.run(
            [*command, *map(str, self.sources(HYPERVISOR))], capture_output=True, text=True, check=False
        )
        assert built.returncode == 0, built.stderr


def run(program: Path) -> subprocess.CompletedProcess[str]:
    """Run a program that has been built."""
    return subprocess.run([str(program)], capture_output=True, text=True, check=False, timeout=600)


def expect_passed(program: Path) -> None:
    """Run it. AssertionError with what it says if it does not pass."""
    ran = run(program)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == PASSED


def _of_veneer(*rooms: str, without: Iterable[str] = ()) -> tuple[str, ...]:
    paths = sorted(path for room in rooms for path in (HYPERVISOR / room).glob("*.c"))
    return tuple(str(path.relative_to(HYPERVISOR)) for path in paths if path.stem not in without)


def _fake_processor() -> tuple[str, ...]:
    return (f"-I{HERE / 'processor'}", "-include", "fake_x86.h")


PROGRAMS = {
    # The vendor-neutral core, and the memory types of VMX. The functions behind --wrap are privileged: the
    # harness has its own.
    "core": Program(
        (
            *(
                f"core/{name}.c"
                for name in ("completion", "counters", "decode", "fault", "host_state", "lifecycle")
            ),
            *(
                "core/memory.c",
                "core/vcpus.c",
                "core/fault_entry.S",
                "core/safe_instructions.S",
                "hosts/shared/meet.c",
                "vmx/mtrr.c",
            ),
        ),
        tuple(sorted(HERE.glob("*.c"))),
        ("-include", str(HERE / "counted_pause.h")),
        linked=("-Wl,--wrap=catch_faults", "-Wl,--wrap=stop_catching_faults"),
        included=(("vmx/ept.c", HERE / "memory_types.c"),),
    ),
    # Both backends on processors that no emulator has, without what neither a backend nor a handler of exits
    # needs.
    "processor": Program(
        _of_veneer(*("core", "svm", "vmx"), without=("counters", "fault", "lifecycle", "query")),
        tuple(sorted((HERE / "processor").glob("*.c"))),
        _fake_processor(),
    ),
    # The crash reports of CPUs that die at the same time.
    "crash": Program(("core/crash_report.c",), (HERE / "crash" / "two_reports.c",), _fake_processor()),
    # Veneer as a driver of a UEFI firmware, from its entry on, with a firmware and a core of the test's.
    "uefi": Program(
        (*_of_veneer("hosts/uefi"), "hosts/shared/meet.c"),
        tuple(sorted((HERE / "uefi").glob("*.c"))),
        (f"-I{ROOT / 'targets' / 'uefi'}", f"-I{HERE / 'uefi'}", "-include", "in_user_space.h"),
    ),
}
