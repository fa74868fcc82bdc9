"""Shell scripts as root on a box: as we are, or through sudo."""

from __future__ import annotations

import shlex

from touchstone.drivers.ssh.box_info import PATH, BoxInfo, ask_info
from touchstone.drivers.ssh.link import Completed, Link
from touchstone.drivers.ssh.shell import LastingShell
from touchstone.machine.driver import InfrastructureError


class Root:
    """Runs scripts as root over a link: as we are, or through ``sudo -n``."""

    def __init__(self, link: Link, *, root: bool) -> None:
        self.link = link
        self.needs_sudo = not root
        self._shell = LastingShell(link, self.wrap("exec sh"))

    @classmethod
    def enter(cls, link: Link) -> tuple[Root, BoxInfo]:
        """Find out whether we are root there. If so, the same shell is used on: each login costs time."""
        root = cls(link, root=True)
        try:
            info = ask_info(root._shell)
        except BaseException:
            root.close()
            raise
        if info.root:
            return root, info
        root.close()
        return cls(link, root=False), info

    def ask_info(self) -> BoxInfo:
        """What the box says now. ``root`` is always true here, also with sudo."""
        return ask_info(self._shell)

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
        """Run a script as the user who logged in: SFTP writes as that user, too."""
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
