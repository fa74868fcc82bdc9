"""The payloads of tests/payloads, built."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.support.checkout import ROOT

FLAGS = [
    *("-m32", "-O1", "-Wall", "-Wextra", "-Werror", "-ffreestanding", "-mgeneral-regs-only"),
    *("-fno-pic", "-fno-pie", "-fno-stack-protector", "-fcf-protection=none"),
    *("-fno-asynchronous-unwind-tables", "-nostdlib", "-static", "-no-pie", "-Wl,--build-id=none"),
    *("-Wl,-z,noexecstack", "-Wl,-z,max-page-size=4096"),
    *("-Wl,--section-start=.header=0x100000", "-Wl,-Ttext=0x101000"),
]


def build_sample(directory: Path, *flags: str) -> Path:
    """The Multiboot program ``sample`` in a directory."""
    return _build(directory / "sample", ("entry.S", "sample.c"), flags)


def build_cpus(directory: Path, *flags: str) -> Path:
    """The Multiboot program ``cpus``, which starts the other CPUs."""
    return _build(directory / "cpus", ("cpus_entry.S", "cpus.c"), flags)


def _build(program: Path, names: tuple[str, ...], flags: tuple[str, ...]) -> Path:
    sources = [str(ROOT / "tests" / "payloads" / name) for name in names]
    subprocess.run(["gcc", *FLAGS, *flags, "-o", str(program), *sources], check=True)
    return program
