"""How a hosted subject starts the bare image as its guest: the ``[deploy.hosted]`` of its file."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from touchstone.drivers.build import BareImage
from touchstone.drivers.sources import substitute
from touchstone.drivers.ssh.deployable import Deployable

IMAGE = BareImage.named("none", Path()).elf.name
"""What the image is called on the box."""
MEMORY_MIB = 64
"""RAM of the guest, and of the machine that it is compared with."""
GUEST_FACTOR = 5.0
"""Stretches every timeout of a guest: one exit takes an emulated processor a millisecond."""
PREPARED = "guest.prepared"
"""File that says that ``prepare`` was run."""
_NOTHING = ":"


@dataclass(frozen=True)
class GuestProgram:
    """What is put on the box, and how what it says is read."""

    part: Deployable
    name: str
    """The subject's."""
    title: str
    up: str
    """Shell command that succeeds while a guest of the subject runs; or nothing."""
    version: str
    """Shell command that prints the subject's version; or nothing."""
    report: str
    """Shell command that has the program say on standard error where a guest's CPUs are; or nothing."""
    processes: str
    """Shell command that prints the processes whose threads a guest's CPUs are; or nothing."""
    end: re.Pattern[str] | None
    """Matches the line of its complaint that says how a guest has ended."""

    def how_ended(self, complaint: str) -> str:
        """The line that says how the guest has ended; nothing if none does."""
        if self.end is None:
            return ""
        lines = [line for line in complaint.splitlines() if self.end.search(line)]
        return lines[-1].strip() if lines else ""


def a_guest(name: str, title: str, file: Path, table: Mapping[str, str], cpus: int) -> GuestProgram:
    """The program that ``[deploy.hosted]`` of a subject's file describes, for a machine with so many CPUs."""
    values = {"image": f"./{IMAGE}", "cpus": str(cpus), "memory-mib": str(MEMORY_MIB)}
    # A shell of its own: the outer one says how the program has ended, also if a signal ended it.
    run = f"echo $$ >agent.pid; {substitute(table['run'], values)}"
    prepare = table.get("prepare", _NOTHING)
    check = table.get("needs", _NOTHING)
    part = Deployable(
        name="guest",
        title=f"the guest of {title}",
        sources=(file.parent / table.get("sources", ".")).resolve(),
        build=table.get("build", ""),
        files=tuple(table.get("files", "").split()),
        commands={
            "present": f"test -e {PREPARED}",
            "insert": f"cd {{directory}} && {{ {check}\n}} && {{ {prepare}\n}} && : >{PREPARED}",
            "remove": f"{{ {table.get('restore', _NOTHING)}\n}} && rm -f {PREPARED}",
            "run": f"sh -c {shlex.quote(run)}; exit $?",
        },
    )
    end = table.get("end")
    return GuestProgram(
        part,
        name,
        title,
        up=table.get("up", ""),
        version=table.get("version", ""),
        report=table.get("report", ""),
        processes=table.get("processes", ""),
        end=re.compile(end) if end else None,
    )
