"""Building the bare images with ``make -C targets/bare``: once for the same sources, flags and tools.

``python -m touchstone.drivers.build [SUBJECT...]`` builds the image without a subject and those of the
directories named.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from touchstone.drivers.build_cache import BuildCache, Recipe
from touchstone.drivers.tool import run_tool, tail_of
from touchstone.machine.driver import HostError, InfrastructureError, Say
from touchstone.shipped import build_directory, source_root

KEPT = 6
"""How many images of one name are kept; one takes about 1 MiB of the disk."""
SOURCES = (
    *(".c", ".h", ".S", ".s", ".asm", ".inc", ".def", ".ld", ".lds", ".mk"),
    *(".cc", ".cpp", ".cxx", ".hh", ".hpp", ".hxx", ".inl", ".ipp", ".tpp"),
)
"""Names of files in a subject's directory that an image may depend on end like this."""


@dataclass(frozen=True)
class BareImage:
    """The four files of a bare image."""

    elf: Path
    """Multiboot image for QEMU's ``-kernel``."""
    symbols: Path
    """ELF64 with symbols and line numbers; never loaded."""
    disk: Path
    """Raw disk image with a boot sector, for Bochs."""
    efi: Path
    """UEFI application that boots the image."""

    @property
    def files(self) -> tuple[Path, ...]:
        """All of them."""
        return self.elf, self.symbols, self.disk, self.efi

    @classmethod
    def named(cls, name: str, directory: Path) -> BareImage:
        """The image of a subject (``none`` for the bare machine) in the directory that it was built in."""
        stem = directory / f"bare-{name}"
        return cls(*(Path(f"{stem}.{suffix}") for suffix in ("elf", "elf64", "img", "efi")))

    @classmethod
    def beside(cls, elf: Path) -> BareImage:
        """The image whose multiboot file is ``elf``, with the others beside it."""
        return cls(elf, *(elf.with_suffix(suffix) for suffix in (".elf64", ".img", ".efi")))


@dataclass(frozen=True)
class MovedImage(BareImage):
    """A bare image for payloads, elsewhere than at 1 MiB: ``disk`` and ``efi`` do not exist."""

    @property
    def files(self) -> tuple[Path, ...]:
        """Those that are built."""
        return self.elf, self.symbols


def subject_name(subject: Path) -> str:
    """The name that a subject's ``subject.mk`` gives it."""
    path = subject / "subject.mk"
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise HostError(f"{path}: {error.strerror}: a subject says there what to build") from None
    if match := re.search(r"^SUBJECT_NAME\s*[:?]?=\s*(\S+)\s*$", text, re.MULTILINE):
        return match[1]
    raise HostError(f"{path}: it does not set SUBJECT_NAME")


def build_bare(
    subject: Path | None,
    progress: Say = lambda _: None,
    *,
    root: Path | None = None,
    directory: Path | None = None,
    base: int | None = None,
    x2apic: bool = False,
) -> BareImage:
    """The bare image of a subject, built unless there is one of the same sources, flags and tools.

    ``base``: the address of one for payloads (``MovedImage``). ``x2apic``: it has all CPUs in x2APIC mode.

    ``subject`` is the directory of the subject's sources (with a ``subject.mk``), None for the bare machine.
    The image is in a directory of its own below ``directory``/bare (default: :func:`build_directory`), and
    is not removed before this process ends. InfrastructureError with the compiler's message.
    """
    name = "none" if subject is None else subject_name(subject)
    sources = BareSources((root or source_root()) / "targets" / "bare", subject, name, base, x2apic=x2apic)
    kind = BareImage if base is None else MovedImage
    if shutil.which("make") is None:
        raise HostError("make is missing (apt-get install make gcc)")

    def make(into: Path) -> None:
        progress(f"building the bare image of {name}")
        sources.make(into)

    title = f"the bare image of {name}"
    files = tuple(path.name for path in kind.named(name, Path()).files)
    cache = BuildCache((directory or build_directory(root)) / "bare", KEPT)
    kept_as = f"{name}{'-x2apic' if x2apic else ''}{'' if base is None else '-payloads'}"
    recipe = Recipe(kept_as, title, files, sources.key, make)
    return kind.named(name, cache.provide(recipe, progress))


