"""A stock kernel, unpacked: what its own decompressor would put into memory, and where to enter it.

On an emulated CPU, that decompressor takes longer than the rest of the boot.
"""

from __future__ import annotations

import json
import lzma
import struct
import subprocess
import zlib
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.segments import NoteSegment

from touchstone.machine.driver import InfrastructureError
from touchstone.whole_file import write_whole

PHYS32_ENTRY = 18
"""Type of the ELF note with the PVH entry point (XEN_ELFNOTE_PHYS32_ENTRY)."""


@dataclass(frozen=True)
class Kernel:
    """A kernel as it lies in memory."""

    address: int
    """Physical, of the first byte."""
    size: int
    """Bytes of it that are not zero; the ones behind are."""
    end: int
    """Physical, behind the last byte that the kernel takes for itself."""
    entry: int
    """Physical; in 32-bit protected mode, as the x86/HVM direct boot ABI says."""


def unpack_kernel(vmlinuz: Path, into: Path) -> Kernel:
    """Make ``into`` the memory of a kernel, or find that it was made. InfrastructureError for no such kernel.

    ``into`` gets a description beside it; ``vmlinuz`` is taken not to change.
    """
    beside = into.with_suffix(".json")
    try:
        return Kernel(**json.loads(beside.read_text()))
    except (OSError, ValueError, TypeError):
        pass
    try:
        kernel, memory = flatten(decompress(vmlinuz.read_bytes()))
    except (ValueError, ELFError) as error:
        raise InfrastructureError(f"{vmlinuz}: {error}") from None
    write_whole(into, memory)
    write_whole(beside, json.dumps(asdict(kernel)).encode())
    return kernel


def elf_kernel(vmlinuz: Path) -> Path:
    """The kernel as an ELF file beside it, for emulators that enter it as PVH; made once.

    The bzImage itself if nothing can be made of it: its own decompressor takes everything, and longer.
    """
    into = vmlinuz.with_name("vmlinux")
    if into.is_file():
        return into
    try:
        vmlinux = decompress(vmlinuz.read_bytes())
        flatten(vmlinux)
    except (ValueError, ELFError, InfrastructureError):
        return vmlinuz
    write_whole(into, vmlinux)
    return into


def decompress(bzimage: bytes) -> bytes:
    """The ELF file in a bzImage (Documentation/arch/x86/boot.rst). ValueError says what is wrong with it."""
    if len(bzimage) < 0x250 or bzimage[0x202:0x206] != b"HdrS":
        raise ValueError("this is no bzImage")
    setup_sectors = bzimage[0x1F1] or 4
    offset, length = struct.unpack_from("<II", bzimage, 0x248)
    start = (setup_sectors + 1) * 512 + offset
    payload = bzimage[start : start + length]
    try:
        if payload.startswith(b"\xfd7zXZ\0"):
            return lzma.LZMADecompressor().decompress(payload)
        if payload.startswith(b"\x1f\x8b"):
            return zlib.decompressobj(31).decompress(payload)
        if payload.startswith(b"\x28\xb5\x2f\xfd"):
            # Behind it are four bytes with the size of the result.
            run = subprocess.run(["zstd", "-dcq"], input=payload[:-4], capture_output=True, check=False)
            if run.returncode == 0:
                return run.stdout
            raise ValueError(f"zstd: {run.stderr.decode(errors='backslashreplace').strip()}")
    except FileNotFoundError:
        raise InfrastructureError("this kernel needs zstd to be unpacked (apt-get install zstd)") from None
    except (lzma.LZMAError, zlib.error) as error:
        raise ValueError(f"the kernel in it cannot be unpacked: {error}") from None
    raise ValueError(f"the kernel in it is compressed in an unknown format ({payload[:4].hex()})")


def flatten(vmlinux: bytes) -> tuple[Kernel, bytes]:
    """An ELF kernel as it lies in memory. ValueError or ELFError says what is wrong with it."""
    elf = ELFFile(BytesIO(vmlinux))
    loaded = [segment for segment in elf.iter_segments() if segment["p_type"] == "PT_LOAD"]
    entries = [
        int.from_bytes(note["n_descdata"], "little")
        for segment in elf.iter_segments()
        if isinstance(segment, NoteSegment)
        for note in segment.iter_notes()
        if note["n_name"] == "Xen" and str(note["n_type"]) == str(PHYS32_ENTRY)
    ]
    if not loaded or not entries:
        raise ValueError("the kernel in it has no PVH entry point (CONFIG_PVH)")
    address = min(segment["p_paddr"] for segment in loaded)
    end = max(segment["p_paddr"] + segment["p_memsz"] for segment in loaded)
    memory = bytearray(end - address)
    for segment in loaded:
        at = segment["p_paddr"] - address
        memory[at : at + segment["p_filesz"]] = segment.data()
    kept = bytes(memory).rstrip(b"\0")
    return Kernel(address=address, size=len(kept), end=end, entry=entries[0]), kept
