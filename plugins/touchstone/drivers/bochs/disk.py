"""The disks that Bochs boots Linux or a payload from: a boot sector, and memory as it is to be filled.

A Linux kernel is entered as the x86/HVM direct boot ABI says (xen/include/public/arch-x86/hvm/start_info.h),
with the root file system as its one module. Nothing is compressed: the emulated CPU would have to unpack it.
A bare image that has a payload behind it is entered as a Multiboot loader does.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path

from touchstone.drivers.emulated.payload_image import PackedPayload, flattened
from touchstone.drivers.linux_image.vmlinux import unpack_kernel
from touchstone.machine.driver import InfrastructureError
from touchstone.machine.multiboot import Program
from touchstone.shipped import source_root

SECTOR = 512
CYLINDER = 16 * 63 * SECTOR
"""Bytes; Bochs wants whole ones."""
MAGIC = 0x336EC578
MEMORY_MAP = 0x8000
"""Where the boot sector puts the memory map that it asks the BIOS for."""
HUGE_PAGE = 1 << 21
ROOM = 32 << 20
"""Bytes above root file system and start info that must be there: ACPI's tables lie at the top."""
_START_INFO = struct.Struct("<IIIIQQQQII")
_MODULE = struct.Struct("<QQQQ")


def write_disk(vmlinuz: Path, initrd: Path, command_line: str, memory_mib: int, path: Path) -> None:
    """Write the disk of a machine with ``memory_mib`` MiB. InfrastructureError if that is too little.

    The unpacked kernel is kept beside ``vmlinuz``, which is taken not to change.
    """
    unpacked = vmlinuz.with_name("vmlinux.bin")
    kernel = unpack_kernel(vmlinuz, unpacked)
    size = initrd.stat().st_size
    root = -(-kernel.end // HUGE_PAGE) * HUGE_PAGE
    info = -(-(root + size) // SECTOR) * SECTOR
    if info + ROOM > memory_mib << 20:
        raise InfrastructureError(
            f"{memory_mib} MiB are too little for {initrd}, which alone has {size >> 20} MiB: "
            f"give the target {(info + 2 * ROOM) >> 20} with memory-mib"
        )
    words = start_info(info, root, size, command_line)
    end = info + len(words)
    sectors = -(-(end - kernel.address) // SECTOR)
    symbols = {"LOAD": kernel.address, "SECTORS": sectors, "START_INFO": info, "ENTRY": kernel.entry}
    boot = _assemble("bochs_boot.S", symbols, path.with_name("boot"))
    with path.open("wb") as disk:
        disk.write(boot)
        for address, source in ((kernel.address, unpacked), (root, initrd)):
            disk.seek(SECTOR + address - kernel.address)
            with source.open("rb") as data:
                shutil.copyfileobj(data, disk, 1 << 20)
        disk.seek(SECTOR + info - kernel.address)
        disk.write(words)
        disk.truncate(-(-(SECTOR + sectors * SECTOR) // CYLINDER) * CYLINDER)


def write_payload_disk(image: Program, payload: PackedPayload, path: Path) -> None:
    """Write the disk of a machine that boots a bare image, which has a payload behind it in memory."""
    memory = flattened(image)
    first = min(one.address for one in image.segments)
    memory += bytes(payload.address - first - len(memory)) + payload.data
    sectors = -(-len(memory) // SECTOR)
    symbols = {"LOAD": first, "SECTORS": sectors, "INFORMATION": payload.information, "ENTRY": image.entry}
    with path.open("wb") as disk:
        disk.write(_assemble("bochs_boot_multiboot.S", symbols, path.with_name("boot")))
        disk.write(memory)
        disk.truncate(-(-(SECTOR + sectors * SECTOR) // CYLINDER) * CYLINDER)


def start_info(address: int, root: int, size: int, command_line: str) -> bytes:
    """The start info for a root file system, with what it points to behind it, to be put at ``address``.

    The boot sector fills in the number of entries of the memory map.
    """
    module = address + _START_INFO.size
    words = module + _MODULE.size
    version, flags, modules, rsdp, entries = 1, 0, 1, 0, 0
    return (
        _START_INFO.pack(MAGIC, version, flags, modules, module, words, rsdp, MEMORY_MAP, entries, 0)
        + _MODULE.pack(root, size, 0, 0)
        + command_line.encode("ascii")
        + b"\0"
    )


def _assemble(name: str, symbols: Mapping[str, int], stem: Path) -> bytes:
    """A boot sector of ``targets/images``."""
    targets = source_root() / "targets"
    source = targets / "images" / name
    defined = [word for name, value in symbols.items() for word in ("--defsym", f"{name}={value:#x}")]
    compiled, linked = stem.with_suffix(".o"), stem.with_suffix(".bin")
    for command in (
        [
            "as",
            "--64",
            "-I",
            str(targets / "bare"),
            "-I",
            str(targets / "images"),
            *defined,
            "-o",
            str(compiled),
            str(source),
        ],
        ["ld", "-m", "elf_x86_64", "-Ttext=0x7c00", "--oformat=binary", "-o", str(linked), str(compiled)],
    ):
        try:
            run = subprocess.run(command, capture_output=True, check=False, env={**os.environ, "LC_ALL": "C"})
        except FileNotFoundError:
            raise InfrastructureError(f"{command[0]} is missing (apt-get install binutils)") from None
        if run.returncode:
            raise InfrastructureError(f"{source}: {run.stderr.decode(errors='backslashreplace').strip()}")
    boot = linked.read_bytes()
    assert len(boot) == SECTOR
    return boot
