"""Rebooting a box that has no power control, and waiting for a box that boots."""

from __future__ import annotations

import contextlib
import time

from touchstone.drivers.ssh.box_info import knock
from touchstone.drivers.ssh.link import Link, NoConnection
from touchstone.drivers.ssh.visit import Visit
from touchstone.machine.driver import InfrastructureError, Say, TargetDied, TargetHung

TOLD_EVERY = 10.0
"""Seconds between two messages about a box that boots slowly."""
_REBOOT = """
echo 1 >/proc/sys/kernel/sysrq
timeout 10 sync
echo u >/proc/sysrq-trigger
echo b >/proc/sysrq-trigger
reboot -f
"""


def ask_to_reboot(name: str, visit: Visit, progress: Say) -> None:
    """Ask it, if it still listens. Not in order, as shutdown(8) would: something in it is broken."""
    try:
        now = knock(visit.link, 2.0)
        if now.boot_id != visit.info.boot_id:
            return
        progress(f"rebooting {name}")
        visit.link.session(visit.root.wrap(_REBOOT))
    except (NoConnection, TargetDied, TargetHung):
        progress(f"{name} has no power control, and does not answer: waiting for it")


def await_boot(name: str, link: Link, before: str, limit: float, progress: Say) -> None:
    """Wait for another boot than ``before``. InfrastructureError after ``limit`` seconds (stretched)."""
    began = told = time.monotonic()
    deadline = began + limit * link.factor
    progress(f"waiting for {name} to boot")
    while True:
        with contextlib.suppress(NoConnection, TargetDied, TargetHung):
            if knock(link, 1.0).boot_id != before:
                return
            link.close()  # it is still going down
        now = time.monotonic()
        if now > deadline:
            raise InfrastructureError(
                f"{name} did not come back in {now - began:.0f} s: reset it by hand, and give its"
                " entry of the inventory a power control (power-reset, ipmi or qmp)"
            )
        if now - told >= TOLD_EVERY:
            told = now
            progress(f"waiting for {name} to boot ({now - began:.0f} s)")
        time.sleep(0.2)  # nothing tells us when sshd will listen
