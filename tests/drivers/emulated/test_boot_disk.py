"""The disk of a UEFI machine, read back with a reader that knows nothing of the writer."""

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from touchstone.drivers.emulated import boot_disk
from touchstone.drivers.emulated.boot_disk import write_boot_disk


def read_back(disk: bytes) -> dict[str, bytes]:
    """All files, as the fields of boot sector, FAT and directories say."""
    assert disk[510:512] == b"\x55\xaa"
    kind, first, count = disk[446 + 4], *struct.unpack_from("<II", disk, 446 + 8)
    assert kind == 0xEF
    assert (first + count) * 512 <= len(disk)
    volume = disk[first * 512 :]
    sector, per_cluster, reserved, fats, root_entries, small = struct.unpack_from("<HBHBHH", volume, 11)
    per_fat, large = struct.unpack_from("<H", volume, 22)[0], struct.unpack_from("<I", volume, 32)[0]
    assert (small or large) == count
    root = (reserved + fats * per_fat) * sector
    data = root + root_entries * 32
    clusters = (count * sector - data) // (per_cluster * sector)
    assert 4085 <= clusters < 65525, "the number of clusters makes it FAT16"
    tables = [
        volume[(reserved + i * per_fat) * sector : (reserved + (i + 1) * per_fat) * sector] for i in (0, 1)
    ]
    assert tables[0] == tables[1]
    assert len(tables[0]) >= 2 * (clusters + 2)
    size = per_cluster * sector

    def chain(cluster: int) -> bytes:
        found = []
        while 2 <= cluster < 0xFFF8:
            found.append(volume[data + (cluster - 2) * size : data + (cluster - 1) * size])
            cluster = struct.unpack_from("<H", tables[0], 2 * cluster)[0]
        return b"".join(found)

    def walk(entries: bytes, prefix: str) -> Iterator[tuple[str, bytes]]:
        for at in range(0, len(entries), 32):
            name, attributes, cluster, length = struct.unpack_from("<11sB14xHI", entries, at)
            if name[0] == 0:
                return
            if name.startswith(b"."):
                continue
            stem, extension = name[:8].decode().rstrip(), name[8:].decode().rstrip()
            path = f"{prefix}{stem}{'.' if extension else ''}{extension}"
            if attributes & 0x10:
                yield from walk(chain(cluster), f"{path}/")
            else:
                yield path, chain(cluster)[:length]

    return dict(walk(volume[root:data], ""))


@pytest.mark.parametrize("size", [0, 1, 2048, 2049, 100_000, 10_000_000])
def test_all_files_are_where_the_fields_say(tmp_path: Path, size: int) -> None:
    files = {
        "EFI/BOOT/BOOTX64.EFI": bytes(range(256)) * 40,
        "EFI/SUBJECT/SUBJECT.EFI": (b"touchstone" * (size // 10 + 1))[:size],
        "EFI/SUBJECT/OTHER": b"x",
        "README.TXT": b"in the root",
    }
    write_boot_disk(tmp_path / "disk", files)
    assert read_back((tmp_path / "disk").read_bytes()) == files


@pytest.mark.parametrize("name", ["EFI/BOOT/bootx64.efi", "EFI/TOUCHSTONE/X.EFI", "EFI/A B"])
def test_names_that_need_long_entries_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="is not of the form 8"):
        write_boot_disk(tmp_path / "disk", {name: b"x"})


def test_more_than_the_disk_holds_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boot_disk, "MOST_CLUSTERS", 5000)
    write_boot_disk(tmp_path / "disk", {"BIG": bytes(5000 * 2048)})
    with pytest.raises(ValueError, match="too many for one disk"):
        write_boot_disk(tmp_path / "disk", {"BIG": bytes(5001 * 2048)})
