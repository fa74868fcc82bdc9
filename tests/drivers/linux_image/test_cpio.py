"""The archive that Linux boots from, read back by tar's sibling where there is one, and byte by byte."""

from __future__ import annotations

import io
import stat
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.debian import program
from touchstone.drivers.linux_image.cpio import Entry, RootFileSystem, merged
from touchstone.machine.driver import InfrastructureError


def read(archive: bytes) -> Iterator[tuple[str, list[int], bytes]]:
    """Entries of a cpio archive in the format that Linux documents."""
    at = 0
    while at < len(archive):
        assert archive[at : at + 6] == b"070701"
        fields = [int(archive[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        name = archive[at + 110 : at + 110 + fields[11] - 1].decode()
        data_at = (at + 110 + fields[11] + 3) & ~3
        yield name, fields, archive[data_at : data_at + fields[6]]
        at = (data_at + fields[6] + 3) & ~3


def packed(root: RootFileSystem) -> dict[str, tuple[list[int], bytes]]:
    target = io.BytesIO()
    root.write(target)
    return {name: (fields, data) for name, fields, data in read(target.getvalue())}


def package(directory: Path, files: dict[str, bytes], links: dict[str, str]) -> Path:
    """A .deb with these files, made without dpkg-deb."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:xz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode, member.uid = len(content), 0o755, 1000
            tar.addfile(member, io.BytesIO(content))
        for name, target in links.items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            tar.addfile(member)
    control = io.BytesIO()
    with tarfile.open(fileobj=control, mode="w:xz"):
        pass
    path = directory / "p.deb"
    members = {
        "debian-binary": b"2.0\n",
        "control.tar.xz": control.getvalue(),
        "data.tar.xz": data.getvalue(),
    }
    with path.open("wb") as deb:
        deb.write(b"!<arch>\n")
        for name, content in members.items():
            deb.write(f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode())
            deb.write(content + b"\n" * (len(content) % 2))
    return path


def test_files_links_and_devices_are_roots() -> None:
    root = RootFileSystem()
    root.file("etc/a/b", b"hello", 0o640)
    root.link("usr/bin/sh", "dash")
    root.character_device("dev/console", 5, 1)

    found = packed(root)

    fields, data = found["etc/a/b"]
    assert (fields[1], fields[2], fields[3], data) == (stat.S_IFREG | 0o640, 0, 0, b"hello")
    assert found["usr/bin/sh"][0][1] & 0o170000 == stat.S_IFLNK
    assert found["usr/bin/sh"][1] == b"dash"
    assert found["dev/console"][0][9:11] == [5, 1]
    assert stat.S_ISDIR(found["etc/a"][0][1])
    assert list(found)[-1] == "TRAILER!!!"


def test_directories_come_before_what_is_in_them() -> None:
    root = RootFileSystem()
    root.file("usr/share/x/y", b"")
    names = list(packed(root))
    for name in names[:-1]:
        if "/" in name:
            assert names.index(name.rsplit("/", 1)[0]) < names.index(name)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("./bin/ls", "usr/bin/ls"),
        ("./lib64/ld.so", "usr/lib64/ld.so"),
        ("./usr/bin/ls", "usr/bin/ls"),
        ("./lib/", ""),
        ("./", ""),
        ("./library/x", "library/x"),
    ],
)
def test_directories_of_the_root_lead_below_usr(name: str, path: str) -> None:
    assert merged(name) == path


def test_a_package_is_unpacked_without_what_nobody_wants(tmp_path: Path) -> None:
    deb = package(
        tmp_path, {"./bin/tool": b"code", "./usr/share/doc/tool": b"words"}, {"./bin/alias": "tool"}
    )
    root = RootFileSystem()
    root.unpack(deb, lambda path: not path.startswith("usr/share/doc"))
    assert root.entries["usr/bin/tool"] == Entry(stat.S_IFREG | 0o755, b"code")
    assert root.entries["usr/bin/alias"].data == b"tool"
    assert "usr/share/doc/tool" not in root.entries


def test_a_damaged_package_is_named(tmp_path: Path) -> None:
    deb = package(tmp_path, {"./bin/tool": bytes(100_000)}, {})
    deb.write_bytes(deb.read_bytes()[:-60])
    with pytest.raises(InfrastructureError, match=r"p\.deb"):
        RootFileSystem().unpack(deb, lambda path: True)


@pytest.mark.parametrize("package", ["cpio", "busybox"])
def test_cpio_reads_it(package: str) -> None:
    tool = program(package, package)
    command = [str(tool.path), *(["cpio"] if package == "busybox" else [])]
    root = RootFileSystem()
    root.file("etc/hostname", b"box\n")
    target = io.BytesIO()
    root.write(target)
    run = subprocess.run(
        [*command, "-t"], env=tool.environment(), input=target.getvalue(), capture_output=True, check=True
    )
    assert "etc/hostname" in run.stdout.decode().split()
