"""What a run has on a box: one directory, modules, a running agent; and how all of it is taken back."""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from touchstone.drivers.ssh.box_info import PATH
from touchstone.drivers.ssh.deployable import Deployable
from touchstone.drivers.ssh.module_code import module_name, read_sections, sections_script
from touchstone.drivers.ssh.root import Root
from touchstone.drivers.ssh.upload import PART, Uploader
from touchstone.machine.driver import InfrastructureError, Say

BASES = ("/run", "/tmp", "/var/tmp")
"""Where our directory may be: the first that we can write to and run programs from."""
NAME = "touchstone."
UNDO = "undo"
MOUNTS = "/proc/self/mounts"
UNDO_TIMEOUT = 90.0

# The directory is ours alone, so nobody can put anything into what root runs from it. The shell does all but
# mkdir by itself: a program that starts takes an emulated box 15 to 60 ms.
_MAKE = r"""
for base in @BASES@; do
    where=$(cd "$base" 2>/dev/null && pwd -P) || continue
    # The mount with the longest path counts; of two with the same path, the last one.
    options= longest=0
    while read -r _ at _ said _; do
        at=${at%/}
        case $where/ in "$at"/*) [ ${#at} -lt $longest ] || { longest=${#at} options=$said; } ;; esac
    done <@MOUNTS@
    case ,$options, in *,noexec,*) continue ;; esac
    mkdir -m 700 "$base/@NAME@" 2>/dev/null || continue
    # A full disk has room for a directory, but not for what is in it.
    echo "it can be written to" 2>/dev/null >"$base/@NAME@/@UNDO@@PART@" && echo "$base/@NAME@" && exit 0
    rm -rf "$base/@NAME@"
done
exit 1
"""
# A directory with an undo belongs to a run that was killed: a living one would have the lock, which we have.
_SWEEP = r"""
for base in @BASES@; do
    for left in "$base/@NAME@"*; do
        [ -d "$left" ] && [ ! -L "$left" ] && [ "$(stat -c %a "$left")" = 700 ] || continue
        owner=$(stat -c %u "$left")
        [ "$owner" = 0 ] || [ "$owner" = "${SUDO_UID:-0}" ] || continue
        if [ -f "$left/@UNDO@" ] && ! said=$(sh "$left/@UNDO@" 2>&1); then
            echo "stuck $left: $said"
            continue
        fi
        rm -rf "$left" && echo "removed $left"
    done
done
exit 0
"""
_UNDO_HEAD = r"""#!/bin/sh
# Takes what Touchstone did to this box back: run by the run itself at its end, or by the next one.
PATH=@PATH@; export PATH
cd "$(dirname "$0")" || exit 1
status=0
if read -r pid <agent.pid && [ "$(readlink "/proc/$pid/cwd")" = "$PWD" ]; then kill -9 "$pid"; fi 2>/dev/null
"""
_UNDO_ONE = r"""
if [ -e @INSERTED@ ]; then
    tries=0
    ( @UNLOAD@ ) >/dev/null 2>&1
    while ( @PRESENT@ ) >/dev/null 2>&1 && ! said=$( ( @REMOVE@ ) 2>&1 ) && [ $tries -lt 50 ]; do
        tries=$((tries + 1)); sleep 0.1
    done
    if ( @PRESENT@ ) >/dev/null 2>&1; then
        echo @TITLE@ "cannot be removed: $said"; status=1
    else
        rm -f @INSERTED@
    fi
fi
"""


def _fill(script: str, values: dict[str, str]) -> str:
    for key, value in values.items():
        script = script.replace(f"@{key}@", value)
    return script


def sweep(root: Root, progress: Say, bases: Sequence[str] = BASES) -> None:
    """Remove what killed runs left; we must hold the lock. InfrastructureError for what cannot be removed."""
    script = _fill(_SWEEP, {"BASES": " ".join(map(shlex.quote, bases)), "NAME": NAME, "UNDO": UNDO})
    shown = root.link.address.shown
    for line in root.do(script, "looking for what an earlier run left", timeout=UNDO_TIMEOUT).splitlines():
        word, _, rest = line.partition(" ")
        if word == "removed":
            progress(f"{shown}: removed {rest}, left by a run that was killed")
        elif word == "stuck":
            raise InfrastructureError(f"{shown}: what a killed run left does not go; reset the box. {rest}")


