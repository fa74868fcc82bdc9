"""Veneer's reading of the MTRRs, against one that goes by the manual's words, page by page (SDM 3A 12.11)."""

import ctypes
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "hypervisor" / "vmx" / "mtrr.c"
UC, WC, WT, WP, WB = 0, 1, 4, 5, 6
PAGE, MIB2, GIB = 1 << 12, 1 << 21, 1 << 30
ENABLED, FIXED_ENABLED, VALID = 1 << 11, 1 << 10, 1 << 11


class Variable(ctypes.Structure):
    """struct mtrrs' pair of MSRs."""

    _fields_ = (("base", ctypes.c_uint64), ("mask", ctypes.c_uint64))


class Mtrrs(ctypes.Structure):
    """struct mtrrs of mtrr.h."""

    _fields_ = (
        ("default_type", ctypes.c_uint64),
        ("has_fixed", ctypes.c_uint32),
        ("variable_count", ctypes.c_uint32),
        ("fixed", ctypes.c_uint64 * 11),
        ("variable", Variable * 32),
        ("address_bits", ctypes.c_uint32),
    )


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """mtrr.c as a shared library."""
    path = tmp_path_factory.mktemp("mtrr") / "mtrr.so"
    command = ["gcc", "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(path), str(SOURCE)]
    subprocess.run(command, check=True)
    library = ctypes.CDLL(str(path))
    library.mtrr_type.argtypes = (ctypes.POINTER(Mtrrs), ctypes.c_uint64)
    library.mtrr_type.restype = ctypes.c_uint8
    library.mtrr_may_differ.argtypes = (ctypes.POINTER(Mtrrs), ctypes.c_uint64, ctypes.c_uint64)
    library.mtrr_may_differ.restype = ctypes.c_bool
    return library


def make(
    *ranges: tuple[int, int, int], default: int = UC, bits: int = 39, fixed: list[int] | None = None
) -> Mtrrs:
    """MTRRs with variable ranges (base, size, type), enabled; ``fixed`` has the 88 types of the first MiB."""
    mtrrs = Mtrrs(default_type=ENABLED | default, address_bits=bits, variable_count=len(ranges))
    for i, (base, size, kind) in enumerate(ranges):
        mtrrs.variable[i] = Variable(base | kind, ((1 << bits) - size) | VALID)
    if fixed is not None:
        mtrrs.has_fixed = 1
        mtrrs.default_type |= FIXED_ENABLED
        for i in range(11):
            mtrrs.fixed[i] = int.from_bytes(bytes(fixed[8 * i : 8 * i + 8]), "little")
    return mtrrs


# Where the 88 fixed ranges begin: 8 of 64 KiB, 16 of 16 KiB, 64 of 4 KiB (SDM 3A table 12-9).
FIXED_STARTS = [
    *range(0, 0x80000, 0x10000),
    *range(0x80000, 0xC0000, 0x4000),
    *range(0xC0000, 0x100000, 0x1000),
]


def by_the_manual(mtrrs: Mtrrs, address: int) -> int:
    """The type of an address as SDM 3A 12.11.4.1 says it."""
    if not mtrrs.default_type & ENABLED:
        return UC
    if mtrrs.has_fixed and mtrrs.default_type & FIXED_ENABLED and address < 0x100000:
        index = max(i for i, start in enumerate(FIXED_STARTS) if start <= address)
        return int(mtrrs.fixed[index // 8] >> 8 * (index % 8) & 0xFF)
    top = (1 << mtrrs.address_bits) - 1
    types = {
        pair.base & 0xFF
        for pair in mtrrs.variable[: mtrrs.variable_count]
        if pair.mask & VALID and address & pair.mask & top & ~0xFFF == pair.base & pair.mask & top & ~0xFFF
    }
    if not types:
        return int(mtrrs.default_type & 0xFF)
    if len(types) == 1:
        return int(types.pop())
    if types == {WT, WB}:
        return WT
    return UC  # because of a UC range, or undefined: then the safe one


def borders(mtrrs: Mtrrs) -> list[int]:
    """The pages on both sides of everything that could be a border."""
    top = 1 << mtrrs.address_bits
    edges = {0, 0x100000, top, *FIXED_STARTS}
    for pair in mtrrs.variable[: mtrrs.variable_count]:
        lowest = pair.mask & ~0xFFF & (top - 1)
        size = lowest & -lowest or top
        base = pair.base & ~0xFFF
        edges |= {base, base + size, base & ~(MIB2 - 1), base & ~(GIB - 1)}
    return sorted({edge + step for edge in edges for step in (-PAGE, 0, PAGE) if 0 <= edge + step < top})


CASES: dict[str, Callable[[], Mtrrs]] = {
    "a hole below 4 GiB": lambda: make((0, 2 * GIB, WB), (2 * GIB, GIB, WB), default=UC),
    "uncached tail": lambda: make((3 * GIB, GIB, UC), (3 * GIB - 8 * MIB2, 8 * MIB2, UC), default=WB),
    "border inside 2 MiB": lambda: make((5 * GIB + 3 * PAGE, PAGE, WC), default=WB),
    "border inside 1 GiB": lambda: make((5 * GIB + MIB2, MIB2, WP), default=WB),
    "last page": lambda: make(((1 << 39) - PAGE, PAGE, UC), default=WB),
    "UC wins": lambda: make((0, GIB, WB), (GIB // 2, GIB // 2, UC), default=WC),
    "WT wins over WB": lambda: make((0, GIB, WB), (GIB // 2, GIB // 2, WT), default=UC),
    "UC wins over WT and WB": lambda: make((0, GIB, WB), (0, GIB // 2, WT), (0, PAGE, UC), default=WC),
    "undefined overlap": lambda: make((0, GIB, WC), (0, GIB // 2, WP), default=WB),
    "disabled": lambda: Mtrrs(default_type=WB, address_bits=39),
    "fixed ranges": lambda: make((0, GIB, WB), fixed=[(UC, WC, WT, WP, WB)[i % 5] for i in range(88)]),
    "36 bits": lambda: make((0, 1 << 35, WB), (1 << 35, 1 << 35, WT), bits=36),
    "52 bits": lambda: make((1 << 51, 1 << 51, WC), default=WB, bits=52),
}


@pytest.mark.parametrize("case", CASES)
def test_type_at_borders(library: ctypes.CDLL, case: str) -> None:
    mtrrs = CASES[case]()
    for address in borders(mtrrs):
        assert library.mtrr_type(mtrrs, address) == by_the_manual(mtrrs, address), hex(address)


@pytest.mark.parametrize("case", CASES)
def test_page_that_may_not_differ_has_one_type(library: ctypes.CDLL, case: str) -> None:
    check_sizes(library, CASES[case]())


def test_invalid_range_does_not_count(library: ctypes.CDLL) -> None:
    mtrrs = make((0, GIB, WC), default=WB)
    mtrrs.variable[0].mask &= ~VALID
    assert library.mtrr_type(mtrrs, 0) == WB
    assert not library.mtrr_may_differ(mtrrs, 0, 2 * GIB)


def test_large_pages_away_from_borders(library: ctypes.CDLL) -> None:
    """The map stays small: only where a border is may pages be split."""
    mtrrs = make((0, GIB, WB), (5 * GIB + 3 * PAGE, PAGE, WC), default=UC)
    split = [start // GIB for start in range(0, 16 * GIB, GIB) if library.mtrr_may_differ(mtrrs, start, GIB)]
    assert split == [5]
    split = [start for start in range(5 * GIB, 6 * GIB, MIB2) if library.mtrr_may_differ(mtrrs, start, MIB2)]
    assert split == [5 * GIB]


@pytest.mark.parametrize("seed", range(40))
def test_random(library: ctypes.CDLL, seed: int) -> None:
    draw = random.Random(seed)
    bits = draw.choice([36, 39, 40, 46])
    ranges = []
    for _ in range(draw.randrange(1, 10)):
        size = 1 << draw.randrange(12, bits)
        ranges.append((draw.randrange((1 << bits) // size) * size, size, draw.choice([UC, WC, WT, WP, WB])))
    fixed = [draw.choice([UC, WC, WT, WP, WB]) for _ in range(88)] if draw.random() < 0.5 else None
    mtrrs = make(*ranges, default=draw.choice([UC, WB]), bits=bits, fixed=fixed)
    if draw.random() < 0.3:
        # A mask with a gap, which makes a range of several pieces (SDM 3A 12.11.3.1).
        mtrrs.variable[0].mask &= ~(1 << draw.randrange(20, bits))
    for address in borders(mtrrs):
        assert library.mtrr_type(mtrrs, address) == by_the_manual(mtrrs, address), hex(address)
    check_sizes(library, mtrrs)


def check_sizes(library: ctypes.CDLL, mtrrs: Mtrrs) -> None:
    edges = borders(mtrrs)
    for size in (PAGE, MIB2, GIB):
        for address in {edge & ~(size - 1) for edge in edges}:
            if library.mtrr_may_differ(mtrrs, address, size):
                assert size > PAGE
                continue
            inside = [edge for edge in edges if address <= edge < address + size]
            inside += [address, address + size - PAGE]
            types = {by_the_manual(mtrrs, page) for page in inside}
            assert len(types) == 1, f"{address:#x}, {size:#x}"
