"""Shell scripts as root on a box, and what there is to know about it before anything else."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from touchstone.drivers.ssh.link import Completed, Link, LinkLost
from touchstone.drivers.ssh.shell import LastingShell
from touchstone.machine.driver import InfrastructureError

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_FACTS = r"""
PATH=@PATH@
uid=; while read -r key _ effective _; do [ "$key" = Uid: ] && uid=$effective; done </proc/self/status
release=$(uname -r)
read -r version </proc/version
read -r boot </proc/sys/kernel/random/boot_id
read -r uptime </proc/uptime
printf '%s\n' "uid=$uid" "release=$release" "version=$version" "boot=$boot" "uptime=$uptime"
"""


@dataclass(frozen=True)
class BoxFacts:
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
    """We are root there without asking."""


def ask_facts(shell: Link | LastingShell, timeout: float = 15.0) -> BoxFacts:
    """Ask a box what it is. LinkLost, TargetHung; InfrastructureError if it is no Linux."""
    answer = shell.run(_FACTS.replace("@PATH@", PATH), timeout=timeout)
    shown = shell.shown
    if answer.status >= 128:  # a signal ended it: a box that goes down kills its shells before its sshd
        raise LinkLost(f"the shell on {shown} was killed (status {answer.status})")
    said = dict(line.partition("=")[::2] for line in answer.text.splitlines())
    try:
        return BoxFacts(
            said["release"],
            said["version"],
            said["boot"],
            float(said["uptime"].split()[0]),
            said["uid"] == "0",
        )
    except (KeyError, ValueError, IndexError):
        raise InfrastructureError(
            f"{shown} does not look like a Linux with a shell; it said: {answer.text or answer.complaint!r}"
        ) from None


class Root:
    """Runs scripts as root over a link: as we are, or through ``sudo -n``."""

    def __init__(self, link: Link, *, root: bool) -> None:
        self.link = link
        self.needs_sudo = not root
        self._shell = LastingShell(link, self.wrap("exec sh"))

    @classmethod
    def enter(cls, link: Link) -> tuple[Root, BoxFacts]:
        """Find out whether we are root there, in a shell that stays if we are: a login costs a box time."""
        root = cls(link, root=True)
        try:
            facts = ask_facts(root._shell)
        except BaseException:
            root.close()
            raise
        if facts.root:
            return root, facts
        root.close()
        return cls(link, root=False), facts

    def ask_facts(self) -> BoxFacts:
        """What it is now. ``root`` says nothing new here: with sudo everybody is."""
        return ask_facts(self._shell)

    def close(self) -> None:
        """End its shell. Safe to repeat."""
        self._shell.close()

    def check(self) -> None:
        """InfrastructureError, with the way out, unless we can be root there."""
        if not self.needs_sudo:
            return
        tried = self.link.run("sudo -n true", timeout=15.0)
        if tried.status:
            address = self.link.address
            raise InfrastructureError(
                f"modules need root on {address.host}, and {address.user} cannot be root without a password"
                f" (sudo -n true: {tried.complaint}). Log in as root, or let sudo do it:"
                f" '{address.user} ALL=(root) NOPASSWD: ALL' in /etc/sudoers.d/touchstone there"
            )

    def wrap(self, script: str) -> str:
        """The script as a command for ``Link.session``."""
        script = f"PATH={PATH}; export PATH\n{script}"
        return f"exec sudo -n sh -c {shlex.quote(script)}" if self.needs_sudo else script

    def run(self, script: str, *, timeout: float = 30.0) -> Completed:
        """Run a script to its end, as ``Link.run``."""
        return self._shell.run(script, timeout)

    def run_as_user(self, script: str, *, timeout: float = 30.0) -> Completed:
        """The same as whoever logged in: what SFTP is to write to belongs to the user."""
        if self.needs_sudo:
            return self.link.run(script, timeout=timeout)
        return self.run(script, timeout=timeout)

    def do(self, script: str, what: str, *, timeout: float = 30.0) -> str:
        """Run a script that must succeed; its output. InfrastructureError with what it said."""
        done = self.run(script, timeout=timeout)
        if done.status:
            raise InfrastructureError(
                f"{self.link.address.shown}: {what} failed (status {done.status}): {done.complaint}"
            )
        return done.text
