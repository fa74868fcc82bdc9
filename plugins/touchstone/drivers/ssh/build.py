"""Building what is put on a box for its kernel: on this machine or on the box, and kept in a cache."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

from touchstone.drivers.build_cache import BuildCache, Recipe
from touchstone.drivers.sources import build_in_copy, hash_sources, source_files, substitute
from touchstone.drivers.ssh.deployable import Deployable
from touchstone.drivers.ssh.link import CONNECTION_ENDED, Link, LinkLost, reason
from touchstone.drivers.tool import tail_of
from touchstone.machine.driver import HostError, InfrastructureError, Say

BUILD_TIMEOUT = 600.0
"""Seconds that a build on a box may take, stretched."""
_NO_COMPILER = re.compile(rb"\b(gcc-\d+): not found")
MODULES = Path("/lib/modules")
KEPT = 3
"""How many builds of one name are kept for one kernel."""


class ModuleCache:
    """What was built for a kernel: ``build/linux/RELEASE/NAME-HASH/``, a hash of sources and kernel."""

    def __init__(self, cache: Path) -> None:
        self._cache = cache

    def provide(
        self,
        what: Deployable,
        release: str,
        version: str,
        make: Callable[[Path], None],
        progress: Say,
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
                    raise HostError(f"{what.title}: {what.build!r} made no {name}")
                _strip(into / name)

        recipe = Recipe(what.name, what.title, names, lambda: _key(what, version), build)
        folder = BuildCache(self._cache / release, KEPT).provide(recipe, progress)
        return [folder / name for name in names]


def _key(what: Deployable, version: str) -> str:
    """A hash of the sources, of how they are built, and of the very kernel."""
    return hash_sources(what.sources, what.title, version, what.build, str(what.files))


def headers_here(release: str, modules: Path = MODULES) -> Path | None:
    """Where this machine has what modules for a kernel are built against."""
    path = modules / release / "build"
    return path if (path / "Module.symvers").is_file() else None


def build_here(what: Deployable, release: str, headers: Path, into: Path, progress: Say) -> None:
    """Build on this machine. InfrastructureError with the compiler's words."""
    progress(f"building {what.title} for Linux {release}")
    values = {"headers": str(headers), "release": release}
    build_part(what, values, f"{what.title} for Linux {release}", into)


def build_part(what: Deployable, values: Mapping[str, str], title: str, into: Path) -> None:
    """Build on this machine, in a copy of the sources. ``title``: what is built, for the error's text."""
    files = [substitute(pattern, values) for pattern in what.files]
    build_in_copy(what.sources, what.build, values, files, into, title, _compiler_missing)


def build_there(
    link: Link, what: Deployable, release: str, directory: str, into: Path, progress: Say
) -> None:
    """Build on the box, against its own headers, and fetch what it made."""
    headers = f"/lib/modules/{release}/build"
    probe = link.run(
        f"test -e {shlex.quote(headers)}/Module.symvers || exit 3\n"
        "for tool in make gcc tar; do command -v $tool >/dev/null || exit 4; done"
    )
    if probe.status == 3:
        raise HostError(
            f"modules for Linux {release} of {link.address.shown} can be built neither here nor there:"
            f" no headers in {headers}. On Debian: apt-get install linux-headers-{release} (here or there),"
            " or name a directory of this machine with kernel-headers in the inventory"
        )
    if probe.status == 4:
        raise HostError(
            f"{link.address.shown} has the headers of Linux {release}, but nothing to build with: on Debian,"
            " apt-get install make gcc libc6-dev tar there; or the headers on this machine"
        )
    progress(f"building {what.title} on {link.address.host}, for Linux {release}")
    work = f"{directory}/{what.name}"
    there = shlex.quote(work)
    values = {"headers": headers, "build": f"{work}/build", "release": release}
    unpacked = link.run(
        f"rm -rf {there} && mkdir -p {there}/src {there}/build && tar -C {there}/src -xf -",
        stdin=_archive(what.sources),
        timeout=60.0,
    )
    if unpacked.status:
        raise InfrastructureError(f"{link.address.shown}: unpacking sources failed: {unpacked.complaint}")
    built = link.run(
        f"cd {there}/src && {{ {substitute(what.build, values)}; }} 2>&1 </dev/null", timeout=BUILD_TIMEOUT
    )
    if built.status:
        raise HostError(f"building {what.title} on {link.address.shown} failed:\n{tail_of(built.out)}")
    sftp = link.sftp()
    try:
        for pattern in what.files:
            path = substitute(pattern, {"release": release})
            name = path.rpartition("/")[2]
            sftp.get(f"{work}/build/{path}", str(into / name))
    except CONNECTION_ENDED as error:
        if not link.alive:
            raise LinkLost(f"the connection to {link.address.shown} ended while {path} was fetched") from None
        raise InfrastructureError(f"{link.address.shown}: {work}/build/{path}{reason(error)}") from None
    finally:
        with contextlib.suppress(Exception):
            sftp.close()
    link.run(f"rm -rf {there}")


def _archive(sources: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path in source_files(sources):
            archive.add(path, str(path.relative_to(sources)), recursive=False)
    return buffer.getvalue()


def _compiler_missing(output: bytes) -> str:
    """A kernel's headers name the compiler that it was built with: another Debian's default."""
    absent = _NO_COMPILER.search(output)
    return f": {absent[1].decode()} is missing here (apt-get install {absent[1].decode()})" if absent else ""


def _strip(path: Path) -> None:
    """Remove debugging information: nine tenths of a module, and of the time to upload it."""
    if shutil.which("strip") is not None and path.read_bytes()[:4] == b"\x7fELF":
        subprocess.run(["strip", "--strip-debug", str(path)], capture_output=True, check=False)
