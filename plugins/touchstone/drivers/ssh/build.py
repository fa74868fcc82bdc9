"""What is put on a box, how it is built for its kernel, and how it gets there."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from touchstone.drivers.build import repository_root
from touchstone.drivers.build_cache import BuildCache, Progress, Recipe
from touchstone.drivers.tool import run_tool, tail_of
from touchstone.machine.driver import InfrastructureError

COMMANDS = ("present", "insert", "remove", "load", "unload", "query", "exits", "trace")
"""Shell commands that a subject's ``[deploy.linux]`` may name."""
_NO_COMPILER = re.compile(rb"\b(gcc-\d+): not found")
MODULES = Path("/lib/modules")
KEPT = 3
"""How many builds of one name are kept for one kernel."""


@dataclass(frozen=True)
class Deployable:
    """A subject, or the agent: sources, how to build files of them for a kernel, and commands for the box.

    In ``build`` and ``files``, ``{release}`` is the kernel's release; in ``build``, ``{headers}`` is where
    modules for it are built against and ``{build}`` an empty directory for what is built. In commands,
    ``{directory}`` is where the files are on the box; ``load`` may have ``{option}``, ``exits`` ``{cpu}``,
    ``trace`` ``{cpu}`` and ``{count}``.
    """

    name: str
    title: str
    sources: Path
    build: str
    """Shell command, run in a copy of ``sources``."""
    files: tuple[str, ...]
    """What it makes, relative to ``{build}``."""
    commands: Mapping[str, str] = field(default_factory=dict)

    def command(self, name: str, **values: str) -> str:
        """A command with its values. InfrastructureError if the subject names none."""
        text = self.commands.get(name)
        if text is None:
            raise InfrastructureError(f"[deploy.linux] of {self.title} names no command {name!r}")
        return substitute(text, values)

    def file_names(self, release: str) -> list[str]:
        """Names of the files, as they are called on the box."""
        return [PurePosixPath(substitute(name, {"release": release})).name for name in self.files]


def substitute(text: str, values: Mapping[str, str]) -> str:
    """Put values for ``{key}``, quoted for the shell; other braces are the shell's."""
    for key, value in values.items():
        text = text.replace("{" + key + "}", shlex.quote(value))
    return text


def the_agent(root: Path | None = None) -> Deployable:
    """The agent of this checkout."""
    return Deployable(
        name="agent",
        title="the agent",
        sources=(root or repository_root()) / "targets" / "agent",
        build="make -C linux KDIR={headers} BUILD={build}",
        files=("touchstone_agent.ko", "touchstone-agent"),
        commands={
            "present": "test -e /sys/module/touchstone_agent",
            "insert": "insmod {directory}/touchstone_agent.ko",
            "remove": "rmmod touchstone_agent",
            "run": "exec {directory}/touchstone-agent",
        },
    )


def a_subject(name: str, title: str, file: Path, table: Mapping[str, str]) -> Deployable:
    """A subject as the ``[deploy.linux]`` of its file describes it."""
    return Deployable(
        name=name,
        title=title,
        sources=(file.parent / table["sources"]).resolve(),
        build=table["build"],
        files=tuple(table["files"].split()),
        commands={key: value for key, value in table.items() if key in COMMANDS},
    )


def source_files(sources: Path) -> Iterator[Path]:
    """The files of a source directory in a fixed order, without hidden and generated ones."""
    for directory, names, files in os.walk(sources):
        names[:] = sorted(name for name in names if not name.startswith((".", "__pycache__")))
        for name in sorted(files):
            if not name.startswith("."):
                yield Path(directory) / name


class Workshop:
    """Builds for a kernel what is not in the cache already: ``build/linux/RELEASE/NAME-HASH/``."""

    def __init__(self, cache: Path) -> None:
        self._cache = cache

    def provide(
        self,
        what: Deployable,
        release: str,
        version: str,
        make: Callable[[Path], None],
        progress: Progress,
    ) -> list[Path]:
        """The files: from the cache, or made now by ``make``, which fills an empty directory with them.

        They fit these sources and the kernel of this release and version, and are not removed before this
        process ends. InfrastructureError with the compiler's words.
        """
        names = tuple(what.file_names(release))

        def build(into: Path) -> None:
            make(into)
            for name in names:
                if not (into / name).is_file():
                    raise InfrastructureError(f"{what.title}: {what.build!r} made no {name}")
                _strip(into / name)

        recipe = Recipe(what.name, what.title, names, lambda: _key(what, version), build)
        folder = BuildCache(self._cache / release, KEPT).provide(recipe, progress)
        return [folder / name for name in names]


def _key(what: Deployable, version: str) -> str:
    """A hash of the sources, of how they are built, and of the very kernel."""
    digest = hashlib.sha256(f"{version}\0{what.build}\0{what.files}\0".encode())
    count = 0
    for path in source_files(what.sources):
        digest.update(f"{path.relative_to(what.sources)}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
        count += 1
    if not count:
        raise InfrastructureError(f"{what.sources}: there are no sources of {what.title}")
    return digest.hexdigest()[:16]


def headers_here(release: str) -> Path | None:
    """Where this machine has what modules for a kernel are built against."""
    path = MODULES / release / "build"
    return path if (path / "Module.symvers").is_file() else None


def build_here(what: Deployable, release: str, headers: Path, into: Path, progress: Progress) -> None:
    """Build on this machine. InfrastructureError with the compiler's words."""
    progress(f"building {what.title} for Linux {release}")
    # In a directory of its own: the kernel's build writes next to sources, and takes no spaces in paths.
    with tempfile.TemporaryDirectory(prefix="touchstone-build-", dir="/tmp") as name:
        work = Path(name)
        for path in source_files(what.sources):
            copy = work / "src" / path.relative_to(what.sources)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, copy)
        (work / "build").mkdir()
        values = {"headers": str(headers), "build": str(work / "build"), "release": release}
        _run(substitute(what.build, values), work / "src", f"{what.title} for Linux {release}")
        for pattern in what.files:
            made = work / "build" / substitute(pattern, {"release": release})
            if made.is_file():
                shutil.copy2(made, into / made.name)


def _run(command: str, directory: Path, what: str) -> None:
    status, output = run_tool(["sh", "-c", command], directory)
    if not status:
        return
    # A kernel's headers name the compiler that it was built with: another Debian's default.
    absent = _NO_COMPILER.search(output)
    why = f": {absent[1].decode()} is missing here (apt-get install {absent[1].decode()})" if absent else ""
    raise InfrastructureError(f"building {what} failed{why}\n{command}\n{tail_of(output)}")


def _strip(path: Path) -> None:
    """Leave out what only a debugger reads: nine tenths of a module, and of the time to upload it."""
    if shutil.which("strip") is not None and path.read_bytes()[:4] == b"\x7fELF":
        subprocess.run(["strip", "--strip-debug", str(path)], capture_output=True, check=False)
