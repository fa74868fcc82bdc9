"""What is put into a machine's memory for a payload: struct payload of targets/bare/payload.h."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from touchstone.machine.driver import HostError
from touchstone.machine.multiboot import NotMultiboot, Program, read_program
from touchstone.machine.payload import Payload

IMAGE_BASE = 208 << 20
"""Where the bare image lies. OS and subject allocate above; the payload has what is below."""
MEMORY_MIB = 256
"""Of a machine with a payload, at least."""
OURS = 24 << 20
"""Bytes from IMAGE_BASE on that image and payload's files have, and that OS and subject allocate."""
LOW_MEMORY_KIB = 632
"""Of the 639 that the BIOS has: targets/bare/payload.h."""
START_PAGE = LOW_MEMORY_KIB << 10
"""A page in which CPUs start that the payload starts under a subject."""
_MAGIC = 0x31444F4C594150
_HEADER, _SEGMENT = struct.Struct("<QIIII"), struct.Struct("<IIII")
_INFORMATION, _MODULE = struct.Struct("<IIIIIII16xIIIIII"), struct.Struct("<IIII")
_RANGE = struct.Struct("<IQQI")
_MEMORY, _COMMAND_LINE, _MODULES, _MAP, _LOADER = 1, 4, 8, 0x40, 0x200
_USABLE, _RESERVED = 1, 2
PAGE = 4096
GAP = 0x10000
"""Bytes behind the image: targets/bare/payload.h."""


@dataclass(frozen=True)
class PackedPayload:
    """What lies behind the bare image."""

    address: int
    data: bytes
    information: int
    """Address of Multiboot information for the bare image, where no other loader gives it any."""


class _Space:
    """Bytes that are put one behind the other, from an address on."""

    def __init__(self, address: int) -> None:
        self.address = address
        self.data = bytearray()

    def put(self, data: bytes, alignment: int = 8) -> int:
        """Append; the address."""
        self.data += bytes(-(self.address + len(self.data)) % alignment)
        at = self.address + len(self.data)
        self.data += data
        return at


def pack(payload: Payload, image: Program) -> PackedPayload:
    """The payload as the bare image expects it behind itself. HostError for a file that cannot be loaded."""
    try:
        program = read_program(payload.program)
        modules = [(path.name, path.read_bytes()) for path in payload.modules]
    except NotMultiboot as error:
        raise HostError(f"{payload.program}: {error}") from None
    except OSError as error:
        raise HostError(f"{error.filename}: {error.strerror}") from None
    _demand_place(payload, program)
    end = max(one.address + one.size for one in image.segments)
    space = _Space(-(-end // PAGE) * PAGE + GAP)
    header = _HEADER.size + len(program.segments) * _SEGMENT.size
    space.put(bytes(header))
    segments = [
        (one.address, one.size, space.put(one.data) - space.address, len(one.data))
        for one in program.segments
    ]
    information = _put_information(space, payload, modules)
    own = space.put(struct.pack("<III", _MEMORY, LOW_MEMORY_KIB, (IMAGE_BASE + OURS - (1 << 20)) >> 10))
    if space.address + len(space.data) > IMAGE_BASE + OURS // 2:
        raise HostError(f"{payload.program} and its modules are larger than {OURS >> 21} MiB")
    first = _HEADER.pack(_MAGIC, len(space.data), program.entry, information, len(segments))
    space.data[:header] = first + b"".join(_SEGMENT.pack(*one) for one in segments)
    return PackedPayload(space.address, bytes(space.data), own)


def flattened(image: Program) -> bytearray:
    """The memory from an image's first to its last byte."""
    start = min(one.address for one in image.segments)
    memory = bytearray(max(one.address + one.size for one in image.segments) - start)
    for one in image.segments:
        memory[one.address - start : one.address - start + len(one.data)] = one.data
    return memory


def _demand_place(payload: Payload, program: Program) -> None:
    for one in program.segments:
        end = one.address + one.size
        if one.address < PAGE or end > IMAGE_BASE or (one.address < START_PAGE + PAGE and end > START_PAGE):
            raise HostError(
                f"{payload.program}: its segment at {one.address:#x}, {one.size:#x} bytes, is not between"
                f" {PAGE:#x} and {IMAGE_BASE:#x}, where a payload can lie, outside of page {START_PAGE:#x}"
            )


def _put_information(space: _Space, payload: Payload, modules: list[tuple[str, bytes]]) -> int:
    """The Multiboot information (3.3) of the payload: its address."""
    line = f"{payload.program.name} {payload.arguments}".rstrip()
    command = space.put(line.encode("utf-8", "backslashreplace") + b"\0")
    table = b""
    for name, data in modules:
        start = space.put(data, PAGE)
        text = space.put(name.encode("utf-8", "backslashreplace") + b"\0")
        table += _MODULE.pack(start, start + len(data), text, 0)
    loaded = space.put(table)
    low, high = LOW_MEMORY_KIB << 10, 1 << 20
    ranges = [(0, low, _USABLE), (high, IMAGE_BASE - high, _USABLE), (IMAGE_BASE, OURS, _RESERVED)]
    entries = b"".join(_RANGE.pack(_RANGE.size - 4, *one) for one in ranges)
    memory_map = space.put(entries)
    loader = space.put(b"Touchstone\0")
    flags = _MEMORY | _COMMAND_LINE | _MODULES | _MAP | _LOADER
    upper = (IMAGE_BASE - high) >> 10
    return space.put(
        _INFORMATION.pack(
            *(flags, LOW_MEMORY_KIB, upper, 0, command, len(modules), loaded),
            *(len(entries), memory_map, 0, 0, 0, loader),
        )
        + bytes(52)
    )
