"""A copy of the checkout, in which the commands of the documentation do no harm."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import py_compile
import shlex
import shutil
import struct
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import indent

from tests.support.checkout import ROOT, suite_files
from tests.support.docs_blocks import Block

TIMEOUT = 1200
"""Seconds for one command."""
SAMPLE = "exit-counted or pat-bad-type or vmrun-ud or vmxon-ud or hsave-write-gp"
"""What ``-k`` picks of a run for which the documentation names no checks: .ci/run has the whole one."""
CONFORMANCE = ROOT / "conformance"
BOOTSTRAP = """\
#!/bin/sh
# Stands for bootstrap, which would make a second .venv; tests/house has its tests.
export VIRTUAL_ENV='{venv}' PATH='{venv}/bin':"$PATH" PYTHONPATH='{root}/plugins':"${{PYTHONPATH-}}"
exec "$@"
"""
LINKED = tuple(
    f"{folder}/"
    for folder in (
        "hypervisor",
        "plugins",
        *(f"targets/{name}" for name in ("agent", "bare", "images", "kvm", "uefi")),
        "tests",
    )
)
"""Folders of files that no command changes: a copy has the same files, under names of its own."""
BYTECODE = ROOT / "build" / "test-bytecode"
"""Of the package's modules: a new copy has none, and compiling them is most of what a short command takes."""
AMONG = {"SSH_AUTH_SOCK", "VIRTUAL_ENV", "PYTHONPATH", "COLUMNS"}
"""Variables of this process that a person's shell does not have, besides pytest's."""


def sample_options(command: str) -> str:
    """Options of pytest that pick SAMPLE, and no suite without any of it, unless the command names suites.

    To read the other suites takes longer than to judge the sample.
    """
    files = [*suite_files(), *CONFORMANCE.glob("*/test_*.py")]
    left_out = [
        file for file in sorted(files) if not any(word in file.read_text() for word in SAMPLE.split(" or "))
    ]
    ignored = [] if "conformance/" in command else [f"--ignore={file.relative_to(ROOT)}" for file in left_out]
    return shlex.join(["-k", SAMPLE, *ignored])


