"""A file that another program writes and that we read on as it grows: a console, a serial port."""

from __future__ import annotations

import os
from pathlib import Path


class FollowedFile:
    """Remembers how far it was read."""

    def __init__(self, path: Path, *, from_end: bool = False) -> None:
        """``from_end``: leave out what is in the file already. OSError if that cannot be found out."""
        self._path = path
        self._position = path.stat().st_size if from_end else 0

    def read_new(self) -> bytes:
        """What was written since the last call; nothing if the file is not there (yet).

        A file that became shorter was rotated, and is read from its beginning.
        """
        try:
            with self._path.open("rb") as file:
                if file.seek(0, os.SEEK_END) < self._position:
                    self._position = 0
                file.seek(self._position)
                data = file.read()
        except OSError:
            return b""
        self._position += len(data)
        return data
