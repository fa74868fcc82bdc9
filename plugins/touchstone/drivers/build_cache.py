"""Folders of built files, named by what the files are built from, and kept while a process uses them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from touchstone.drivers.only_one import only_one
from touchstone.machine.driver import HostError, Say

LOCK_TIMEOUT = 600.0
"""Seconds to wait for another run that builds."""
ATTEMPTS = 3
"""How often something is built anew because its sources changed while it was built."""
_IN_USE = ".in-use"
_NEW = ".new-"
_OLD = ".old-"


@dataclass(frozen=True)
class Recipe:
    """Something that can be built."""

    name: str
    title: str
    """What a person calls it, for messages."""
    files: tuple[str, ...]
    """Names of the files that ``make`` leaves in its folder."""
    key: Callable[[], str]
    """Computes a hash of everything that the files depend on: sources, flags, tools."""
    make: Callable[[Path], None]
    """Builds the files into an empty folder. InfrastructureError with the compiler's words."""


class BuildCache:
    """Built files in ``DIRECTORY/NAME-KEY/``.

    A folder takes its name when everything is in it, so that a build that was killed is never taken for a
    finished one. A process that got a folder holds a shared lock on the file ``.in-use`` in it until it
    ends. Of each name the ``keep`` folders that were used last are kept; older ones are removed after a
    build, unless they are locked.
    """

    def __init__(self, directory: Path, keep: int) -> None:
        self._directory = directory.resolve()
        self._keep = keep

    def provide(self, recipe: Recipe, progress: Say) -> Path:
        """The folder with the files, built if it is not there; held until this process ends.

        One process builds at a time; another one that wants the same waits and takes what was built.
        InfrastructureError if the build fails, makes too little, or another one takes too long.
        """
        for _ in range(ATTEMPTS):
            key = recipe.key()
            folder = self._directory / f"{recipe.name}-{key}"
            if _hold(folder, recipe.files):
                return folder
            self._directory.mkdir(parents=True, exist_ok=True)
            with self._lock(progress):
                if _hold(folder, recipe.files) or self._build(recipe, key, folder):
                    self._collect(recipe.name)
                    return folder
            progress(f"the sources of {recipe.title} changed while it was built")
        raise HostError(
            f"the sources of {recipe.title} changed {ATTEMPTS} times while it was built: "
            "let whatever writes them finish, then run this again"
        )

    def _build(self, recipe: Recipe, key: str, folder: Path) -> bool:
        """Build it and give it its name. False if the sources are not those of ``key`` any more."""
        new = Path(tempfile.mkdtemp(prefix=_NEW, dir=self._directory))
        try:
            recipe.make(new)
            for name in recipe.files:
                if not (new / name).is_file():
                    raise HostError(f"building {recipe.title} succeeded, but made no {name}")
            if recipe.key() != key:
                return False
            (new / _IN_USE).touch()
            new.chmod(0o755)
            self._discard(folder, held=True)  # incomplete, or it would not be built
            new.rename(folder)
            return _hold(folder, recipe.files)
        finally:
            shutil.rmtree(new, ignore_errors=True)

    def _collect(self, name: str) -> None:
        """Remove old folders of this name, and what killed processes left. With the lock."""
        found = (path for path in self._directory.glob(f"{name}-*") if path.name.rpartition("-")[0] == name)
        for path in sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)[self._keep :]:
            self._discard(path)
        for prefix in (_NEW, _OLD):
            for path in self._directory.glob(f"{prefix}*"):
                shutil.rmtree(path, ignore_errors=True)

    def _discard(self, folder: Path, held: bool = False) -> None:
        """Remove a folder unless somebody holds it (``held``: even then)."""
        if not folder.is_dir():
            return
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(FileNotFoundError):
                file = stack.enter_context((folder / _IN_USE).open("r+"))
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    if not held:
                        return
            # Out of the way in one step: what is half removed has no name that anybody looks for.
            old = Path(tempfile.mkdtemp(prefix=_OLD, dir=self._directory))
            folder.rename(old / folder.name)
            shutil.rmtree(old, ignore_errors=True)

    def _lock(self, progress: Say) -> contextlib.AbstractContextManager[None]:
        directory = self._directory
        return only_one(directory / ".lock", f"builds in {directory}", LOCK_TIMEOUT, progress)


_held: dict[Path, int] = {}
"""Descriptors of ``.in-use`` in the folders that this process uses. The kernel closes them when it ends."""
_held_guard = threading.Lock()


def _hold(folder: Path, files: tuple[str, ...]) -> bool:
    """Lock a folder against removal. False if it is not there, or files are missing from it."""
    path = folder / _IN_USE
    with _held_guard:
        descriptor = _held.pop(folder, None)
        if descriptor is None:
            try:
                descriptor = os.open(path, os.O_RDONLY)
            except FileNotFoundError:
                return False
            fcntl.flock(descriptor, fcntl.LOCK_SH)  # waits while another process renames the folder
        try:
            there = os.path.samestat(os.fstat(descriptor), path.stat())
        except FileNotFoundError:
            there = False
        if not there or not all((folder / name).is_file() for name in files):
            os.close(descriptor)
            return False
        _held[folder] = descriptor
    with contextlib.suppress(PermissionError):  # another user's folder can be used all the same
        os.utime(folder)
    return True
