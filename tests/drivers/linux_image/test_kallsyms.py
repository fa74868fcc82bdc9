"""A kernel's own table of its functions is found, wherever its version has put it."""

from __future__ import annotations

import struct
from itertools import accumulate
from pathlib import Path

import pytest

from tests.support import boxes
from touchstone.drivers.linux_image.image import build_image
from touchstone.drivers.linux_image.kallsyms import KernelSymbols, read_kallsyms

COUNT, BASE = 10_300, 0xFFFF_FFFF_8100_0000
NAMES = [
    b"%c%s%d" % (b"tTdD"[number % 4], b"f" * (9 + (number % 50 == 0) * 115), number)
    for number in range(COUNT)
]
TOKENS = [bytes((code,)) if 0x20 < code < 0x7F else b"<%d>" % code for code in range(256)]


def aligned(data: bytes) -> bytes:
    return data + bytes(-len(data) % 8)


def table(*, offsets_in_front: bool, sequence: bool) -> bytes:
    """What scripts/kallsyms.c writes, without any compression."""
    offsets = aligned(struct.pack(f"<{COUNT}i", *(-1 - 16 * number for number in range(COUNT))))
    where = offsets + struct.pack("<Q", BASE)
    lengths = [
        bytes((len(name),)) if len(name) < 128 else bytes((len(name) & 0x7F | 0x80, len(name) >> 7))
        for name in NAMES
    ]
    entries = [length + name for length, name in zip(lengths, NAMES, strict=True)]
    starts = [0, *accumulate(map(len, entries))][:-1]
    parts = [
        struct.pack("<Q", COUNT),
        b"".join(entries),
        struct.pack(f"<{len(starts[::256])}I", *starts[::256]),
        b"\x01\x02\x03" * COUNT if sequence else b"",
        b"".join(token + b"\0" for token in TOKENS),
        struct.pack("<256H", *[0, *accumulate(len(token) + 1 for token in TOKENS)][:-1]),
    ]
    parts = [where, *parts] if offsets_in_front else [*parts, where]
    return b"\xcc" * 4096 + b"".join(map(aligned, parts)) + b"\xcc" * 4096


@pytest.mark.parametrize("sequence", [False, True])
@pytest.mark.parametrize("offsets_in_front", [False, True])
def test_names_are_found_in_each_order(offsets_in_front: bool, sequence: bool) -> None:
    found = read_kallsyms(table(offsets_in_front=offsets_in_front, sequence=sequence))
    functions = [number for number in range(COUNT) if number % 4 < 2]
    assert found == [(BASE + 16 * number, NAMES[number][1:].decode()) for number in functions]


@pytest.mark.parametrize(
    "data", [b"", b"".join(bytes((digit, 0)) for digit in b"0123456789") * 300, bytes(5000)]
)
def test_what_is_no_table_has_no_names(data: bytes) -> None:
    assert read_kallsyms(data) == []


def test_a_table_that_was_cut_off_has_no_names() -> None:
    whole = table(offsets_in_front=True, sequence=False)
    assert read_kallsyms(whole[9000:]) == []


def test_a_stock_kernel_names_its_functions() -> None:
    symbols = KernelSymbols(build_image(boxes.IMAGE, boxes.say).kernel)
    addresses = {symbol.name: symbol.address for symbol in symbols._code_symbols[1]}
    write_msr = addresses["native_write_msr"]
    assert b"\x0f\x30" in symbols.code(write_msr, 32)  # WRMSR
    assert symbols.describe(write_msr + 5) == "native_write_msr+0x5"
    assert symbols.describe(addresses["panic"] + 0x100) == "panic+0x100"
    assert len(addresses) > 20_000


def test_a_kernel_that_cannot_be_unpacked_has_no_names(tmp_path: Path) -> None:
    (tmp_path / "vmlinuz").write_bytes(b"MZ")
    symbols = KernelSymbols(tmp_path / "vmlinuz")
    assert symbols.describe(BASE) == ""
    assert "no bzImage" in symbols.problem
