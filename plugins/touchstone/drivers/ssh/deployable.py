"""What is put on a box, the agent or a subject: its sources, how it is built, its commands on the box."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from touchstone.drivers.sources import substitute
from touchstone.machine.driver import InfrastructureError
from touchstone.shipped import source_root

COMMANDS = ("present", "insert", "remove", "load", "unload", "query", "exits", "trace")
"""Shell commands that a subject's ``[deploy.linux]`` may name."""


@dataclass(frozen=True)
class Deployable:
    """A subject, or the agent: sources, how to build files of them for a kernel, and commands for the box.

    In ``build`` and ``files``, ``{release}`` is the kernel's release; in ``build``, ``{headers}`` is where
    modules for it are built against and ``{build}`` an empty directory for what is built. In commands,
    ``{directory}`` is where the files are on the box; ``load`` may have ``{option}``, ``exits`` ``{cpu}``,
    ``trace`` ``{cpu}`` and ``{count}``.
    """

    name: str
    title: str
    sources: Path
    build: str
    """Shell command, run in a copy of ``sources``."""
    files: tuple[str, ...]
    """What it makes, relative to ``{build}``."""
    commands: Mapping[str, str] = field(default_factory=dict)

    def command(self, name: str, **values: str) -> str:
        """A command with its values. InfrastructureError if the subject names none."""
        text = self.commands.get(name)
        if text is None:
            raise InfrastructureError(f"[deploy.linux] of {self.title} names no command {name!r}")
        return substitute(text, values)

    def file_names(self, release: str) -> list[str]:
        """Names of the files, as they are called on the box."""
        return [PurePosixPath(substitute(name, {"release": release})).name for name in self.files]


def the_agent(root: Path | None = None) -> Deployable:
    """The agent, from its sources in ``root`` (default: those that come with this package)."""
    return Deployable(
        name="agent",
        title="the agent",
        sources=(root or source_root()) / "targets" / "agent",
        build="make -C linux KDIR={headers} BUILD={build}",
        files=("touchstone_agent.ko", "touchstone-agent"),
        commands={
            "present": "test -e /sys/module/touchstone_agent",
            "insert": "insmod {directory}/touchstone_agent.ko",
            "remove": "rmmod touchstone_agent",
            "run": "exec {directory}/touchstone-agent",
        },
    )


def a_subject(name: str, title: str, file: Path, table: Mapping[str, str]) -> Deployable:
    """A subject as the ``[deploy.linux]`` of its file describes it."""
    return Deployable(
        name=name,
        title=title,
        sources=(file.parent / table["sources"]).resolve(),
        build=table["build"],
        files=tuple(table["files"].split()),
        commands={key: value for key, value in table.items() if key in COMMANDS},
    )