class Installation:
    """One run's directory on a box, and what it inserted from there."""

    def __init__(self, root: Root, directory: str, parts: Sequence[Deployable], progress: Say) -> None:
        self._root = root
        self.directory = directory
        self._parts = parts
        self._uploader = Uploader(root, directory, progress)
        self.inserted: set[str] = set()
        self.sections: dict[str, Mapping[str, int]] = {}
        """Module to its sections of code to their addresses, of those that were inserted."""

    @classmethod
    def make(
        cls, root: Root, parts: Sequence[Deployable], progress: Say, bases: Sequence[str] = BASES
    ) -> Installation:
        """Make the directory. Its undo script comes with the first files, before anything is used."""
        for part in parts:
            if root.run(part.command("present")).status == 0:
                raise InfrastructureError(
                    f"{part.title} is on {root.link.address.shown} already, and no run of ours put it there;"
                    f" take it out first: {part.command('remove')}"
                )
        shown = root.link.address.shown
        values = {
            "BASES": " ".join(map(shlex.quote, bases)),
            "NAME": NAME + secrets.token_hex(4),
            "UNDO": UNDO,
            "PART": PART,
            "MOUNTS": MOUNTS,
        }
        made = root.run_as_user(_fill(_MAKE, values), timeout=15.0)
        if made.status:
            raise InfrastructureError(
                f"{shown}: none of {', '.join(bases)} takes a directory that programs can be run from"
                " (full, read-only, or mounted noexec?)"
            )
        return cls(root, made.text, parts, progress)

    @property
    def sent(self) -> Sequence[str]:
        """Names of the files that were uploaded so far."""
        return self._uploader.sent

    def put(self, files: Sequence[Path]) -> None:
        """Upload what is not there yet."""
        undo = _fill(_UNDO_HEAD, {"PATH": PATH}) + "".join(map(self._undo_one, reversed(self._parts)))
        wanted: dict[str, tuple[Path | bytes, int]] = {UNDO: (f"{undo}exit $status\n".encode(), 0o700)}
        for path in files:
            wanted[path.name] = (path, 0o600 if path.suffix == ".ko" else 0o700)
        self._uploader.put(wanted)

    def insert(self, part: Deployable) -> None:
        """Insert a module. InfrastructureError with the kernel's reason."""
        if part.name in self.inserted:
            return
        inserted = shlex.quote(f"{self.directory}/{_inserted(part)}")
        self.inserted.add(part.name)
        # The file first: undo looks whether the module is really there.
        modules = [module_name(Path(name)) for name in part.files if name.endswith(".ko")]
        insert = f": >{inserted} && {{ {self.command(part, 'insert')}; }}"
        done = self._root.run(f"{insert} && {{ {sections_script(modules)}\n}}", timeout=60.0)
        if done.status:
            log = self._root.run("dmesg | tail -n 5").text
            raise InfrastructureError(
                f"{part.title} could not be inserted on {self._root.link.address.shown}: {done.complaint}"
                + (f"\nend of the kernel log:\n{log}" if log else "")
            )
        self.sections |= read_sections(done.text)

    def command(self, part: Deployable, name: str, **values: str) -> str:
        """One of its commands, for this directory."""
        return part.command(name, directory=self.directory, **values)

    def agent_script(self, part: Deployable) -> str:
        """The script that becomes the agent's program; ``undo`` finds it by its process id and directory."""
        where = shlex.quote(self.directory)
        return f"cd {where} && echo $$ >agent.pid && {{ {self.command(part, 'run')}; }}"

    def undo(self) -> None:
        """Undo everything but the directory. InfrastructureError for what cannot be undone."""
        undo = shlex.quote(f"{self.directory}/{UNDO}")
        # Before the first insertion there may be none yet.
        unless = "" if self.inserted else f"[ ! -e {undo} ] || "
        self._root.do(f"{unless}sh {undo}", "taking back what we did", timeout=UNDO_TIMEOUT)
        self.inserted.clear()

    def remove(self) -> None:
        """Undo everything, and remove the directory."""
        self.undo()
        self._root.do(f"rm -rf {shlex.quote(self.directory)}", "removing our directory")

    def _undo_one(self, part: Deployable) -> str:
        return _fill(
            _UNDO_ONE,
            {
                "INSERTED": _inserted(part),
                "TITLE": shlex.quote(part.title),
                "PRESENT": part.command("present"),
                "REMOVE": self.command(part, "remove"),
                "UNLOAD": self.command(part, "unload") if "unload" in part.commands else ":",
            },
        )


def _inserted(part: Deployable) -> str:
    """File that says that undo has to look for the part's module."""
    return f"inserted.{part.name}"
