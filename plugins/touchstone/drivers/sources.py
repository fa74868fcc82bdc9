"""Sources of a subject or of the agent, and their build by a shell command in a copy of them."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from touchstone.drivers.tool import run_tool, tail_of
from touchstone.machine.driver import HostError


def substitute(text: str, values: Mapping[str, str]) -> str:
    """Put values for ``{key}``, quoted for the shell; other braces are the shell's."""
    for key, value in values.items():
        text = text.replace("{" + key + "}", shlex.quote(value))
    return text


def source_files(sources: Path) -> Iterator[Path]:
    """The files of a source directory in a fixed order, without hidden and generated ones."""
    for directory, names, files in os.walk(sources):
        names[:] = sorted(name for name in names if not name.startswith((".", "__pycache__")))
        for name in sorted(files):
            if not name.startswith("."):
                yield Path(directory) / name


def hash_sources(sources: Path, title: str, *more: str) -> str:
    """A hash of the files of a source directory, and of what else counts. HostError: no files."""
    digest = hashlib.sha256("".join(f"{word}\0" for word in more).encode())
    count = 0
    for path in source_files(sources):
        digest.update(f"{path.relative_to(sources)}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
        count += 1
    if not count:
        raise HostError(f"{sources}: there are no sources of {title}")
    return digest.hexdigest()[:16]


Explain = Callable[[bytes], str]
"""Takes what a build that failed printed, and says what is known to be the reason, or nothing."""


def build_in_copy(
    sources: Path,
    command: str,
    values: Mapping[str, str],
    files: Sequence[str],
    into: Path,
    what: str,
    explain: Explain = lambda _: "",
) -> None:
    """Build in a copy of the sources, and put the files that it made into a directory.

    ``command`` may have ``{build}``, the directory of ``files``, and the keys of ``values``.
    HostError with the compiler's words.
    """
    # A build may write next to its sources, and a kernel's takes no spaces in paths.
    with tempfile.TemporaryDirectory(prefix="touchstone-build-", dir="/tmp") as name:
        work = Path(name)
        for path in source_files(sources):
            copy = work / "src" / path.relative_to(sources)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, copy)
        (work / "build").mkdir()
        text = substitute(command, {**values, "build": str(work / "build")})
        status, output = run_tool(["sh", "-c", text], work / "src")
        if status:
            raise HostError(f"building {what} failed{explain(output)}\n{text}\n{tail_of(output)}")
        for file in files:
            if (made := work / "build" / file).is_file():
                shutil.copy2(made, into / made.name)
