"""Building the agent's program (``targets/agent/here``), as whoever runs us."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from touchstone.drivers.build_cache import BuildCache, Recipe
from touchstone.drivers.tool import run_tool, tail_of
from touchstone.machine.driver import InfrastructureError, Say
from touchstone.shipped import build_directory, source_root

NAME = "touchstone-agent-here"
KEPT = 2


def provide_program(progress: Say, directory: Path | None = None) -> Path:
    """The program, built unless there is one of the same sources and compiler; it is kept in ``directory``.

    InfrastructureError with the compiler's words, or if the directory cannot be written.
    """
    sources = source_root() / "targets" / "agent"
    for tool in ("make", "gcc"):
        if shutil.which(tool) is None:
            raise InfrastructureError(f"{tool} is missing (apt-get install make gcc)")

    def key() -> str:
        _, compiler = run_tool(["gcc", "--version"])
        digest = hashlib.sha256(compiler)
        for path in sorted([*sources.glob("*.[chS]"), *(sources / "here").iterdir()]):
            digest.update(f"{path.name}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()[:16]

    def make(into: Path) -> None:
        progress("building the agent of this machine")
        command = ["make", "--silent", "-C", str(sources / "here"), f"BUILD={into}"]
        status, output = run_tool(command)
        if status:
            raise InfrastructureError(f"{' '.join(command)} failed:\n{tail_of(output)}")

    where = (directory or build_directory()) / "here"
    recipe = Recipe("agent", "the agent of this machine", (NAME,), key, make)
    try:
        return BuildCache(where, KEPT).provide(recipe, progress) / NAME
    except OSError as error:
        raise InfrastructureError(f"the agent cannot be built in {where}: {error}") from None
