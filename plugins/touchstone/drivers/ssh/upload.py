"""Files onto a box: renamed when they are whole, compared by checksum there, left out if they are there."""

from __future__ import annotations

import contextlib
import hashlib
import io
import shlex
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import paramiko

from touchstone.drivers.ssh.link import CONNECTION_ENDED, LinkLost, reason
from touchstone.drivers.ssh.root import Root
from touchstone.machine.driver import InfrastructureError, Say, TargetHung

TOLD_EVERY = 1.0
"""Seconds between two messages about an upload that takes longer."""
PART = ".part"


class Uploader:
    """Puts files into one directory of a box, which is new and empty."""

    def __init__(self, root: Root, directory: str, progress: Say) -> None:
        self._root = root
        self._link = root.link
        self._directory = directory
        self._progress = progress
        self._empty = True
        self.sent: list[str] = []
        """Names of the files that were sent."""

    def put(self, files: Mapping[str, tuple[Path | bytes, int]]) -> None:
        """Make the directory hold these: name to (local file or content, mode).

        A file gets its name on the box once it is whole there, and not before. LinkLost, InfrastructureError.
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
            came = self._sums(name + PART for name in missing)  # all in one call: each starts a process
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
        """Turn what goes wrong with an upload into an error that says why."""
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
        """Why an upload failed. SFTP says "Failure" for everything, a full disk too: look at the disk."""
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


def _sha256(what: Path | bytes) -> str:
    if isinstance(what, bytes):
        return hashlib.sha256(what).hexdigest()
    with what.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _size(what: Path | bytes) -> int:
    return len(what) if isinstance(what, bytes) else what.stat().st_size


def _amount(size: int) -> str:
    return f"{size / 2**20:.1f} MiB" if size >= 2**20 else f"{max(1, size // 1024)} KiB"
