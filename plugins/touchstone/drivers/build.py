"""Building the bare images: ``make -C targets/bare``, one at a time, and the compiler's words."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from touchstone.drivers.tool import run_tool, tail_of
from touchstone.machine.driver import InfrastructureError

LOCK_TIMEOUT = 600.0
"""Seconds to wait for another run that builds."""


@dataclass(frozen=True)
class BareImage:
    """The three files of a bare image."""

    elf: Path
    """Multiboot image for QEMU's ``-kernel``."""
    symbols: Path
    """ELF64 with symbols and line numbers; never loaded."""
    disk: Path
    """Raw disk image with a boot sector, for Bochs."""

    @classmethod
    def named(cls, name: str, directory: Path) -> BareImage:
        """The image of a subject (``none`` for the bare machine) in a build directory."""
        stem = directory / f"bare-{name}"
        return cls(Path(f"{stem}.elf"), Path(f"{stem}.elf64"), Path(f"{stem}.img"))

    @classmethod
    def beside(cls, elf: Path) -> BareImage:
        """The image whose multiboot file is ``elf``, with the other two beside it."""
        return cls(elf, elf.with_suffix(".elf64"), elf.with_suffix(".img"))


def repository_root(start: Path | None = None) -> Path:
    """The checkout that ``start`` (default: this file) is in: where ``targets/bare`` is."""
    here = (start or Path(__file__)).resolve()
    for directory in (here, *here.parents):
        if (directory / "targets" / "bare").is_dir():
            return directory
    raise InfrastructureError(
        f"no checkout of Touchstone around {here}: targets/bare is needed to build a target's image"
    )


def subject_name(subject: Path) -> str:
    """The name that a subject's ``subject.mk`` gives it."""
    path = subject / "subject.mk"
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InfrastructureError(f"{path}: {error.strerror}: a subject says there what to build") from None
    if match := re.search(r"^SUBJECT_NAME\s*[:?]?=\s*(\S+)\s*$", text, re.MULTILINE):
        return match[1]
    raise InfrastructureError(f"{path}: it does not set SUBJECT_NAME")


def build_bare(
    subject: Path | None,
    progress: Callable[[str], None] = lambda _: None,
    *,
    root: Path | None = None,
    directory: Path | None = None,
) -> BareImage:
    """Build the bare image of a subject, or find that it is up to date.

    ``subject`` is the directory of the subject's sources (with a ``subject.mk``), None for the bare machine.
    ``directory`` takes the files (default: ``build`` in the checkout). InfrastructureError with the
    compiler's message.
    """
    root = root or repository_root()
    source = (root / "targets" / "bare").resolve()
    out = (directory or root / "build").resolve()
    name = "none" if subject is None else subject_name(subject)
    # Relative names, as bootstrap gives them: make takes a space in a path for the end of a name.
    command = ["make", "-C", str(source), "--no-print-directory", f"-j{os.cpu_count() or 1}"]
    command.append(f"BUILD={os.path.relpath(out, source)}")
    if subject is not None:
        command.append(f"SUBJECT={os.path.relpath(subject.resolve(), source)}")
    if shutil.which("make") is None:
        raise InfrastructureError("make is missing (apt-get install make gcc)")
    out.mkdir(parents=True, exist_ok=True)
    lock = FileLock(out / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        progress(f"waiting for another run that builds in {out}")
        try:
            lock.acquire(timeout=LOCK_TIMEOUT)
        except Timeout:
            raise InfrastructureError(
                f"another run has been building in {out} for {LOCK_TIMEOUT:g} s"
            ) from None
    try:
        _make(command, progress, name)
    finally:
        lock.release()
    image = BareImage.named(name, out)
    for path in (image.elf, image.symbols, image.disk):
        if not path.exists():
            raise InfrastructureError(f"{' '.join(command)} succeeded, but made no {path}")
    return image


def _make(command: list[str], progress: Callable[[str], None], name: str) -> None:
    query = subprocess.run([*command, "-q"], capture_output=True, check=False)
    if query.returncode == 0:
        return
    progress(f"building the bare image of {name}")
    # Silent: a failure shows the compiler's words, not its command lines.
    status, output = run_tool([*command, "--silent"])
    if status:
        raise InfrastructureError(f"{' '.join(command)} failed:\n{tail_of(output)}")
