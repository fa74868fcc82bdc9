"""Bits of CPUID leaves and of MSRs that a requirement names by their place: ``cpuid.0x80000008.ebx[3]``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from touchstone.suite import cpuid, msrs
from touchstone.suite.numeral import number
from touchstone.suite.problems import did_you_mean, did_you_mean_or_all
from touchstone.suite.registers import MSR_TABLES, TABLES, BitField, table


class CpuidBits(NamedTuple):
    """Bits of a register of a CPUID leaf."""

    leaf: int
    subleaf: int
    register: str
    """``eax``, ``ebx``, ``ecx`` or ``edx``."""
    low: int
    width: int


class MsrBits(NamedTuple):
    """Bits of an MSR."""

    msr: int
    low: int
    width: int


class UnknownBits(Exception):
    """A name of no bits; its text says what is wrong, and what was meant."""


_PLACE = re.compile(r"(?P<holder>[^\[\]]+)(?:\[(?P<high>[0-9]+)(?::(?P<low>[0-9]+))?\])?")
_LEAF = re.compile(r"cpuid\.(0x[0-9a-f]+|[0-9]+)(?:\.(0x[0-9a-f]+|[0-9]+))?\.(e[abcd]x)(?:\.([a-z0-9-]+))?")
_MSR = re.compile(r"msr\.([a-z0-9_-]+)(?:\.([a-z0-9-]+))?")


@lru_cache(1024)
def parse(name: str) -> CpuidBits | MsrBits:
    """The bits that a name means; UnknownBits if it means none.

    ``cpuid.xsave``, ``cpuid.7.1.eax[4]``, ``cpuid.7.ebx.smep``, ``msr.0x140[0]``,
    ``msr.ia32-feature-control.lock``; without a place, the whole register.
    """
    place = _PLACE.fullmatch(name)
    if not place:
        raise UnknownBits(f"'{name}': bits are [HIGH:LOW], or one bit [N]")
    holder = place["holder"]
    part = None
    if place["high"] is not None:
        high, low = number(place["high"]), number(place["low"] or place["high"])
        if high is None or low is None:
            raise UnknownBits(f"'{name}': bits are [HIGH:LOW], or one bit [N]")
        part = high, low
    if holder.startswith("msr."):
        return _msr_bits(name, holder, part)
    if not re.match(r"cpuid\.[0-9]", holder):
        return _feature(name, holder.removeprefix("cpuid."), part is not None)
    leaf = _LEAF.fullmatch(holder)
    number_of_leaf, subleaf = (number(leaf[1]), number(leaf[2] or "0")) if leaf else (None, None)
    if not leaf or number_of_leaf is None or subleaf is None:
        raise UnknownBits(
            f"'{name}': a CPUID leaf is cpuid.LEAF.REGISTER[BIT] or cpuid.LEAF.SUBLEAF.REGISTER[BIT]:"
            " cpuid.0x80000008.ebx[3]"
        )
    if max(number_of_leaf, subleaf) >= 2**32:
        raise UnknownBits(f"'{name}': leaves and subleaves have 32 bits")
    names = table(holder.removesuffix(f".{leaf[4]}")) if leaf[4] else None
    low, width = _bits(name, 32, part, leaf[4], names)
    return CpuidBits(number_of_leaf, subleaf, leaf[3], low, width)


def _feature(name: str, word: str, has_place: bool) -> CpuidBits:
    feature = cpuid.features().get(word)
    if feature is None:
        raise UnknownBits(f"there is no CPUID feature '{word}'{did_you_mean(word, cpuid.features())}")
    if has_place:
        raise UnknownBits(f"'{name}': {word} is a feature, which has its bits already; write cpuid.{word}")
    return CpuidBits(*feature)


def _msr_bits(name: str, holder: str, part: tuple[int, int] | None) -> MsrBits:
    words = _MSR.fullmatch(holder)
    msr = msrs.find(words[1]) if words else None
    if not words or msr is None:
        word = holder.split(".")[1]
        raise UnknownBits(f"'{word}' is no MSR{did_you_mean(word, msrs.MSRS) or '; write its number'}")
    names = TABLES[MSR_TABLES[msr]] if msr in MSR_TABLES else None
    return MsrBits(msr, *_bits(name, 64, part, words[2], names))


def _bits(
    name: str,
    size: int,
    part: tuple[int, int] | None,
    field: str | None,
    names: Mapping[str, BitField] | None,
) -> tuple[int, int]:
    """(lowest bit, bits) of what is named; all ``size`` bits if nothing is."""
    if field is not None:
        holder = name.split(f".{field}", maxsplit=1)[0]
        if part is not None:
            raise UnknownBits(f"'{name}': say either a name or a place")
        if names is None:
            raise UnknownBits(f"the bits of {holder} have no names here; write the place: {holder}[3]")
        if field not in names:
            raise UnknownBits(f"{holder} has no bit '{field}'{did_you_mean_or_all(field, names)}")
        return names[field]
    if part is None:
        return 0, size
    high, low = part
    if not low <= high < size:
        raise UnknownBits(f"'{name}': bits are [HIGH:LOW], from {size - 1} to 0, or one bit [N]")
    return low, high - low + 1
