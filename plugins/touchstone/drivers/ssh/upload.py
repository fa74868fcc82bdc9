"""Files onto a box: atomic, compared by checksum on the other side, left out when they are there already."""

from __future__ import annotations

import contextlib
import hashlib
import io
import shlex
import tarfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import paramiko

from touchstone.drivers.ssh.build import Deployable, source_files, substitute
from touchstone.drivers.ssh.link import CONNECTION_ENDED, Link, LinkLost, reason
from touchstone.drivers.ssh.root import Root
from touchstone.drivers.tool import tail_of
from touchstone.machine.driver import InfrastructureError, TargetHung

Progress = Callable[[str], None]
TOLD_EVERY = 1.0
"""Seconds between two words about an upload that takes its time."""
BUILD_TIMEOUT = 600.0
PART = ".part"


class Uploader:
    """Puts files into one directory of a box, which is new and empty."""

    def __init__(self, root: Root, directory: str, progress: Progress) -> None:
        self._root = root
        self._link = root.link
        self._directory = directory
        self._progress = progress
        self._empty = True
        self.sent: list[str] = []
        """Names of the files that really went over the wire."""

    def put(self, files: Mapping[str, tuple[Path | bytes, int]]) -> None:
        """Make the directory hold these: name to (local file or content, mode).

        What is whole on the other side takes its name there, and not before. LinkLost, InfrastructureError.
        """
        wanted = {name: _sha256(what) for name, (what, _) in files.items()}
        there = {} if self._empty else self._sums(files)
        missing = [name for name in files if there.get(name) != wanted[name]]
        if not missing:
            return
        self._empty = False
        sftp = self._link.sftp()
        try:
            for name in missing:
                with self._explained(name, _size(files[name][0])):
                    self._send(sftp, name, *files[name])
            came = self._sums(name + PART for name in missing)  # at once: it costs a process there
            for name in missing:
                if (got := came.get(name + PART)) != wanted[name]:
                    raise InfrastructureError(
                        f"{name} came damaged to {self._link.shown}: its SHA-256 there is {got}"
                    )
            for name in missing:
                with self._explained(name, _size(files[name][0])):
                    sftp.posix_rename(f"{self._directory}/{name}{PART}", f"{self._directory}/{name}")
                self.sent.append(name)
        finally:
            with contextlib.suppress(Exception):
                sftp.close()

    def _send(self, sftp: paramiko.SFTPClient, name: str, what: Path | bytes, mode: int) -> None:
        part = f"{self._directory}/{name}{PART}"
        if isinstance(what, bytes):
            sftp.putfo(io.BytesIO(what), part, len(what), confirm=True)
            sftp.chmod(part, mode)
            return
        self._progress(f"uploading {name} ({_amount(_size(what))})")
        told = time.monotonic()

        def tell(done: int, of: int) -> None:
            nonlocal told
            if time.monotonic() - told >= TOLD_EVERY:
                told = time.monotonic()
                self._progress(f"uploading {name}: {_amount(done)} of {_amount(of)}")

        sftp.put(str(what), part, callback=tell, confirm=True)
        sftp.chmod(part, mode)

    @contextlib.contextmanager
    def _explained(self, name: str, size: int) -> Iterator[None]:
        """What goes wrong with a file on its way, in words."""
        try:
            yield
        except TimeoutError:
            raise TargetHung(f"{self._link.shown} took nothing of {name} any more") from None
        except CONNECTION_ENDED as error:
            try:
                self._root.run(":", timeout=10.0)
            except (LinkLost, TargetHung):
                raise LinkLost(
                    f"the connection to {self._link.shown} ended while {name} was uploaded"
                ) from None
            raise InfrastructureError(self._why(name, size, error)) from None

    def _sums(self, names: Iterable[str]) -> dict[str, str]:
        quoted = " ".join(shlex.quote(name) for name in names)
        done = self._root.run(f"cd {shlex.quote(self._directory)} && sha256sum -- {quoted} 2>/dev/null")
        sums = {}
        for line in done.text.splitlines():
            digest, _, name = line.partition(" ")
            sums[name.lstrip(" *")] = digest
        return sums

    def _why(self, name: str, size: int, error: Exception) -> str:
        """SFTP has one word, "Failure", for a full disk and for everything else: look."""
        shown = self._link.address.shown
        text = f"{name} ({_amount(size)}) could not be put into {self._directory} of {shown}"
        with contextlib.suppress(Exception):
            where = shlex.quote(self._directory)
            self._root.run(f"rm -f {where}/{shlex.quote(name + PART)}", timeout=10.0)
            said = self._root.run(f"df -Pk {where} | tail -n 1", timeout=10.0).text.split()
            if len(said) >= 6 and int(said[3]) * 1024 < size + 4096:
                free = _amount(int(said[3]) * 1024)
                return f"{text}: its disk is full ({free} free on {said[5]})"
        return f"{text}{reason(error)}"


def build_there(
    link: Link, what: Deployable, release: str, directory: str, into: Path, progress: Progress
) -> None:
    """Build on the box, against its own headers, and fetch what it made."""
    headers = f"/lib/modules/{release}/build"
    probe = link.run(
        f"test -e {shlex.quote(headers)}/Module.symvers || exit 3\n"
        "for tool in make gcc tar; do command -v $tool >/dev/null || exit 4; done"
    )
    if probe.status == 3:
        raise InfrastructureError(
            f"modules for Linux {release} of {link.address.shown} can be built neither here nor there:"
            f" no headers in {headers}. On Debian: apt-get install linux-headers-{release} (here or there),"
            " or name a directory of this machine with kernel-headers in the inventory"
        )
    if probe.status == 4:
        raise InfrastructureError(
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
        raise InfrastructureError(
            f"building {what.title} on {link.address.shown} failed:\n{tail_of(built.out)}"
        )
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


def _sha256(what: Path | bytes) -> str:
    if isinstance(what, bytes):
        return hashlib.sha256(what).hexdigest()
    with what.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _size(what: Path | bytes) -> int:
    return len(what) if isinstance(what, bytes) else what.stat().st_size


def _amount(size: int) -> str:
    return f"{size / 2**20:.1f} MiB" if size >= 2**20 else f"{max(1, size // 1024)} KiB"
