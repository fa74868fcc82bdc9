"""Make a project: a subject that builds, a suite, settings of pytest, and a workflow that runs it.

The files are in ``templates/``: those in ``common`` and those of each way in that is asked for. In their
text and names, ``@NAME@`` is the subject's name, ``@IDENTIFIER@`` the name as C takes it, and ``@EBX@``,
``@ECX@``, ``@EDX@`` its signature in CPUID leaf 4000_0000, ``@TARGETS@`` those that judge it at once,
``@TARGET@`` the first of them.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

WAYS = {
    "bare": "linked into a tiny OS, on emulated machines",
    "linux": "a module of a running Linux",
    "uefi": "a program of a UEFI firmware, before the OS",
}
"""The ways in that there are skeletons for, and what they are."""
TARGETS = {"bare": ("qemu-amd", "bochs-intel"), "linux": ("linux-amd",), "uefi": ("qemu-amd-uefi",)}
"""The targets that judge a subject with that way in at once."""
_TEMPLATES = Path(__file__).parent / "templates"
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


class NewProjectError(Exception):
    """Why the project cannot be made, in words for the person who asked."""


def make_project(name: str, ways: Sequence[str], directory: Path) -> list[str]:
    """Make ``directory``, which must not exist or be empty, and return the names of its files.

    It gets its name when everything is in it. NewProjectError if ``name`` is none, OSError.
    """
    if not _NAME.fullmatch(name) or name in ("none", "veneer"):
        raise NewProjectError(
            f"{name!r} cannot be a hypervisor's name here: small letters, digits and single '-', "
            "as in my-hypervisor; not 'none', not 'veneer'"
        )
    if directory.is_dir() and any(directory.iterdir()):
        raise NewProjectError(f"{directory} is not empty: name another directory")
    directory.parent.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix=".new-", dir=directory.parent))
    try:
        values = _values(name, ways)
        written = [one for kind in ("common", *ways) for one in _copy(_TEMPLATES / kind, new, values)]
        new.chmod(0o777 & ~_umask())
        new.rename(directory)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    return sorted(set(written))


def _copy(source: Path, target: Path, values: dict[str, str]) -> list[str]:
    """Copy a folder of templates; a file that several folders have is put together."""
    written = []
    for path in sorted(source.rglob("*")):
        if path.is_dir() or "__pycache__" in path.parts:
            continue
        name = _fill(str(path.relative_to(source)), values)
        file = target / name
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a", encoding="utf-8") as stream:
            stream.write(_fill(path.read_text(encoding="utf-8"), values))
        written.append(name)
    return written


def _fill(text: str, values: dict[str, str]) -> str:
    return re.sub("@([A-Z]+)@", lambda match: values[match[1]], text)


def _values(name: str, ways: Sequence[str]) -> dict[str, str]:
    """What stands for the placeholders. The signature: the name in 12 bytes, as CPUID returns them."""
    text = name.encode()[:12].ljust(12, b"-")
    registers = (int.from_bytes(text[at : at + 4], "little") for at in (0, 4, 8))
    ebx, ecx, edx = (f"{value:#010x}" for value in registers)
    return {
        "NAME": name,
        "TARGETS": ", ".join(target for way in ways for target in TARGETS[way]),
        "TARGET": TARGETS[ways[0]][0],
        "IDENTIFIER": name.replace("-", "_"),
        "EBX": ebx,
        "ECX": ecx,
        "EDX": edx,
        "SIGNATURE": text.decode(),
    }


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
