"""Programs and kernels from Debian packages that are unpacked below ``build``: nothing is installed.

They are fetched by the same means, and into the same place, as those of which the Linux boxes are made.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from filelock import FileLock

from tests.support.checkout import ROOT
from touchstone.drivers.linux_image.packages import Archive
from touchstone.drivers.linux_image.recipe import read_recipe

IMAGES = ROOT / "build" / "images"
UNPACKED = ROOT / "build" / "tests"
HOST_LIBRARIES = ("libc6", "libc-bin", "libgcc-s1", "libstdc++6")
"""Never unpacked: a program of this host has to load them together with the dynamic linker of this host."""


def host_recipe() -> str:
    """The recipe with packages of this host's release. Elsewhere Debian 12's, which newer systems can run."""
    codename = platform.freedesktop_os_release().get("VERSION_CODENAME")
    return "debian-13" if codename == "trixie" else "debian-12"


def unpacked(
    name: str,
    wanted: Sequence[str],
    recipe: str,
    keep: Sequence[str],
    finish: Callable[[Path], None] = lambda directory: None,
) -> Path:
    """The directory ``name`` with some packages of a recipe's release in it, and what they depend on.

    Of all those, only the ones that match a pattern of ``keep``. ``finish`` is called once, before
    the directory has its name. One process unpacks, others wait for it.
    """
    directory = UNPACKED / name
    if directory.is_dir():
        return directory
    UNPACKED.mkdir(parents=True, exist_ok=True)
    with FileLock(UNPACKED / ".lock"):
        if directory.is_dir():
            return directory
        new = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=UNPACKED))
        try:
            for file in _fetch(wanted, recipe, keep):
                subprocess.run(["dpkg-deb", "--extract", str(file), str(new)], check=True)
            finish(new)
            new.chmod(0o755)
            new.rename(directory)
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise
    return directory


def _fetch(wanted: Sequence[str], recipe: str, keep: Sequence[str]) -> list[Path]:
    source = read_recipe(recipe).source
    IMAGES.mkdir(parents=True, exist_ok=True)
    with FileLock(IMAGES / ".lock"):  # whoever makes an image has apt at work in the same directory
        archive = Archive(source, IMAGES / source.suite)
        found = archive.resolve(wanted, HOST_LIBRARIES, print)
        kept = [package for package in found if any(fnmatchcase(package.name, one) for one in keep)]
        archive.fetch(kept, print)
    return [package.file for package in kept]


@dataclass(frozen=True)
class Program:
    """A program that this host has, or that was unpacked for the tests."""

    path: Path
    root: Path | None = None
    """Where it was unpacked; None: it is installed."""

    def environment(self) -> Mapping[str, str]:
        """The environment to start it with."""
        if self.root is None:
            return os.environ
        libraries = (self.root / "usr/lib/x86_64-linux-gnu", self.root / "lib/x86_64-linux-gnu")
        return os.environ | {"LD_LIBRARY_PATH": ":".join(map(str, libraries))}


def program(name: str, package: str) -> Program:
    """The program ``name``: this host's own, or else that of Debian's ``package``."""
    installed = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if installed:
        return Program(Path(installed))
    family = package.split("-", maxsplit=1)[0]
    root = unpacked(package, [package], host_recipe(), keep=(package, f"{family}-*", "lib*"))
    for folder in ("usr/bin", "usr/sbin", "bin", "sbin"):
        if (path := root / folder / name).is_file():
            return Program(path, root)
    raise AssertionError(f"{package} has no {name}: {root}")
