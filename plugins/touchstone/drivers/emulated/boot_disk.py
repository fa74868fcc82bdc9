"""The disk that a UEFI firmware boots from: one EFI system partition, with the files that it is given.

FAT16, as the FAT specification (Microsoft, 2000) has it, in the one partition of an MBR (UEFI 2.10, 5.2).
Names are of the form 8.3, in capitals: all that the firmware has to find has such names.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

SECTOR = 512
FIRST_SECTOR = 63
CYLINDER = 16 * 63 * SECTOR
"""Bytes; Bochs wants whole ones."""
CLUSTER = 4 * SECTOR
FEWEST_CLUSTERS = 4085
"""With fewer it is FAT12, whatever else is written (FAT specification, "FAT Type Determination")."""
MOST_CLUSTERS = 65524
ROOT_ENTRIES = 512
EFI_SYSTEM_PARTITION = 0xEF
DIRECTORY = 0x10
END_OF_CHAIN = 0xFFFF
MEDIA = 0xF8
ENTRY = 32
NAME = re.compile(r"[A-Z0-9_-]{1,8}(\.[A-Z0-9_-]{1,3})?")

_BPB = struct.Struct("<3s8sHBHBHHBHHHIIBBBI11s8s")
_PARTITION = struct.Struct("<B3sB3sII")


class _Volume:
    """Clusters as they are given out, one file or directory after the other."""

    def __init__(self) -> None:
        self.fat = [0xFF00 | MEDIA, END_OF_CHAIN]
        self.data = bytearray()

    def add(self, content: bytes) -> int:
        """Store a file, or a directory: its first cluster. An empty file has none."""
        count = -(-len(content) // CLUSTER)
        if not count:
            return 0
        first = len(self.fat)
        self.fat += [*range(first + 1, first + count), END_OF_CHAIN]
        self.data += content.ljust(count * CLUSTER, b"\0")
        return first

    def point_to_parent(self, directory: int, entries: bytes) -> None:
        """Write a directory's own entries, now that it is known where it is."""
        at = (directory - 2) * CLUSTER
        self.data[at : at + len(entries)] = entries


def write_boot_disk(path: Path, files: Mapping[str, bytes]) -> None:
    """Write a disk with these files, named by their paths (``EFI/BOOT/BOOTX64.EFI``).

    ValueError for a name that is not of the form 8.3, in capitals, and for more than 120 MB.
    """
    volume = _Volume()
    root = _directory(volume, "", files)
    if len(root) > ROOT_ENTRIES * ENTRY:
        raise ValueError(f"{len(root) // ENTRY} files and directories are too many for a root directory")
    clusters = max(len(volume.fat) - 2, FEWEST_CLUSTERS)
    if clusters > MOST_CLUSTERS:
        raise ValueError(f"the files have {len(volume.data)} bytes, too many for one disk")
    fat_sectors = -(-2 * (clusters + 2) // SECTOR)
    fat = struct.pack(f"<{len(volume.fat)}H", *volume.fat).ljust(fat_sectors * SECTOR, b"\0")
    sectors = 1 + 2 * fat_sectors + ROOT_ENTRIES * ENTRY // SECTOR + clusters * (CLUSTER // SECTOR)
    with path.open("wb") as disk:
        disk.write(_master_boot_record(sectors))
        disk.seek(FIRST_SECTOR * SECTOR)
        disk.write(_boot_sector(sectors, fat_sectors))
        disk.write(fat + fat)
        disk.write(root.ljust(ROOT_ENTRIES * ENTRY, b"\0"))
        disk.write(volume.data)
        disk.truncate(-(-(FIRST_SECTOR + sectors) * SECTOR // CYLINDER) * CYLINDER)


def _directory(volume: _Volume, below: str, files: Mapping[str, bytes]) -> bytes:
    """The entries of a directory with what is in it; its files are stored."""
    entries = b""
    prefix = PurePosixPath(below)
    inner = {name: PurePosixPath(name).relative_to(prefix) for name in files if _is_below(name, prefix)}
    for first in sorted({parts.parts[0] for parts in inner.values()}):
        name = str(prefix / first)
        if name in files:
            cluster = volume.add(files[name])
            entries += _entry(_short_name(first), 0, cluster, len(files[name]))
        else:
            entries += _entry(_short_name(first), DIRECTORY, _store_directory(volume, name, files), 0)
    return entries


def _store_directory(volume: _Volume, name: str, files: Mapping[str, bytes]) -> int:
    inner = _directory(volume, name, files)
    cluster = volume.add(bytes(2 * ENTRY) + inner)
    # The parent of those in the root has the number 0, and no other directory here has subdirectories.
    own = _entry(b".".ljust(11), DIRECTORY, cluster, 0) + _entry(b"..".ljust(11), DIRECTORY, 0, 0)
    volume.point_to_parent(cluster, own)
    return cluster


def _is_below(name: str, prefix: PurePosixPath) -> bool:
    return prefix == PurePosixPath() or prefix in PurePosixPath(name).parents


def _short_name(name: str) -> bytes:
    if not NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not of the form 8.3, in capitals")
    stem, _, extension = name.partition(".")
    return stem.ljust(8).encode("ascii") + extension.ljust(3).encode("ascii")


def _entry(name: bytes, attributes: int, cluster: int, size: int) -> bytes:
    return struct.pack("<11sB14xHI", name, attributes, cluster, size)


def _boot_sector(sectors: int, fat_sectors: int) -> bytes:
    small, large = (sectors, 0) if sectors < 1 << 16 else (0, sectors)
    parameters = _BPB.pack(
        b"\xeb\x3c\x90",
        b"TOUCHST ",
        SECTOR,
        CLUSTER // SECTOR,
        1,  # reserved sectors: this one
        2,  # copies of the FAT
        ROOT_ENTRIES,
        small,
        MEDIA,
        fat_sectors,
        63,
        16,
        FIRST_SECTOR,
        large,
        0x80,
        0,
        0x29,
        0x70C45702,
        b"TOUCHSTONE ",
        b"FAT16   ",
    )
    return parameters.ljust(SECTOR - 2, b"\0") + b"\x55\xaa"


def _master_boot_record(sectors: int) -> bytes:
    whole = b"\xfe\xff\xff"  # cylinder, head and sector: see the numbers behind
    entry = _PARTITION.pack(0, whole, EFI_SYSTEM_PARTITION, whole, FIRST_SECTOR, sectors)
    return bytes(446) + entry.ljust(64, b"\0") + b"\x55\xaa"
