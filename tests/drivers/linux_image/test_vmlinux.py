from __future__ import annotations

import gzip
import struct
from pathlib import Path

import pytest

from tests.support import boxes
from touchstone.drivers.bochs.disk import CYLINDER, SECTOR, start_info, write_disk
from touchstone.drivers.linux_image.image import LinuxImage, build_image
from touchstone.drivers.linux_image.vmlinux import decompress, elf_kernel, flatten, unpack_kernel
from touchstone.machine.driver import InfrastructureError


@pytest.fixture(scope="module")
def image() -> LinuxImage:
    return build_image(boxes.IMAGE, boxes.say)


def a_bzimage(payload: bytes) -> bytes:
    """The fields of one that matter, with one setup sector."""
    header = bytearray(1024)
    header[0x1F1] = 1
    header[0x202:0x206] = b"HdrS"
    struct.pack_into("<II", header, 0x248, 16, len(payload))
    return bytes(header) + bytes(16) + payload


def test_a_kernel_is_found_behind_its_decompressor() -> None:
    assert decompress(a_bzimage(gzip.compress(b"an ELF file"))) == b"an ELF file"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"MZ", "no bzImage"),
        (a_bzimage(b"LZ4!" * 4), r"compressed in an unknown format \(4c5a3421\)"),
        (a_bzimage(b"\xfd7zXZ\0" + bytes(40)), "cannot be unpacked"),
    ],
)
def test_what_is_wrong_with_a_kernel_is_said(data: bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=said):
        decompress(data)
    vmlinuz = tmp_path / "vmlinuz"
    vmlinuz.write_bytes(data)
    with pytest.raises(InfrastructureError, match=f"{vmlinuz}: .*{said}"):
        unpack_kernel(vmlinuz, tmp_path / "vmlinux.bin")
    assert [path.name for path in tmp_path.iterdir()] == ["vmlinuz"]


@pytest.mark.parametrize(
    "payload", [b"LZ4!" * 4, gzip.compress(b"\x7fELF, no more")], ids=["unknown", "no-elf"]
)
def test_a_kernel_that_cannot_be_unpacked_is_booted_as_it_is(payload: bytes, tmp_path: Path) -> None:
    vmlinuz = tmp_path / "vmlinuz"
    vmlinuz.write_bytes(a_bzimage(payload))
    assert elf_kernel(vmlinuz) == vmlinuz
    assert list(tmp_path.iterdir()) == [vmlinuz]


def test_an_elf_file_without_the_entry_point_is_refused() -> None:
    with pytest.raises(ValueError, match="PVH entry point"):
        flatten(Path("/proc/self/exe").read_bytes())


def test_a_stock_kernel_is_unpacked_once(image: LinuxImage, tmp_path: Path) -> None:
    made = tmp_path / "vmlinux.bin"
    kernel = unpack_kernel(image.kernel, made)
    assert kernel.address <= kernel.entry < kernel.address + kernel.size <= kernel.end
    memory = made.read_bytes()
    assert len(memory) == kernel.size
    assert f"Linux version {image.release} ".encode() in memory
    before = made.stat().st_mtime_ns
    assert unpack_kernel(image.kernel, made) == kernel
    assert made.stat().st_mtime_ns == before


def test_qemu_enters_the_same_kernel_without_its_decompressor(image: LinuxImage) -> None:
    made = elf_kernel(image.kernel)
    assert made.read_bytes()[:4] == b"\x7fELF"
    before = made.stat().st_mtime_ns
    assert elf_kernel(image.kernel) == made
    assert made.stat().st_mtime_ns == before


def test_the_start_info_points_at_what_is_behind_it() -> None:
    data = start_info(0x7000000, 0x4000000, 12345, "quiet")
    magic, version, _, modules, module, words = struct.unpack_from("<IIIIQQ", data)
    assert (magic, version, modules) == (0x336EC578, 1, 1)
    assert struct.unpack_from("<QQ", data, module - 0x7000000) == (0x4000000, 12345)
    assert data[words - 0x7000000 :] == b"quiet\0"


def test_a_disk_holds_all_that_the_kernel_needs(image: LinuxImage, tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    write_disk(image.kernel, image.initrd, "console=ttyS0", 512, path)
    data = path.read_bytes()
    assert len(data) % CYLINDER == 0
    assert data[SECTOR - 2 : SECTOR] == b"\x55\xaa"
    assert image.initrd.read_bytes() in data
    assert data.rindex(b"console=ttyS0\0") > len(data) - 2 * CYLINDER


def test_too_little_memory_is_said_before_anything_is_started(image: LinuxImage, tmp_path: Path) -> None:
    with pytest.raises(
        InfrastructureError, match=r"64 MiB are too little for .*root\.cpio, .*give the target"
    ):
        write_disk(image.kernel, image.initrd, "", 64, tmp_path / "disk.img")
