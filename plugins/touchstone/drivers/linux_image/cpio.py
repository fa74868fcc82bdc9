"""A root file system in memory, from Debian packages to the archive that Linux boots from. Needs no root."""

from __future__ import annotations

import stat
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from touchstone.machine.driver import InfrastructureError

MERGED = ("bin", "sbin", "lib", "lib32", "lib64")
"""Directories whose content is below /usr, as on every Debian since 12."""


@dataclass(frozen=True)
class Entry:
    """One file: its mode with the type, its content (of a link: where it leads), its device numbers."""

    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


class RootFileSystem:
    """Paths (relative, no leading slash) to entries, all of them root's."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        for name in MERGED:
            self.directory(f"usr/{name}")
            self.link(name, f"usr/{name}")

    def directory(self, path: str, mode: int = 0o755) -> None:
        """Make a directory, and the ones above it."""
        for parent in reversed(PurePosixPath(path).parents):
            if str(parent) != "." and str(parent) not in self.entries:
                self.entries[str(parent)] = Entry(stat.S_IFDIR | 0o755)
        self.entries[path] = Entry(stat.S_IFDIR | mode)

    def file(self, path: str, data: bytes, mode: int = 0o644) -> None:
        """Make or replace a file."""
        self._parent(path)
        self.entries[path] = Entry(stat.S_IFREG | mode, data)

    def link(self, path: str, target: str) -> None:
        """Make a symbolic link."""
        self._parent(path)
        self.entries[path] = Entry(stat.S_IFLNK | 0o777, target.encode())

    def character_device(self, path: str, major: int, minor: int, mode: int = 0o600) -> None:
        """Make a character device."""
        self._parent(path)
        self.entries[path] = Entry(stat.S_IFCHR | mode, device=(major, minor))

    def _parent(self, path: str) -> None:
        parent = str(PurePosixPath(path).parent)
        if parent != "." and parent not in self.entries:
            self.directory(parent)

    def unpack(self, package: Path, wanted: Callable[[str], bool]) -> None:
        """Take the files of a .deb whose paths are wanted. InfrastructureError if it is damaged."""
        process = subprocess.Popen(
            ["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            with tarfile.open(fileobj=process.stdout, mode="r|", bufsize=1 << 18) as archive:
                for member in archive:
                    self._take(archive, member, wanted)
            process.stdout.read()  # whatever pads the archive
            said = process.stderr.read().decode(errors="backslashreplace")
        except (tarfile.TarError, OSError) as error:
            process.kill()
            raise InfrastructureError(f"{package}: {error}") from error
        finally:
            process.stdout.close()
            process.stderr.close()
            status = process.wait()
        if status:
            raise InfrastructureError(f"{package}: dpkg-deb: {said.strip()}")

    def _take(self, archive: tarfile.TarFile, member: tarfile.TarInfo, wanted: Callable[[str], bool]) -> None:
        path = merged(member.name)
        if path in ("", ".") or not wanted(path):
            return
        if member.isdir():
            if path not in self.entries:
                self.directory(path, member.mode & 0o7777)
        elif member.issym():
            self.link(path, member.linkname)
        elif member.islnk():
            source = self.entries.get(merged(member.linkname))
            if source is not None:
                self.entries[path] = source
        elif member.isreg():
            content = archive.extractfile(member)
            assert content is not None
            self.file(path, content.read(), member.mode & 0o7777)

    def write(self, target: BinaryIO) -> None:
        """Write it as a cpio archive (Linux' Documentation/driver-api/early-userspace/buffer-format.rst)."""
        position = 0
        for number, (path, entry) in enumerate(self._sorted(), start=1):
            record = _record(number, path, entry)
            target.write(record)
            position += len(record)
        target.write(_record(0, "TRAILER!!!", Entry(0)))

    def _sorted(self) -> Iterator[tuple[str, Entry]]:
        yield from sorted(self.entries.items())


def merged(name: str) -> str:
    """The path of an archive's member, below /usr where it belongs."""
    path = name.removeprefix("./").rstrip("/")
    first = path.split("/", 1)[0]
    return f"usr/{path}" if first in MERGED and "/" in path else ("" if first in MERGED else path)


def _record(number: int, path: str, entry: Entry) -> bytes:
    name = path.encode() + b"\0"
    fields = (number, entry.mode, 0, 0, 1, 0, len(entry.data), 0, 0, *entry.device, len(name), 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + name
    head += bytes(-len(head) % 4)
    return head + entry.data + bytes(-len(entry.data) % 4)