class BareSources:
    """What a bare image is made of: ``targets/bare`` with its Makefile, and a subject's directory."""

    def __init__(
        self, source: Path, subject: Path | None, name: str, base: int | None = None, *, x2apic: bool = False
    ) -> None:
        self._source = source.resolve()
        self._name = name
        self._base = base
        self._x2apic = x2apic
        # A relative name, as bootstrap gives it: make takes a space in a path for the end of a name.
        self._subject = None if subject is None else os.path.relpath(subject.resolve(), self._source)

    def key(self) -> str:
        """A hash of the tools' versions, the flags and all files that the image may depend on."""
        description = self._run("describe", "--silent")
        digest = hashlib.sha256(description)
        for name in sorted(self._inputs(description)):
            path = os.path.join(self._source, name)
            try:
                with open(path, "rb") as file:
                    content = file.read()
            except OSError as error:
                raise HostError(f"{path}: {error.strerror}: {self._name} is built from it") from None
            digest.update(os.fsencode(name) + b"\0" + hashlib.sha256(content).digest())
        return digest.hexdigest()[:16]

    def make(self, into: Path) -> None:
        """Build into an empty directory. InfrastructureError with the compiler's words."""
        inputs = self._inputs(self._run("describe", "--silent"))
        # Silent: a failure shows the compiler's words, not its command lines.
        goals = [] if self._base is None else ["for-payloads"]
        build = f"BUILD={os.path.relpath(into, self._source)}"
        self._run("--silent", f"-j{len(os.sched_getaffinity(0))}", build, *goals)
        used = {os.path.normpath(name) for path in into.rglob("*.d") for name in _dependencies(path)}
        if missed := sorted(used - inputs):
            directory = self._subject or "."
            names = ", ".join(os.path.relpath(name, directory) for name in missed)
            make = os.path.normpath(os.path.join(self._source, directory, "subject.mk"))
            raise HostError(
                f"the bare image of {self._name} includes {names}, and a change of it would go unnoticed: "
                f"name it in SUBJECT_INPUTS of {make}, in these words. Without that count files in the "
                f"directory of subject.mk whose names end with {' '.join(SOURCES)}"
            )
        shutil.rmtree(into / "obj", ignore_errors=True)

    def _inputs(self, description: bytes) -> set[str]:
        """The files that ``make describe`` names, and the sources in the directories that it names.

        Names are relative to ``targets/bare`` and normal, and text, not paths: they are many.
        """
        found: set[str] = set()
        for line in os.fsdecode(description).splitlines():
            word, *names = line.split() or [""]
            for name in names if word == "input" else ():
                path = os.path.join(self._source, name)
                if os.path.isdir(path):
                    found.update(os.path.normpath(os.path.join(name, inner)) for inner in _sources(path))
                elif os.path.isfile(path):
                    found.add(os.path.normpath(name))
        return found

    def _run(self, *arguments: str) -> bytes:
        command = ["make", "-C", str(self._source), "--no-print-directory", *arguments]
        if self._subject is not None:
            command.append(f"SUBJECT={self._subject}")
        if self._base is not None:
            command.append(f"IMAGE_BASE={self._base:#x}")
        if self._x2apic:
            command.append("APIC=x2apic")
        status, output = run_tool(command)
        if status:
            raise HostError(f"{' '.join(command)} failed:\n{tail_of(output)}")
        return output


def _sources(directory: str) -> Iterator[str]:
    for parent, names, files in os.walk(directory):
        names[:] = [name for name in names if not name.startswith(".")]
        inner = os.path.relpath(parent, directory)
        for name in files:
            if name.endswith(SOURCES) and not name.startswith("."):
                yield os.path.join(inner, name)


def _dependencies(path: Path) -> Iterator[str]:
    """What a list of dependencies that the compiler wrote (``-MMD``) names."""
    for line in path.read_text(encoding="utf-8").replace("\\\n", " ").splitlines():
        yield from line.partition(":")[2].split()


def main(arguments: list[str]) -> int:
    """Build images, with what happens on standard error. The exit status."""
    try:
        for subject in (None, *map(Path, arguments)):
            build_bare(subject, lambda step: print(step, file=sys.stderr))
    except InfrastructureError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
