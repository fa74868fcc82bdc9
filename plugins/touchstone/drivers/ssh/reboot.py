"""A box without a power control is asked to reboot; and every box is waited for."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

from touchstone.drivers.ssh.diagnosis import RootOn, knock
from touchstone.drivers.ssh.link import Link, NoConnection
from touchstone.drivers.ssh.root import BoxFacts
from touchstone.machine.driver import InfrastructureError, TargetDied, TargetHung

TOLD_EVERY = 10.0
"""Seconds between two words about a box that takes its time."""
_REBOOT = """
echo 1 >/proc/sys/kernel/sysrq
timeout 10 sync
echo u >/proc/sysrq-trigger
echo b >/proc/sysrq-trigger
reboot -f
"""

Progress = Callable[[str], None]


def ask_to_reboot(
    name: str, link: Link, before: BoxFacts | None, root_on: RootOn, progress: Progress
) -> None:
    """Ask it, if it still listens. It does not go down in order: something in it is broken."""
    try:
        now = knock(link, 2.0)
        if before is not None and now.boot_id != before.boot_id:
            return
        progress(f"rebooting {name}")
        link.session(root_on(link, now).wrap(_REBOOT))
    except (NoConnection, TargetDied, TargetHung):
        progress(f"{name} has no power control, and does not answer: waiting for it")


def await_boot(name: str, link: Link, before: str, limit: float, progress: Progress) -> None:
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
