"""A UEFI firmware for emulated machines: Debian's OVMF, installed here or fetched when first asked for."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from touchstone.drivers.linux_image.packages import Archive
from touchstone.drivers.linux_image.recipe import read_recipe
from touchstone.drivers.only_one import only_one
from touchstone.machine.driver import HostError, Say
from touchstone.shipped import build_directory

PACKAGE = "ovmf"
FILE = Path("usr/share/ovmf/OVMF.fd")
"""Code and variables in one file: machines start with the variables as they are in it, every time."""
INSTALLED = Path("/") / FILE
RECIPE = "debian-12"
"""The image whose Debian it comes from."""
LOCK_TIMEOUT = 900.0
"""Seconds to wait for another run that fetches it."""


def uefi_firmware(chosen: str, progress: Say, *, root: Path | None = None) -> Path:
    """The firmware's file: ``chosen`` if it is not empty. HostError if it cannot be had."""
    if chosen:
        if not Path(chosen).is_file():
            raise HostError(f"there is no firmware {chosen}")
        return Path(chosen)
    return INSTALLED if INSTALLED.is_file() else _fetched(progress, root)


def _fetched(progress: Say, root: Path | None) -> Path:
    cache = (build_directory(root) / "images").resolve()
    directory = cache / PACKAGE
    if (directory / FILE).is_file():
        return directory / FILE
    cache.mkdir(parents=True, exist_ok=True)
    with only_one(cache / f".{PACKAGE}.lock", f"fetches {PACKAGE} into {cache}", LOCK_TIMEOUT, progress):
        if (directory / FILE).is_file():
            return directory / FILE
        recipe = read_recipe(RECIPE, root)
        archive = Archive(recipe.source, cache / f"{recipe.suite}-{PACKAGE}")
        found = [one for one in archive.resolve((PACKAGE,), (), progress) if one.name == PACKAGE]
        archive.fetch(found, progress)
        new = Path(tempfile.mkdtemp(prefix=".new-", dir=cache))
        try:
            for package in found:
                command = ["dpkg-deb", "-x", str(package.file), str(new)]
                run = subprocess.run(command, capture_output=True, check=False)
                if run.returncode:
                    said = run.stderr.decode(errors="backslashreplace").strip()
                    raise HostError(f"unpacking {package.file} failed: {said}")
            if not (new / FILE).is_file():
                raise HostError(f"Debian's package {PACKAGE} has no /{FILE}")
            new.chmod(0o755)
            new.rename(directory)
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise
    return directory / FILE
