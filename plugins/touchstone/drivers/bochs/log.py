"""What Bochs writes into its log: what the guest did wrong, why it panicked, and the registers then."""

from __future__ import annotations

import os
import re
from pathlib import Path

_INFORMATION = re.compile(r"^\d+i\[")
_DUMPED = re.compile(r"^\d+i\[CPU(\d+) *\] (?:\| )?(?P<text>.*)")


def read_log(path: Path) -> str:
    """The end of a log; nothing if there is none."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 262144))
            return log.read().decode("utf-8", "backslashreplace")
    except OSError:
        return ""


def last_panic(log: str) -> str:
    """What Bochs ended with, or nothing."""
    found = re.findall(r">>PANIC<< (.*)", log)
    return found[-1].strip() if found else ""


def log_tail(log: str, said: str) -> str:
    """The end of a log since the boot sector, without dumped registers; else Bochs' last words.

    Whatever keeps Bochs from starting at all is told on its terminal: ``said``.
    """
    booted = log.partition("] Booting from ")[2]
    if lines := [line for line in booted.splitlines()[1:] if not _DUMPED.search(line)]:
        return "\n".join(lines[-40:])
    lines = [*log.splitlines()[-10:], *said.splitlines()]
    return "\n".join(line for line in lines if not _INFORMATION.match(line))


def dumped_registers(log: str) -> dict[int, str]:
    """What Bochs writes of every CPU into its log when it panics; the last dump counts."""
    panic = log.rfind(">>PANIC<<")
    found: dict[int, list[str]] = {}
    if panic >= 0:
        for line in log[panic:].splitlines()[1:]:
            if match := _DUMPED.search(line):
                found.setdefault(int(match[1]), []).append(match["text"])
    return {cpu: "\n".join(lines) for cpu, lines in sorted(found.items())}