class Copy:
    """The files of the checkout, uncommitted ones too, in a directory of their own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        self._linked: dict[str, tuple[int, int]] = {}
        self._written: set[Path] = set()
        folders: dict[str, list[str]] = {}
        for name in filter(None, listed.split("\0")):
            if os.path.isfile(f"{ROOT}/{name}"):
                folder, _, last = name.rpartition("/")
                folders.setdefault(folder, []).append(last)
        for folder, files in folders.items():
            self._add(folder, files)
        (root / "bootstrap").write_text(BOOTSTRAP.format(venv=sys.prefix, root=root))
        # What is slow to make, and named by its content: images of Linux, modules for it, the suites as they
        # were read, and the bare images.
        (root / "build").mkdir()
        for folder in ("images", "linux", "suites"):
            (ROOT / "build" / folder).mkdir(parents=True, exist_ok=True)
            (root / "build" / folder).symlink_to(ROOT / "build" / folder)
        if (ROOT / "build" / "bare").is_dir():
            shutil.copytree(ROOT / "build" / "bare", root / "build" / "bare", copy_function=link)
        if (ROOT / "report" / "node_modules").is_dir():
            (root / "report" / "node_modules").symlink_to(ROOT / "report" / "node_modules")

    def _add(self, folder: str, files: Sequence[str]) -> None:
        """Files of one folder. Strings, and not paths: of a thousand files, that is half of the time."""
        source, target = os.path.join(ROOT, folder), os.path.join(self.root, folder)
        os.makedirs(target, exist_ok=True)
        if any(file.endswith(".py") for file in files):
            os.makedirs(f"{target}/__pycache__", exist_ok=True)
            self._add_rewritten(source, target)
        for file in files:
            mine, theirs = f"{target}/{file}", f"{source}/{file}"
            name = f"{folder}/{file}"
            if not name.startswith(LINKED):
                shutil.copy2(theirs, mine)
                continue
            link(theirs, mine)
            self._linked[name] = stamp(theirs)
            if file.endswith(".py"):
                link(bytecode(name), importlib.util.cache_from_source(mine))

    def _add_rewritten(self, source: str, target: str) -> None:
        """What pytest has made of modules with tests."""
        with contextlib.suppress(FileNotFoundError):
            for file in os.listdir(f"{source}/__pycache__"):
                if "-pytest-" in file and file.endswith(".pyc"):
                    link(f"{source}/__pycache__/{file}", f"{target}/__pycache__/{file}")

    def apply(self, block: Block) -> None:
        """Write a block's file, or put its lines at the end of the file that it extends.

        A later block of a page may write a file of an earlier one anew, but none of the checkout.
        """
        assert block.path is not None
        path = self.root / block.path
        if block.value("file"):
            assert not path.exists() or path in self._written, f"{block}: there is a {block.path} already"
            self._written.add(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
            return
        assert path.exists(), f"{block}: there is no {block.path}"
        assert block.path not in self._linked, f"{block}: {block.path} is the checkout's own"
        lines = block.text
        if block.language == "yaml" and not lines.startswith(" "):
            lines = indent(lines, "  ")  # entries of `checks:`
        with path.open("a", encoding="utf-8") as file:
            file.write("\n" + lines)

    def shell(self, command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command as a person would, with bash, at the top of the checkout; stderr is in stdout."""
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.root,
            env={**environment(), "PYTHONDONTWRITEBYTECODE": "1", **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=TIMEOUT,
        )
        changed = [name for name, before in self._linked.items() if self._is_changed(name, before)]
        assert not changed, f"$ {command}\nchanges files of the checkout itself: {changed}"
        return done

    def _is_changed(self, name: str, before: tuple[int, int]) -> bool:
        """Whether a file that the copy shares has been written to, and not replaced."""
        mine = self.root / name
        return mine.exists() and mine.samefile(ROOT / name) and stamp(mine) != before

    def verdicts(self, targets: Sequence[str], *arguments: str) -> tuple[dict[tuple[str, str], str], str]:
        """Verdicts by check and target of a run, and what it printed."""
        results = self.root / "results.xml"
        results.unlink(missing_ok=True)
        words = ["./bootstrap", "pytest", "-q", f"--target={','.join(targets)}", *arguments]
        done = self.shell(f"{shlex.join(words)} --junitxml=results.xml")
        found = {}
        for case in ET.parse(results).iter("testcase") if results.exists() else ():
            about = {entry.get("name"): entry.get("value") or "" for entry in case.iter("property")}
            if "touchstone.verdict" in about:
                key = about["touchstone.check"], about["touchstone.target"]
                found[key] = about["touchstone.verdict"]
        return found, done.stdout


def link(source: str | Path, target: str | Path) -> None:
    """The same file under another name; a copy where that is another file system."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def stamp(path: str | Path) -> tuple[int, int]:
    """What changes when a file is written to."""
    status = os.stat(path)
    return status.st_mtime_ns, status.st_size


def bytecode(name: str) -> str:
    """The bytecode of a module of the checkout, compiled if its source has changed."""
    source, kept = f"{ROOT}/{name}", f"{BYTECODE}/{name[:-3]}.{sys.implementation.cache_tag}.pyc"
    status = os.stat(source)
    about = importlib.util.MAGIC_NUMBER + struct.pack(
        "<III", 0, int(status.st_mtime) & 0xFFFFFFFF, status.st_size & 0xFFFFFFFF
    )
    try:
        with open(kept, "rb") as file:
            fits = file.read(len(about)) == about
    except FileNotFoundError:
        fits = False
    if not fits:
        by_time = py_compile.PycInvalidationMode.TIMESTAMP
        py_compile.compile(source, kept, doraise=True, invalidation_mode=by_time)
    return kept


def environment() -> Mapping[str, str]:
    """This process' environment without what pytest, xdist and bootstrap have put there."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTEST", "TOUCHSTONE")) and name not in AMONG
    }
