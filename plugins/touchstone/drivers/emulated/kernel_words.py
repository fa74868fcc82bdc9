"""What a target adds to the command line of its Linux: words, and ranges of the memory map."""

from __future__ import annotations

import re
from collections.abc import Mapping

from touchstone.machine.settings import SettingsError, TargetSettings

OPTIONS: Mapping[str, type] = {"kernel_arguments": str, "memmap": list}
"""``kernel-arguments``: words for the kernel; ``memmap``: a list of values of its parameter of that name."""
MOST = 1024
"""Characters of ``kernel-arguments``: the kernel takes 2047, with ours."""
_NUMBER = r"(0x[0-9a-fA-F]{1,16}|[0-9]{1,18})([KMG]?)"
_RANGE = re.compile(rf"{_NUMBER}([@#$!]){_NUMBER}")
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def kernel_words(settings: TargetSettings) -> str:
    """The words for the end of the kernel's command line; empty if the target adds none.

    SettingsError for what a kernel would not take, or would ignore.
    """
    options = {key.replace("-", "_"): value for key, value in settings.options.items()}
    words = options.get("kernel_arguments", "")
    if not isinstance(words, str) or not words.isascii() or not (words == "" or words.isprintable()):
        raise SettingsError("kernel_arguments", f"{words!r} is not a line of ASCII characters")
    if len(words) > MOST:
        raise SettingsError("kernel_arguments", f"{len(words)} characters are more than {MOST}")
    ranges = options.get("memmap", [])
    if not isinstance(ranges, list):
        raise SettingsError("memmap", f"{ranges!r} is not a list of ranges such as '64M$448M'")
    return " ".join([*words.split(), *(f"memmap={_checked(one, settings.memory_mib)}" for one in ranges)])


def _checked(one: object, memory_mib: int) -> str:
    found = _RANGE.fullmatch(one) if isinstance(one, str) else None
    if found is None:
        raise SettingsError(
            "memmap", f"{one!r} is no range: SIZE$START is reserved, with K, M or G, such as '64M$448M'"
        )
    size, start = (int(found[at], 0) * _UNITS[found[at + 1]] for at in (1, 4))
    if found[3] == "$" and (size == 0 or start + size > memory_mib << 20):
        raise SettingsError("memmap", f"{one!r} is not within the machine's {memory_mib} MiB")
    return found[0]
