"""Reads files that people write."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def read_limited(path: Path, most: int) -> bytes:
    """The bytes of a regular file; OSError if it is none (a pipe would be waited for), or has more bytes."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        kind = stat.S_IFMT(os.fstat(descriptor).st_mode)
        if kind != stat.S_IFREG:
            raise OSError(0, f"it is {_KINDS.get(kind, 'no file')}")
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(0, f"it has more than {most} bytes")
    return data


_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}
