"""A copy of the checkout, in which the commands of the documentation do no harm."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import indent

from tests.support.checkout import ROOT
from tests.support.docs_blocks import Block

TIMEOUT = 1200
"""Seconds for one command."""
SAMPLE = "exit-counted or pat-bad-type or vmrun-ud or vmxon-ud or hsave-write-gp"
"""What ``-k`` picks of a run for which the documentation names no checks: .ci/run has the whole one."""
BOOTSTRAP = """\
#!/bin/sh
# Stands for bootstrap, which would make a second .venv; tests/house has its tests.
export VIRTUAL_ENV='{venv}' PATH='{venv}/bin':"$PATH" PYTHONPATH='{root}/plugins':"${{PYTHONPATH-}}"
exec "$@"
"""
AMONG = {"SSH_AUTH_SOCK", "VIRTUAL_ENV", "PYTHONPATH", "COLUMNS"}
"""Variables of this process that a person's shell does not have, besides pytest's."""


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
        for name in filter(None, listed.split("\0")):
            if (ROOT / name).is_file():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, root / name)
        (root / "bootstrap").write_text(BOOTSTRAP.format(venv=sys.prefix, root=root))
        # What is slow to make, and named by its content: images of Linux, modules for it, and the bare
        # images.
        (root / "build").mkdir()
        for folder in ("images", "linux"):
            (ROOT / "build" / folder).mkdir(parents=True, exist_ok=True)
            (root / "build" / folder).symlink_to(ROOT / "build" / folder)
        if (ROOT / "build" / "bare").is_dir():
            shutil.copytree(ROOT / "build" / "bare", root / "build" / "bare", copy_function=link)
        if (ROOT / "report" / "node_modules").is_dir():
            (root / "report" / "node_modules").symlink_to(ROOT / "report" / "node_modules")

    def apply(self, block: Block) -> None:
        """Write a block's file, or put its lines at the end of the file that it extends."""
        assert block.path is not None
        path = self.root / block.path
        if block.value("file"):
            assert not path.exists(), f"{block}: there is a {block.path} already"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
            return
        assert path.exists(), f"{block}: there is no {block.path}"
        lines = block.text
        if block.language == "yaml" and not lines.startswith(" "):
            lines = indent(lines, "  ")  # entries of `checks:`
        with path.open("a", encoding="utf-8") as file:
            file.write("\n" + lines)

    def shell(self, command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command as a person would, with bash, at the top of the checkout; stderr is in stdout."""
        return subprocess.run(
            ["bash", "-c", command],
            cwd=self.root,
            env={**environment(), **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=TIMEOUT,
        )

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


def link(source: str, target: str) -> None:
    """The same file under another name, which nobody changes; a copy where that is another file system."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def environment() -> Mapping[str, str]:
    """This process' environment without what pytest, xdist and bootstrap have put there."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTEST", "TOUCHSTONE")) and name not in AMONG
    }
