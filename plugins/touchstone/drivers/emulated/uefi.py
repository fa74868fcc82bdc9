"""What a machine with a UEFI firmware boots: our application, and the subject's program before it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from touchstone.drivers.build_cache import BuildCache, Recipe
from touchstone.drivers.emulated.boot_disk import write_boot_disk
from touchstone.drivers.sources import build_in_copy, hash_sources
from touchstone.machine.driver import HostError, Say
from touchstone.shipped import build_directory, source_root

APPLICATION = "EFI/BOOT/BOOTX64.EFI"
"""What a firmware starts of a disk that it knows nothing of (UEFI 2.10, 3.5.1.1)."""
SUBJECT = "EFI/SUBJECT/SUBJECT.EFI"
"""Where our application looks for the subject's program (targets/bare/uefi.c)."""
SYMBOLS = ".elf"
"""Suffix of the ELF file beside a program, of the same name, that has its symbols."""
KEPT = 3
"""How many builds of one name are kept."""

ProvideProgram = Callable[[Say], Path]
"""Has the subject's program in a file when it is needed, not before. HostError."""


@dataclass(frozen=True)
class UefiProgram:
    """A subject as the ``[deploy.uefi]`` of its file describes it."""

    name: str
    title: str
    file: str
    """What is built, relative to ``{build}``; or what is there, relative to the subject's file."""
    directory: Path
    """Of the subject's file."""
    sources: Path | None = None
    build: str = ""
    """Shell command, run in a copy of ``sources``. ``{build}`` is an empty directory for what it makes,
    ``{uefi}`` that of targets/uefi, with headers and a linker script for whoever wants them.
    """

    def provide(self, progress: Say) -> Path:
        """The program's file, built unless there is one of the same sources. HostError."""
        if self.sources is None:
            path = self.directory / self.file
            if not path.is_file():
                raise HostError(f"there is no {path}, the program of {self.title}")
            return path
        sources, ours = self.sources, source_root() / "targets" / "uefi"
        name = Path(self.file).name
        symbols = str(Path(self.file).with_suffix(SYMBOLS))

        def key() -> str:
            more = hash_sources(ours, "targets/uefi")
            return hash_sources(sources, self.title, self.build, self.file, symbols, more)

        def make(into: Path) -> None:
            progress(f"building the UEFI program of {self.name}")
            what = f"the UEFI program of {self.title}"
            build_in_copy(sources, self.build, {"uefi": str(ours)}, [self.file, symbols], into, what)

        recipe = Recipe(self.name, f"the UEFI program of {self.title}", (name,), key, make)
        return BuildCache(build_directory() / "uefi", KEPT).provide(recipe, progress) / name


def write_disk(path: Path, application: Path, subject: Path | None) -> None:
    """Write the disk of a machine, with the subject's program or without."""
    files = {APPLICATION: application.read_bytes()}
    if subject is not None:
        files[SUBJECT] = subject.read_bytes()
    try:
        write_boot_disk(path, files)
    except ValueError as error:
        raise HostError(f"{subject}: {error}") from None
