"""A request to a box got no answer: did the box die, does it hang, or was it only the way there?"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass

from touchstone.drivers.ssh.console import find_panic, read_kernel_log, read_pstore
from touchstone.drivers.ssh.link import Link, NoConnection
from touchstone.drivers.ssh.root import BoxFacts, Root, ask_facts
from touchstone.machine.driver import InfrastructureError, TargetDied, TargetError, TargetHung

KNOCK_TIMEOUT = 15.0
"""Seconds in which a box whose connection ended is given the chance to answer again."""

RootOn = Callable[[Link, BoxFacts], Root]


@dataclass(frozen=True)
class Finding:
    """What became of a box."""

    error: TargetError
    """TargetDied, TargetHung; InfrastructureError if the box lives."""
    rebooted: bool = False
    """It is in another boot than the one that we knew."""
    said: str = ""
    """The end of its kernel log, where that is what tells."""


@dataclass(frozen=True)
class Ended:
    """The agent's program, as far as its channel tells."""

    status: int | None = None
    """Exit status; None if it is not known to have ended."""
    complaint: str = ""


def knock(link: Link, patience: float) -> BoxFacts:
    """What the box says now, over this connection or, once it fails, a new one.

    ``patience`` in seconds (stretched); when it is over, NoConnection, TargetDied or TargetHung from the last
    attempt. A connection that has just ended may look alive for a moment: asking it is the only way to know.
    """
    deadline = time.monotonic() + patience * link.factor
    if link.alive:
        with contextlib.suppress(TargetDied, TargetHung):
            return ask_facts(link, 5.0)
    pause = 0.1
    while True:
        try:
            link.open()
            return ask_facts(link, 10.0)
        except (NoConnection, TargetDied, TargetHung):
            if time.monotonic() + pause >= deadline:
                raise
        time.sleep(pause)  # nothing tells us when sshd will listen
        pause = min(pause * 1.5, 2.0)


def diagnose(
    name: str,
    error: TargetDied | TargetHung,
    link: Link,
    before: BoxFacts,
    said: str,
    agent: Ended,
    root_on: RootOn,
) -> Finding:
    """What ``error`` means for the box ``name``, which was as ``before`` says, and ``said`` this since."""
    if panic := find_panic(said):
        return Finding(TargetDied(f"the kernel of {name} is lost: {panic}"))
    try:
        now = knock(link, KNOCK_TIMEOUT)
    except NoConnection as away:
        if away.refused:
            return Finding(
                InfrastructureError(
                    f"{error}, and {away} Its kernel refuses connections, so it lives; sshd does not."
                )
            )
        return Finding(TargetHung(f"{error}, and the box does not answer over SSH either: {away}"))
    except InfrastructureError as other:
        return Finding(other)
    except TargetError as silent:
        return Finding(TargetHung(f"{error}, and the box does not answer over SSH either: {silent}"))
    root = root_on(link, now)
    if now.boot_id != before.boot_id:
        panic = find_panic(read_pstore(root))
        text = f"{name} has rebooted" + (f": {panic}" if panic else "")
        return Finding(TargetDied(text), rebooted=True)
    kernel_log = read_kernel_log(root, before.uptime)
    if panic := find_panic(kernel_log):
        return Finding(TargetDied(f"the kernel of {name} reported: {panic}"), said=kernel_log)
    if isinstance(error, TargetHung):
        return Finding(TargetHung(f"{error}; the box itself answers over SSH"))
    if agent.status is not None:
        text = f"the agent's program ended with status {agent.status}: {agent.complaint}"
        return Finding(InfrastructureError(text.rstrip(": ")))
    return Finding(
        InfrastructureError(
            f"the connection to {name} was lost; the box lives, in the same boot: the network, or sshd"
        )
    )
