"""Bodies that were assembled before, kept on disk: a run need not assemble again what has not changed."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from touchstone.suite.code import Code, Text
from touchstone.suite.kept import keep, readers, take

MOST = 20_000
"""Bodies in a file: with more, those that a run does not need are dropped. The catalogue has some 1,400."""


class KeptCodes:
    """One file with the bytes of bodies; those with a mistake in them are not kept.

    What is in it counts only for the same assembler and the same code of Touchstone's. A file that is
    damaged, or cannot be written, costs the time to assemble.
    """

    def __init__(self, file: Path, program: str = "as") -> None:
        """``program``: the assembler, as it is found on PATH. Reads nothing yet."""
        self._file = file
        self._program = program

    @cached_property
    def _key(self) -> bytes | None:
        """A hash of what decides on the bytes, beside the text. None if there is no assembler."""
        program = shutil.which(self._program)
        if program is None:
            return None
        real = Path(program).resolve()
        status = real.stat()
        about = f"{real}\0{status.st_size} {status.st_mtime_ns}\0"
        return hashlib.sha256(about.encode("utf-8", "surrogateescape") + readers()).digest()

    @cached_property
    def _codes(self) -> dict[Text, Code]:
        found = None if self._key is None else take(self._file, self._key)
        if found is None:
            return {}
        assert isinstance(found, dict)
        return found

    def get(self, text: Text) -> Code | None:
        """What the assembler made of a text."""
        return self._codes.get(text)

    def add(self, new: Mapping[Text, Code], needed: Mapping[Text, object]) -> None:
        """Keep what was assembled. ``needed``: all that this run asked for."""
        if not new or self._key is None:
            return
        codes = self._codes
        codes.update(new)
        if len(codes) > MOST:
            codes = {text: code for text, code in codes.items() if text in needed}
        keep(self._file, self._key, codes)
