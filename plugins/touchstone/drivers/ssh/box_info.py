"""What a box says of itself, and whether it answers at all."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass

from touchstone.drivers.ssh.link import Link, LinkLost, NoConnection
from touchstone.drivers.ssh.shell import LastingShell
from touchstone.machine.driver import InfrastructureError, TargetDied, TargetHung

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_QUESTIONS = r"""
PATH=@PATH@
uid=; while read -r key _ effective _; do [ "$key" = Uid: ] && uid=$effective; done </proc/self/status
release=$(uname -r)
read -r version </proc/version
read -r boot </proc/sys/kernel/random/boot_id
read -r uptime </proc/uptime
firmware=
for part in vendor version date; do
    { read -r word </sys/class/dmi/id/bios_$part; } 2>/dev/null && firmware="$firmware$word "
done
printf '%s\n' "uid=$uid" "release=$release" "version=$version" "boot=$boot" "uptime=$uptime"
printf '%s\n' "firmware=$firmware"
"""


@dataclass(frozen=True)
class BoxInfo:
    """What a box says of itself."""

    release: str
    """``uname -r``."""
    version: str
    """``/proc/version``: who built this very kernel, and when."""
    boot_id: str
    """Another one for every boot (random(4))."""
    uptime: float
    """Seconds since its boot."""
    root: bool
    """We are root there without sudo."""
    firmware: str = ""
    """Vendor, version and date, as SMBIOS has them; empty: it has none."""


def ask_info(shell: Link | LastingShell, timeout: float = 15.0) -> BoxInfo:
    """Ask a box what it is. LinkLost, TargetHung; InfrastructureError if it is no Linux."""
    answer = shell.run(_QUESTIONS.replace("@PATH@", PATH), timeout=timeout)
    shown = shell.shown
    if answer.status >= 128:  # a signal ended it: a box that goes down kills its shells before its sshd
        raise LinkLost(f"the shell on {shown} was killed (status {answer.status})")
    said = dict(line.partition("=")[::2] for line in answer.text.splitlines())
    try:
        return BoxInfo(
            said["release"],
            said["version"],
            said["boot"],
            float(said["uptime"].split()[0]),
            said["uid"] == "0",
            said.get("firmware", "").strip(),
        )
    except (KeyError, ValueError, IndexError):
        raise InfrastructureError(
            f"{shown} does not look like a Linux with a shell; it said: {answer.text or answer.complaint!r}"
        ) from None


def knock(link: Link, timeout: float) -> BoxInfo:
    """What the box says now, over this connection or, once it fails, a new one.

    ``timeout`` in seconds (stretched); when it is over, NoConnection, TargetDied or TargetHung from the last
    attempt. A connection that has just ended may look alive for a moment: asking it is the only way to know.
    """
    deadline = time.monotonic() + timeout * link.factor
    if link.alive:
        with contextlib.suppress(TargetDied, TargetHung):
            return ask_info(link, 5.0)
    pause = 0.1
    while True:
        try:
            link.open()
            return ask_info(link, 10.0)
        except (NoConnection, TargetDied, TargetHung):
            if time.monotonic() + pause >= deadline:
                raise
        time.sleep(pause)  # nothing tells us when sshd will listen
        pause = min(pause * 1.5, 2.0)
