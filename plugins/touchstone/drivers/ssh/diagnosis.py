"""A request to a box got no answer: did the box die, does it hang, or did only the connection end?"""

from __future__ import annotations

from dataclasses import dataclass

from touchstone.drivers.ssh.box_info import knock
from touchstone.drivers.ssh.kernel_log import find_panic, read_kernel_log, read_pstore
from touchstone.drivers.ssh.link import NoConnection
from touchstone.drivers.ssh.visit import AgentEnd, Visit
from touchstone.machine.driver import InfrastructureError, TargetDied, TargetError, TargetHung

KNOCK_TIMEOUT = 15.0
"""Seconds in which a box whose connection ended is given the chance to answer again."""
KNOCK_ONCE_MORE = 2.0
"""The same for one that can neither reboot nor lose its network without our knowing."""


@dataclass(frozen=True)
class Finding:
    """What became of a box."""

    error: TargetError
    """TargetDied, TargetHung; InfrastructureError if the box lives."""
    rebooted: bool = False
    """It is in another boot than the visit's."""
    said: str = ""
    """The end of its kernel log, where that says so."""


def diagnose(
    name: str,
    error: TargetDied | TargetHung,
    visit: Visit,
    said: str,
    agent: AgentEnd,
    timeout: float = KNOCK_TIMEOUT,
) -> Finding:
    """What ``error`` means for the box ``name``. ``said``: its log since it last answered.

    ``timeout``: seconds (stretched) in which a box whose connection ended may answer again.
    """
    try:
        return _diagnose(name, error, visit, said, agent, timeout)
    except TargetError as silent:  # it let us in and then fell silent: part of it is gone
        return Finding(TargetHung(f"{error}, and the box stopped answering while it was asked why: {silent}"))


def _diagnose(
    name: str,
    error: TargetDied | TargetHung,
    visit: Visit,
    said: str,
    agent: AgentEnd,
    timeout: float,
) -> Finding:
    if panic := find_panic(said):
        return Finding(TargetDied(f"the kernel of {name} is lost: {panic}"))
    try:
        now = knock(visit.link, timeout)
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
    if now.boot_id != visit.info.boot_id:
        panic = find_panic(read_pstore(visit.root))
        text = f"{name} has rebooted" + (f": {panic}" if panic else "")
        return Finding(TargetDied(text), rebooted=True)
    kernel_log = read_kernel_log(visit.root, visit.info.uptime)
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
