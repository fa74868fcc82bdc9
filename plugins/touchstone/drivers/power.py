"""Power control of a box: what resets it when it no longer answers."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from touchstone.machine.driver import AgentRefused, InfrastructureError

TIMEOUT = 120.0
"""Seconds that a command may take."""
MONITOR_TIMEOUT = 30.0
"""Seconds that QEMU's monitor may take."""


class Power(Protocol):
    """Resets one box, and pulls its NMI line where it can. InfrastructureError if that fails."""

    def reset(self) -> None:
        """Reset it hard, in whatever state it is; switch it on if it is off."""

    def inject_nmi(self) -> None:
        """Send it one NMI. AgentRefused (``unsupported``) where that cannot be done."""


@dataclass(frozen=True)
class CommandPower:
    """Shell commands of the inventory, run on this machine."""

    reset_command: str
    nmi_command: str = ""

    def reset(self) -> None:
        """See Power."""
        _run(["sh", "-c", self.reset_command], self.reset_command)

    def inject_nmi(self) -> None:
        """See Power."""
        if not self.nmi_command:
            raise AgentRefused("unsupported", "the inventory names no command for NMIs (power-nmi)")
        _run(["sh", "-c", self.nmi_command], self.nmi_command)


@dataclass(frozen=True)
class IpmiPower:
    """A management controller, through ipmitool. The password stays in the environment."""

    host: str
    user: str
    password_variable: str

    def reset(self) -> None:
        """See Power."""
        off = "off" in self._tool("status").rpartition(" ")[2]
        self._tool("on" if off else "reset")

    def inject_nmi(self) -> None:
        """See Power. A "diagnostic interrupt" is an NMI (IPMI 2.0, 28.3)."""
        self._tool("diag")

    def _tool(self, action: str) -> str:
        if shutil.which("ipmitool") is None:
            raise InfrastructureError("ipmitool is missing (apt-get install ipmitool)")
        command = ["ipmitool", "-I", "lanplus", "-H", self.host, "-U", self.user, "-E"]
        command += ["chassis", "power", action]
        password = os.environ.get(self.password_variable)
        if password is None:
            raise InfrastructureError(
                f"the password of {self.user} at {self.host} is expected in the environment variable"
                f" {self.password_variable}, which is not set"
            )
        return _run(command, " ".join(command), {"IPMI_PASSWORD": password}, hide=password)


@dataclass(frozen=True)
class QmpPower:
    """Somebody else's QEMU, through the socket of its monitor (``-qmp unix:PATH,server,nowait``)."""

    socket: Path

    def reset(self) -> None:
        """See Power."""
        # A machine that stopped at a panic stays stopped until it is told to go on.
        self._execute("system_reset", "cont")

    def inject_nmi(self) -> None:
        """See Power."""
        self._execute("inject-nmi")

    def _execute(self, *commands: str) -> None:
        from qemu.qmp import QMPClient, QMPError  # noqa: PLC0415

        from touchstone.drivers.event_loop import LoopThread  # noqa: PLC0415

        async def talk() -> None:
            client = QMPClient("touchstone-power")
            await client.connect(str(self.socket))
            try:
                for command in commands:
                    await client.execute(command)
            finally:
                await client.disconnect()

        try:
            LoopThread.shared().call(talk(), MONITOR_TIMEOUT)
        except TimeoutError:
            raise InfrastructureError(
                f"{self.socket}: QEMU's monitor does not answer; does another program hold it?"
            ) from None
        except (QMPError, OSError) as error:
            raise InfrastructureError(f"{self.socket}: {error}") from None


def _run(command: list[str], shown: str, extra: Mapping[str, str] | None = None, hide: str = "") -> str:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT,
            check=False,
            start_new_session=True,
            env={**os.environ, **(extra or {})},
        )
    except subprocess.TimeoutExpired:
        raise InfrastructureError(f"power control took more than {TIMEOUT:g} s: {shown}") from None
    said = (done.stdout + done.stderr).decode("utf-8", "backslashreplace").strip()
    if hide:
        said = said.replace(hide, "***")
    if done.returncode:
        raise InfrastructureError(f"power control failed (status {done.returncode}): {shown}\n{said}")
    return said
